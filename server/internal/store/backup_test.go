package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// kept is a store to export from and another to import into, with clocks that the test
// moves together.
type kept struct {
	t          *testing.T
	from, into *store.Store
	intoURL    string
	advance    func(time.Duration)
}

func keptIn(t *testing.T) *kept {
	t.Helper()
	k := &kept{t: t}
	start := time.Now().Truncate(time.Second)
	var servers []*embedded.Server
	for _, s := range []**store.Store{&k.from, &k.into} {
		server, err := embedded.StartFrozen(start)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		servers = append(servers, server)
		*s = open(t, "standalone", server.URL())
		k.intoURL = server.URL()
	}
	k.advance = func(d time.Duration) {
		for _, server := range servers {
			server.Advance(d)
		}
	}
	return k
}

const keptLedger, keptSeries = "kept", "I-KEPT"

// note tells a store of a message. Each donation has a transaction id of its own.
func (k *kept) note(s *store.Store, m store.Message, transaction string, hold time.Duration) store.NoteReply {
	k.t.Helper()
	k.advance(time.Millisecond)
	reply, err := s.Note(k.t.Context(), store.NoteRequest{
		Donation: store.Donation{
			Ledger: keptLedger, SeriesID: keptSeries, Event: pay, TransactionID: transaction, Amount: "25.00", CurrencyCode: "EUR",
		},
		Message: m, Hold: hold, Token: store.NewToken(), Rules: defaultRules,
	})
	if err != nil {
		k.t.Fatalf("noting %v: %v", m, err)
	}
	return reply
}

// exported returns the series of an export of one ledger, or of all.
func exported(t *testing.T, s *store.Store, ledger string, every bool) (all []store.Series) {
	t.Helper()
	err := s.Export(t.Context(), ledger, every, func(part []store.Series, unread []error) error {
		all = append(all, part...)
		return errors.Join(unread...)
	})
	if err != nil {
		t.Fatalf("exporting: %v", err)
	}
	return all
}

func (k *kept) export() []store.Series { k.t.Helper(); return exported(k.t, k.from, keptLedger, false) }

func (k *kept) bring(all []store.Series) store.Imported {
	k.t.Helper()
	if len(all) != 1 {
		k.t.Fatalf("the export has %d series, want 1", len(all))
	}
	imported, errs := k.into.Import(k.t.Context(), all)
	if errs[0] != nil {
		k.t.Fatalf("importing: %v", errs[0])
	}
	return imported[0]
}

func (k *kept) list(s *store.Store) []store.Note {
	k.t.Helper()
	reply, err := s.List(k.t.Context(), store.ListRequest{Ledger: keptLedger, SeriesID: keptSeries, PageSize: 1000})
	if err != nil {
		k.t.Fatal(err)
	}
	return reply.Notes
}

func (k *kept) act(what string, err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatalf("%s: %v", what, err)
	}
}

func message(n int) store.Message {
	return store.Message{Channel: "ipn", ID: strings.Repeat("0123456789abcdef"[n:n+1], 32)}
}

// An import into an empty store brings back each exported note, and the receipts stay
// good. Importing the series again changes nothing.
func TestImportIntoNothing(t *testing.T) {
	k := keptIn(t)
	settled := k.note(k.from, message(1), "T1", time.Minute)
	k.note(k.from, webhook, "T1", time.Minute) // HELD, a sighting
	_, err := k.from.Settle(t.Context(), settled.Receipt)
	k.act("settling", err)
	held := k.note(k.from, message(2), "T2", time.Minute)
	released := k.note(k.from, message(3), "T3", time.Minute)
	_, err = k.from.Release(t.Context(), released.Receipt)
	k.act("releasing", err)
	k.note(k.from, message(3), "T3", time.Minute) // taken over: the second attempt
	forgotten := k.note(k.from, message(4), "T4", 0)
	_, err = k.from.Forget(t.Context(), keptLedger, keptSeries, forgotten.Note.DonationID)
	k.act("forgetting", err)

	export := k.export()
	if r := k.bring(export); r.Added != 3 || r.Changed != 0 || r.Anew != 0 || r.LeftOut != nil || r.Doubtful != nil {
		t.Errorf("the import says %+v, want 3 added", r)
	}
	if diff := cmp.Diff(k.list(k.from), k.list(k.into)); diff != "" {
		t.Errorf("the notes differ (-exported +imported):\n%s", diff)
	}
	if r := k.bring(export); !cmp.Equal(r, store.Imported{}) {
		t.Errorf("the second import says %+v, want nothing", r)
	}
	if diff := cmp.Diff(export, exported(t, k.into, keptLedger, false)); diff != "" {
		t.Errorf("the export of the import differs:\n%s", diff)
	}
	note, err := k.into.Settle(t.Context(), held.Receipt)
	if err != nil || note.DonationID != held.Note.DonationID || note.State != store.StateSettled {
		t.Errorf("settling with a receipt of the other store: %+v, %v", note, err)
	}
	if again := k.note(k.into, message(4), "T4", 0); again.Verdict != store.First ||
		again.Note.DonationID == forgotten.Note.DonationID {
		t.Errorf("a donation that was forgotten by hand is %v, want FIRST under another id", again)
	}
}

