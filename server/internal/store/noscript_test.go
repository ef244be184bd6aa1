package store_test

import (
	"testing"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestUnknownScript checks that a script that Redis has forgotten is sent again with its
// source, that this is counted, and that the answer is the same.
func TestUnknownScript(t *testing.T) {
	r := redistest.Start(t)
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone"})
	known := note(t, s, holding(t, "known", "r"))
	before := s.Stats().UnknownScripts
	r.Do("SCRIPT FLUSH")
	ran := scriptsRun(t, r)
	wantVerdict(t, note(t, s, holding(t, "new", "r")), store.First, store.New)
	if got := scriptsRun(t, r) - ran; got != 2 { // the refusal, and then the run
		t.Errorf("Redis was asked for %d scripts, want 2", got)
	}
	wantVerdict(t, note(t, s, holding(t, "known", "other")), store.Held, store.SameMessage)
	if again := note(t, s, holding(t, "known", "r")); again.Receipt != known.Receipt {
		t.Errorf("asked again: receipt %q, want %q", again.Receipt, known.Receipt)
	}
	if got := scriptsRun(t, r) - ran; got != 4 {
		t.Errorf("Redis was asked for %d scripts, want 4: it knows the script again", got)
	}
	if got := s.Stats().UnknownScripts - before; got != 1 {
		t.Errorf("%d unknown scripts are counted, want 1", got)
	}
}
