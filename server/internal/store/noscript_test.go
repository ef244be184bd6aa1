package store_test

import (
	"testing"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestUnknownScript checks that a script which Redis has forgotten is sent once more,
// with its source, and counted, and that the answer is the same.
func TestUnknownScript(t *testing.T) {
	r := redistest.Start(t)
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone"})
	known := note(t, s, holding(t, "known", "r"))
	before := s.Stats().UnknownScripts
	r.Do("SCRIPT FLUSH")
	ran := scriptsRun(t, r)
	wantVerdict(t, note(t, s, holding(t, "new", "r")), store.First, store.New)
	if got := scriptsRun(t, r) - ran; got != 2 { // that it is not known, and then the run of it
		t.Errorf("Redis was asked for %d scripts, want 2", got)
	}
	wantVerdict(t, note(t, s, holding(t, "known", "other")), store.Held, store.SameMessage)
	if again := note(t, s, holding(t, "known", "r")); again.Receipt != known.Receipt {
		t.Errorf("asked again: receipt %q, want %q", again.Receipt, known.Receipt)
	}
	if got := scriptsRun(t, r) - ran; got != 4 {
		t.Errorf("Redis was asked for %d scripts, want 4: it knows this one again", got)
	}
	if got := s.Stats().UnknownScripts - before; got != 1 {
		t.Errorf("%d unknown scripts are counted, want 1", got)
	}
}