// A note that both stores know takes the state that is further, whichever side has it.
func TestImportTakesTheFurtherState(t *testing.T) {
	settle := func(k *kept, s *store.Store, receipt string) {
		_, err := s.Settle(t.Context(), receipt)
		k.act("settling", err)
	}
	release := func(k *kept, s *store.Store, receipt string) {
		_, err := s.Release(t.Context(), receipt)
		k.act("releasing", err)
	}
	for _, c := range []struct {
		name    string
		then    func(k *kept, receipt string) // after the first import
		want    store.State
		attempt int
		changed int
	}{
		{"settled there", func(k *kept, r string) { settle(k, k.from, r) }, store.StateSettled, 1, 1},
		{"settled here", func(k *kept, r string) { settle(k, k.into, r) }, store.StateSettled, 1, 0},
		{"released there", func(k *kept, r string) { release(k, k.from, r) }, store.StateOpen, 1, 1},
		{"released here, held there", func(k *kept, r string) { release(k, k.into, r) }, store.StateOpen, 1, 0},
		{"extended there", func(k *kept, r string) {
			_, err := k.from.Extend(t.Context(), r, 10*time.Minute)
			k.act("extending", err)
			k.advance(5 * time.Minute)
		}, store.StateHeld, 1, 1},
		{"taken over there", func(k *kept, r string) {
			release(k, k.from, r)
			k.note(k.from, message(1), "T1", time.Minute)
		}, store.StateHeld, 2, 1},
		{"taken over here, released there", func(k *kept, r string) {
			release(k, k.from, r)
			release(k, k.into, r)
			k.note(k.into, message(1), "T1", time.Minute)
		}, store.StateHeld, 2, 0},
		{"settled here, taken over there", func(k *kept, r string) {
			release(k, k.from, r)
			k.note(k.from, message(1), "T1", time.Minute)
			settle(k, k.into, r)
		}, store.StateSettled, 1, 0},
		{"seen on another channel there", func(k *kept, _ string) { k.note(k.from, webhook, "T1", time.Minute) }, store.StateHeld, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := keptIn(t)
			first := k.note(k.from, message(1), "T1", time.Minute)
			k.bring(k.export())
			c.then(k, first.Receipt)
			r := k.bring(k.export())
			notes := k.list(k.into)
			if len(notes) != 1 || notes[0].DonationID != first.Note.DonationID || notes[0].State != c.want ||
				notes[0].Attempt != c.attempt || r.Changed != c.changed || r.Added != 0 {
				t.Errorf("the import says %+v, and leaves %+v; want state %v, attempt %d, %d changed",
					r, notes, c.want, c.attempt, c.changed)
			}
			there := k.list(k.from)[0]
			for _, s := range there.Sightings {
				if !slices.ContainsFunc(notes[0].Sightings, func(o store.Sighting) bool { return o.Message == s.Message }) {
					t.Errorf("the sighting %+v is lost", s)
				}
			}
			if r := k.bring(k.export()); !cmp.Equal(r, store.Imported{}) {
				t.Errorf("a second import says %+v, want nothing", r)
			}
		})
	}
}

