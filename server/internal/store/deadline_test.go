package store

import (
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// TestDeadlineEdge runs scripts whose deadline is the store's present millisecond, and
// the one before: a script still runs in the millisecond of its deadline.
func TestDeadlineEdge(t *testing.T) {
	server, err := embedded.StartFrozen(time.Now().Truncate(time.Second).Add(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	client := clientFor(t, server.URL())
	now := server.Now().UnixMilli()
	for _, c := range []struct {
		script   *wire.Script
		key      string
		args     []any
		in, late string // the reply's word
	}{
		{listScript, seriesKey("", "I-1"), []any{"-"}, "NOTES", "PAST_DEADLINE"},
		{
			noteScript,
			seriesKey("", "I-2"),
			[]any{"1Ptokentoke", " ? - ipn:1 -", "0000000000 0 - 0 0 0 512 0 -"},
			"a time",
			"PAST_DEADLINE",
		},
		{beatScript, "noted:beat", []any{"-", 0, "-", "b5xa", "k7q2wvnxme"}, "BEGUN", "PAST_DEADLINE"},
	} {
		for deadline, want := range map[int64]string{now: c.in, now - 1: c.late} {
			args := append([]any{deadline}, c.args...)
			reply, err := client.Eval(t.Context(), c.script.Source, []string{c.key}, args...).Result()
			var word any = "a time"
			if words, ok := reply.([]any); ok {
				word = words[0]
			}
			if err != nil || word != want {
				t.Errorf("%s.lua, %d ms before its deadline: %q, %v, want %s",
					c.script.Name, deadline-now, reply, err, want)
			}
		}
	}
}
