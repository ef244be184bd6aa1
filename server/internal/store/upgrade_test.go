package store

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/embedded"
)

// v1 is the time at which the fixtures in testdata/v1 are read: their notes were made in
// the weeks before.
var v1 = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// A fixture is a value as the first release wrote it, and its meaning. It is never
// rewritten: every later release must read it with this meaning.
type fixture struct{ name, key, value, notes string }

func fixtures(t *testing.T) []fixture {
	files, err := filepath.Glob("testdata/v1/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("found only the fixtures %v, %v", files, err)
	}
	if folders, err := filepath.Glob("testdata/v[0-9]*"); err != nil || len(folders) != 1 {
		t.Fatalf("of %v the tests read only v1, %v; let fixtures, readFirstRelease and server/soak read all", folders, err)
	}
	var all []fixture
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- key --\n")
		key, rest, _ := strings.Cut(rest, "\n-- value --\n")
		value, notes, ok := strings.Cut(rest, "\n-- notes --\n")
		if !ok {
			t.Fatalf("%s does not have its three parts", file)
		}
		all = append(all, fixture{strings.TrimSuffix(filepath.Base(file), ".txt"), key, value, notes})
	}
	return all
}

func openFor(t *testing.T, url string, ran *Ran) *Store {
	s, err := Open(
		t.Context(),
		Config{URL: url, Mode: "standalone", Logger: slog.New(slog.DiscardHandler), Took: ran.Took},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func clientFor(t *testing.T, url string) *redis.Client {
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// meaning reads the notes of a fixture. A field that it lacks is one that its release did
// not have.
func (f fixture) meaning(t *testing.T) (notes []Note) {
	t.Helper()
	texts := json.NewDecoder(strings.NewReader(f.notes))
	for texts.DisallowUnknownFields(); texts.More(); {
		var n Note
		if err := texts.Decode(&n); err != nil {
			t.Fatalf("the fixture %s: %v", f.name, err)
		}
		notes = append(notes, n)
	}
	return notes
}

// TestFirstRelease reads notes of the first release with today's scripts and today's Go.
// Each note must be found by each of its messages, and must stay as it is when another
// note is written beside it.
func TestFirstRelease(t *testing.T) {
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			server, err := embedded.StartFrozen(v1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			s, client := openFor(t, server.URL(), &Ran{}), clientFor(t, server.URL())
			if err := client.Set(t.Context(), f.key, f.value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			ledger, series, ok := seriesOf(f.key)
			if !ok {
				t.Fatalf("%q is no key of a series", f.key)
			}
			reply, err := s.List(t.Context(), ListRequest{Ledger: ledger, SeriesID: series, PageSize: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(f.meaning(t), reply.Notes); diff != "" {
				t.Errorf("it reads (-want +got):\n%s", diff)
			}
			rules := Rules{
				MatchWindow:   2 * time.Hour,
				ArrivalWindow: 96 * time.Hour,
				Retention:     45 * 24 * time.Hour,
				SkewAhead:     24 * time.Hour,
				SeriesLimit:   512,
			}
			for _, n := range reply.Notes {
				for _, seen := range n.Sightings {
					if seen.Message.ID == "" {
						continue
					}
					look, err := s.Exists(t.Context(), n.Donation, seen.Message, rules)
					if err != nil || look.Evidence != SameMessage || look.Note.DonationID != n.DonationID {
						t.Errorf("message %+v: Exists = %+v, %v; want note %s", seen.Message, look, err, n.DonationID)
					}
				}
			}
			added, err := s.Note(t.Context(), NoteRequest{
				Donation: Donation{Ledger: ledger, SeriesID: series, Event: MaxEvent, TransactionID: "NEW"},
				Message:  Message{Channel: "today", ID: "1"}, RequestID: "today", Rules: rules,
			})
			if err != nil || added.Verdict != First {
				t.Fatalf("noting beside it: %+v, %v", added, err)
			}
			value, err := client.Get(t.Context(), f.key).Result()
			if err != nil || !strings.HasPrefix(value, f.value+"\n") {
				t.Errorf("the first release's notes are now\n%s\nwant them unchanged\n%s", value, f.value)
			}
		})
	}
}