// The store was emptied, and messages came before the import: the same donation has two
// notes. What either of them settled must not be FIRST again.
func TestImportOfWhatWasNotedAnew(t *testing.T) {
	for _, c := range []struct {
		name        string
		there, here string // what became of the note: settled, released or held
		added       int
		want        store.Verdict // of the next message
	}{
		{"settled in both", "settled", "settled", 1, store.Duplicate},
		{"settled there, open here", "settled", "released", 1, store.Duplicate},
		{"settled there, held here", "settled", "held", 1, store.Duplicate},
		{"open there, settled here", "released", "settled", 0, store.Duplicate},
		{"held there, settled here", "held", "settled", 0, store.Duplicate},
		{"open there, held here", "released", "held", 0, store.Held},
		{"open in both", "released", "released", 0, store.First},
		{"settled there, open here, without transaction ids", "settled", "released", 1, store.Duplicate},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := keptIn(t)
			onlyHere := store.Message{Channel: "webhook", ID: "only-here"}
			transaction, repeats := "T1", []store.Message{message(1), webhook, onlyHere, message(2)}
			if strings.HasSuffix(c.name, "without transaction ids") {
				transaction, repeats = "", repeats[:3]
			}
			reach := func(s *store.Store, receipt, to string) {
				t.Helper()
				var err error
				switch to {
				case "settled":
					_, err = s.Settle(t.Context(), receipt)
				case "released":
					_, err = s.Release(t.Context(), receipt)
				}
				k.act(to, err)
			}
			there := k.note(k.from, message(1), transaction, time.Minute)
			k.note(k.from, webhook, transaction, time.Minute)
			reach(k.from, there.Receipt, c.there)
			k.advance(time.Second)
			here := k.note(k.into, message(1), transaction, 10*time.Minute)
			k.note(k.into, onlyHere, transaction, time.Minute) // HELD, a sighting
			reach(k.into, here.Receipt, c.here)
			r := k.bring(k.export())
			if r.Added != c.added || r.Anew != 1 {
				t.Errorf("the import says %+v, want %d added, 1 noted anew", r, c.added)
			}
			k.advance(2 * time.Minute) // the hold there has run out
			if c.here == "held" && c.there == "settled" {
				if _, err := k.into.Settle(t.Context(), here.Receipt); err != nil {
					t.Errorf("the holder here settles: %v", err)
				}
			}
			first := true
			for _, m := range repeats {
				reply := k.note(k.into, m, transaction, 10*time.Minute)
				want := c.want
				if want == store.First && !first {
					want = store.Held // by the first of them
				}
				if first = false; reply.Verdict != want {
					t.Errorf("%v is %v, want %v", m, reply.Verdict, want)
				}
			}
		})
	}
}

// A note that was forgotten by hand stays forgotten, and a person is told.
func TestImportAfterForget(t *testing.T) {
	k := keptIn(t)
	one := k.note(k.from, message(1), "T1", 0)
	export := k.export()
	k.bring(export)
	_, err := k.into.Forget(t.Context(), keptLedger, keptSeries, one.Note.DonationID)
	k.act("forgetting", err)
	if r := k.bring(export); r.Added != 0 || !slices.Equal(r.LeftOut, []string{one.Note.DonationID}) {
		t.Errorf("the import says %+v, want %s left out", r, one.Note.DonationID)
	}
	if reply := k.note(k.into, message(1), "T1", 0); reply.Verdict != store.First {
		t.Errorf("the donation that was forgotten is %v, want FIRST", reply.Verdict)
	}

	k = keptIn(t) // forgotten where the export is made
	one = k.note(k.from, message(1), "T1", 0)
	k.bring(k.export())
	_, err = k.from.Forget(t.Context(), keptLedger, keptSeries, one.Note.DonationID)
	k.act("forgetting", err)
	if r := k.bring(k.export()); !slices.Equal(r.Doubtful, []string{one.Note.DonationID}) {
		t.Errorf("the import says %+v, want %s doubtful", r, one.Note.DonationID)
	}
}

// The life of a note ends when it would have, and a longer retention wins.
func TestImportKeepsLives(t *testing.T) {
	k := keptIn(t)
	k.note(k.from, message(1), "T1", 0)
	export := k.export()
	k.advance(44 * 24 * time.Hour)
	if r := k.bring(export); r.Added != 1 {
		t.Errorf("the import says %+v, want 1 added", r)
	}
	if diff := cmp.Diff(k.list(k.from), k.list(k.into)); diff != "" {
		t.Errorf("the notes differ:\n%s", diff)
	}
	k.advance(24 * time.Hour)
	if notes := k.list(k.into); len(notes) != 0 {
		t.Errorf("the note outlives its retention: %+v", notes)
	}
	client := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(k.intoURL, "redis://")})
	defer client.Close()
	if keys, err := client.Keys(t.Context(), "*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("the keys %q outlive their notes, %v", keys, err)
	}
	if r := k.bring(export); r.Added != 0 {
		t.Errorf("the import of a forgotten note says %+v", r)
	}
}

