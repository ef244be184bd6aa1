package downstream

import (
	"context"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/propagation"

	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// openStream opens a downstream on a redis-server of its own.
func openStream(t *testing.T) (*stream, *redis.Client) {
	t.Helper()
	opened, err := Open("redis://"+processtest.Redis(t).Addr+"/3?stream=donations", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := opened.(*stream)
	t.Cleanup(func() { d.Close() })
	return d, d.client
}

func TestStreamHoldsAnEventOnce(t *testing.T) {
	d, store := openStream(t)
	ctx := t.Context()
	const retention = 45 * 24 * time.Hour
	var all sync.WaitGroup
	for attempt := range 50 {
		all.Go(func() {
			e := &Event{ID: "donation-1", Kind: "noted.donation.payment", data: eventData{Attempt: int32(attempt)}}
			if _, err := d.Accept(ctx, e, []byte(`{"id":"donation-1"}`), retention); err != nil {
				t.Errorf("accept: %v", err)
			}
		})
	}
	all.Wait()
	if err := store.ScriptFlush(ctx).Err(); err != nil { // as a new primary has it
		t.Fatal(err)
	}
	answer, err := d.Accept(ctx, &Event{ID: "donation-2", Kind: "noted.donation.refund"}, []byte("{}"), 0)
	if err != nil {
		t.Fatal(err)
	}
	entries := store.XRange(ctx, "donations", "-", "+").Val()
	if len(entries) == 2 && answer != "entry "+entries[1].ID {
		t.Errorf("accepted as %q, want the id of the entry, %s", answer, entries[1].ID)
	}
	if len(entries) != 2 || entries[0].Values["id"] != "donation-1" ||
		entries[0].Values["event"] != `{"id":"donation-1"}` ||
		entries[0].Values["type"] != "noted.donation.payment" {
		t.Fatalf("the stream holds %v, want each event once", entries)
	}
	// The guard outlives the note, even in a trimmed stream.
	if left := store.PTTL(ctx, "{donations}:handed-on:donation-1").Val(); left < retention {
		t.Errorf("the guard lives for %v, want at least %v", left, retention)
	}
	store.XTrimMaxLen(ctx, "donations", 0)
	if _, err := d.Accept(
		ctx,
		&Event{ID: "donation-1"},
		nil,
		retention,
	); err != nil ||
		store.XLen(ctx, "donations").Val() != 0 {
		t.Errorf("accept after trimming: %v, %d entries, want none", err, store.XLen(ctx, "donations").Val())
	}
}

// A refused event leaves no guard: otherwise the donation would count as delivered.
func TestStreamRefuses(t *testing.T) {
	d, store := openStream(t)
	store.Set(t.Context(), "donations", "no stream", 0)
	if _, err := d.Accept(
		t.Context(),
		&Event{ID: "donation-1"},
		nil,
		time.Hour,
	); err == nil ||
		!strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("accept: %v, want WRONGTYPE", err)
	}
	if keys := store.Keys(t.Context(), "*").Val(); len(keys) != 1 {
		t.Errorf("left behind: %v", keys)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Accept(ended, &Event{ID: "donation-1"}, nil, time.Hour); err == nil {
		t.Error("accept with an ended context: no error")
	}
}

// The name of a connection is for CLIENT LIST only: where Redis refuses CLIENT SETNAME,
// events are delivered all the same.
func TestStreamWithoutTheRightToAName(t *testing.T) {
	_, store := openStream(t)
	if err := store.Do(t.Context(), "ACL", "SETUSER", "default", "-client|setname").Err(); err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse("redis://" + store.Options().Addr + "/3?stream=donations")
	d, err := openRedis(u)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Accept(
		t.Context(),
		&Event{ID: "donation-1", Kind: "noted.donation.payment"},
		[]byte(`{"id":"donation-1"}`),
		time.Hour,
	); err != nil {
		t.Errorf("accept: %v", err)
	}
	if list := store.Do(t.Context(), "CLIENT", "LIST").String(); strings.Count(list, "name=noted-gateway") != 2 {
		t.Errorf("not both connections have the gateway's name:\n%s", list)
	}
}

func TestGuardIsInTheStreamsSlot(t *testing.T) {
	for stream, want := range map[string]string{
		"donations": "{donations}:handed-on:x", "{a}b": "{a}b:handed-on:x", "a{b}c": "a{b}c:handed-on:x",
	} {
		if got := guardKey(stream, "x"); got != want {
			t.Errorf("guardKey(%q) = %q, want %q", stream, got, want)
		}
	}
}

// The head of a script lists its arguments and replies; the body must match.
func TestScriptKeepsItsWord(t *testing.T) {
	source, err := os.ReadFile("stream.lua")
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(source), "\n\n")
	for _, word := range []string{"KEYS[1]", "KEYS[2]", "ARGV[1]"} {
		if strings.Count(head, word) != 1 || strings.Count(body, word) != 1 {
			t.Errorf("%s is not once in the head and once in the body", word)
		}
	}
	for _, reply := range []string{"added", "known"} {
		if !strings.Contains(head, `{"`+reply+`"`) || !strings.Contains(body, "{'"+reply+"'") {
			t.Errorf("the reply %s is not in both", reply)
		}
	}
}

// An event that is delivered within a trace names it, and another event names none.
func TestStreamNamesTheTrace(t *testing.T) {
	d, store := openStream(t)
	const parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	traced := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": parent})
	for id, ctx := range map[string]context.Context{"traced": traced, "plain": t.Context()} {
		if _, err := d.Accept(ctx, &Event{ID: id, Kind: "noted.donation.payment"}, []byte("{}"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, entry := range store.XRange(t.Context(), "donations", "-", "+").Val() {
		got, names := entry.Values["traceparent"]
		if names != (entry.Values["id"] == "traced") || names && got != parent {
			t.Errorf("the event %v has traceparent %v", entry.Values["id"], got)
		}
	}
}
