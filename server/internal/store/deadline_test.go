package store

import (
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// TestDeadlineEdge runs scripts whose deadline is the store's time to the millisecond,
// and one before it: a deadline counts to its end and with it.
func TestDeadlineEdge(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now().Truncate(time.Second).Add(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := openFor(t, server.URL())
	now := server.Now().UnixMilli()
	for _, c := range []struct {
		call     call
		in, late string // the reply's word
	}{
		{call{script: listScript, key: seriesKey("", "I-1")}, "NOTES", "PAST_DEADLINE"},
		{
			call{script: beatScript, key: prefix + "beat", args: []any{"-", 0, "-", "b5xa", "k7q2wvnxme"}},
			"BEGUN", "PAST_DEADLINE",
		},
	} {
		c.call.clock = s.clocks.at("")
		for deadline, want := range map[int64]string{now: c.in, now - 1: c.late} {
			c.call.deadline = deadline
			result := s.runAll(t.Context(), []call{c.call})[0]
			if result.err != nil || result.words[0] != want {
				t.Errorf("%s.lua, %d ms before its deadline: %q, %v, want %s", c.call.script.name, deadline-now,
					result.words, result.err, want)
			}
		}
	}
}