// A text that no export gave changes nothing, and says so.
func TestImportRefuses(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		good := "1PAAAAAAAAA" + "mh3x0000" + " ? 25.00EUR ipn:1 T1"
		for _, text := range []string{
			"", "1", "2" + good[1:], good + "\n", good[:20], good + "\nx", strings.Replace(good, "ipn:1", "ipn\x01", 1),
			"1~\n" + good[1:], strings.Replace(good, "P", "Z", 1), strings.Replace(good, " ? ", " ?1 ", 1),
		} {
			_, errs := s.Import(t.Context(), []store.Series{{Ledger: ledgerOf(t), SeriesID: "I-1", Text: text}})
			if !errors.Is(errs[0], store.ErrNoSeries) {
				t.Errorf("Import(%q) = %v, want ErrNoSeries", text, errs[0])
			}
		}
		for _, series := range []store.Series{
			{Ledger: "a b", SeriesID: "I-1", Text: good},
			{Ledger: "", SeriesID: "", Text: good},
			{Ledger: "", SeriesID: strings.Repeat("x", 300), Text: good},
		} {
			if _, errs := s.Import(t.Context(), []store.Series{series}); !errors.Is(errs[0], store.ErrNoSeries) {
				t.Errorf("Import(%+v) = %v, want ErrNoSeries", series, errs[0])
			}
		}
		if all := exported(t, s, ledgerOf(t), false); len(all) != 0 {
			t.Errorf("the refused series have left %+v", all)
		}
	})
}

// An export has every ledger or one, from every node of a cluster, and an import spreads
// them again.
func TestExportOfManySeries(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		const many = 500
		mine, other := ledgerOf(t)+"-a", ledgerOf(t)+"-b"
		want := map[string]bool{}
		for i := range many {
			for _, ledger := range []string{mine, other} {
				series := "I-" + string(rune('A'+i%26)) + strings.Repeat("x", i/26)
				want[ledger+" "+series] = true
				if _, err := s.Note(t.Context(), store.NoteRequest{
					Donation: store.Donation{Ledger: ledger, SeriesID: series, Event: pay},
					Token:    store.NewToken(), Rules: defaultRules,
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := map[string]bool{}
		all := exported(t, s, "", true)
		for _, series := range all {
			got[series.Ledger+" "+series.SeriesID] = true
		}
		for key := range want {
			if !got[key] {
				t.Errorf("the export lacks %s", key)
			}
		}
		for _, series := range exported(t, s, mine, false) {
			if series.Ledger != mine {
				t.Errorf("the export of %q has %+v", mine, series)
			}
		}
		into := open(t, "standalone", redistest.Start(t).URL())
		if _, errs := into.Import(t.Context(), all); errors.Join(errs...) != nil {
			t.Fatal(errors.Join(errs...))
		}
		if _, errs := s.Import(t.Context(), all); errors.Join(errs...) != nil {
			t.Errorf("importing where they are: %v", errors.Join(errs...))
		}
		if there := exported(t, into, "", true); len(there) != len(want) {
			t.Errorf("%d series were imported, want %d", len(there), len(want))
		}
	})
}

// A full store takes no new notes, and keeps its old ones.
func TestImportIntoFullStore(t *testing.T) {
	redis := redistest.Start(t)
	k := keptIn(t)
	k.into = open(t, "standalone", redis.URL())
	k.note(k.from, message(1), "T1", 0)
	export := k.export()
	redis.Do("CONFIG SET maxmemory 1")
	if _, errs := k.into.Import(t.Context(), export); !errors.Is(errs[0], store.ErrStoreFull) {
		t.Errorf("importing into a full store: %v, want ErrStoreFull", errs[0])
	}
	redis.Do("CONFIG SET maxmemory 0")
	if r := k.bring(export); r.Added != 1 {
		t.Errorf("importing after it has room: %+v", r)
	}
}
