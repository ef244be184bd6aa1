package store_test

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// inShadow is a request of a ledger in shadow.
func inShadow(r store.NoteRequest) store.NoteRequest {
	r.Rules.Shadow = true
	return r
}

// keepsNote checks that a receipt can be settled, released and extended, that each is
// answered with the note, and that none of them changes a byte of the series.
func keepsNote(t *testing.T, s *store.Store, receipt string, want store.Note, value func() string) {
	t.Helper()
	if !store.IsShadow(receipt) {
		t.Fatalf("the receipt %q is not one in shadow", receipt)
	}
	before := value()
	for name, use := range map[string]func() (store.Note, error){
		"Settle":  func() (store.Note, error) { return s.Settle(ctx(t), receipt) },
		"Release": func() (store.Note, error) { return s.Release(ctx(t), receipt) },
		"Extend":  func() (store.Note, error) { return s.Extend(ctx(t), receipt, time.Minute) },
	} {
		got, err := use()
		if err != nil {
			t.Errorf("%s in shadow: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s in shadow answers with another note (-want +got):\n%s", name, diff)
		}
		if after := value(); after != before {
			t.Errorf("%s in shadow has changed the series:\n%q\n%q", name, before, after)
		}
	}
}

// TestReceiptInShadow walks a note through its states. In each, the receipt of a message
// that is no FIRST outside shadow must change nothing.
func TestReceiptInShadow(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, "standalone", server.URL())
	c := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer c.Close()
	value := func() string {
		value, err := c.Get(ctx(t), keyOf(t, "I-1")).Result()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}

	one := note(t, s, inShadow(holding(t, "I-1", "one")))
	wantVerdict(t, one, store.First, store.New)
	if store.IsShadow(one.Receipt) {
		t.Error("the receipt of a true FIRST is one in shadow")
	}

	duplicate := note(t, s, inShadow(holding(t, "I-1", "duplicate")))
	wantVerdict(t, duplicate, store.Held, store.SameMessage)
	keepsNote(t, s, duplicate.Receipt, duplicate.Note, value)

	// A repeat of the request gets the same answer again.
	again := note(t, s, inShadow(holding(t, "I-1", "duplicate")))
	wantVerdict(t, again, store.Held, store.SameMessage)
	if again.Receipt != duplicate.Receipt {
		t.Errorf("the repeat of a request has another receipt: %q and %q", duplicate.Receipt, again.Receipt)
	}

	// An open note does not become the duplicate's by its receipt.
	open, err := s.Release(ctx(t), one.Receipt)
	if err != nil || open.State != store.StateOpen {
		t.Fatalf("Release of the holder: %+v, %v", open, err)
	}
	keepsNote(t, s, duplicate.Receipt, open, value)

	// It does by asking again. The receipt of before still holds nothing.
	taken := note(t, s, inShadow(holding(t, "I-1", "duplicate")))
	wantVerdict(t, taken, store.First, store.TakenOver)
	keepsNote(t, s, duplicate.Receipt, taken.Note, value)
	settled, err := s.Settle(ctx(t), taken.Receipt)
	if err != nil || settled.State != store.StateSettled {
		t.Fatalf("Settle of the holder: %+v, %v", settled, err)
	}
	refusesReceipt(t, s, one.Receipt, store.ErrSettledByAnother)

	late := note(t, s, inShadow(holding(t, "I-1", "late")))
	wantVerdict(t, late, store.Duplicate, store.SameMessage)
	keepsNote(t, s, late.Receipt, settled, value)
	keepsNote(t, s, duplicate.Receipt, settled, value)

	// Outside shadow nothing has changed.
	if r := note(t, s, holding(t, "I-1", "live")); r.Verdict != store.Duplicate || r.Receipt != "" {
		t.Errorf("outside shadow: verdict %d with receipt %q, want a DUPLICATE without one", r.Verdict, r.Receipt)
	}
	if _, err := s.Forget(ctx(t), ledgerOf(t), "I-1", settled.DonationID); err != nil {
		t.Fatal(err)
	}
	refusesReceipt(t, s, late.Receipt, store.ErrNotFound)
}

// TestShadowWithoutHold checks that no verdict has a receipt where the caller holds
// nothing.
func TestShadowWithoutHold(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		for i, want := range []store.Verdict{store.First, store.Duplicate, store.Duplicate} {
			r := inShadow(holding(t, "I-1", string(rune('a'+i))))
			r.Hold = 0
			if got := note(t, s, r); got.Verdict != want || got.Receipt != "" {
				t.Errorf("message %d: verdict %d, receipt %q; want %d and no receipt", i, got.Verdict, got.Receipt, want)
			}
		}
	})
}

// TestReceiptInShadowOfALostSeries answers with the failures of every receipt.
func TestReceiptInShadowOfALostSeries(t *testing.T) {
	everywhere(t, func(t *testing.T, s *store.Store) {
		note(t, s, inShadow(holding(t, "I-1", "one")))
		duplicate := note(t, s, inShadow(holding(t, "I-1", "duplicate")))
		if _, err := s.Forget(ctx(t), ledgerOf(t), "I-1", duplicate.Note.DonationID); err != nil {
			t.Fatal(err)
		}
		refusesReceipt(t, s, duplicate.Receipt, store.ErrNotFound)

		// The donation is noted anew: the receipt is not that of the new note.
		anew := note(t, s, inShadow(holding(t, "I-1", "anew")))
		wantVerdict(t, anew, store.First, store.New)
		refusesReceipt(t, s, duplicate.Receipt, store.ErrNotFound)
		if _, err := s.Settle(ctx(t), anew.Receipt); err != nil {
			t.Errorf("the holder cannot settle: %v", err)
		}
	})
}

// reformed is a receipt with another form and the checksum of before.
func reformed(t *testing.T, receipt string, form byte) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(receipt)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = form
	return base64.RawURLEncoding.EncodeToString(raw)
}

// TestForgedShadow turns a receipt of one form into another. It is refused for its
// checksum.
func TestForgedShadow(t *testing.T) {
	s := open(t, "standalone", redistest.Start(t).URL())
	one := note(t, s, inShadow(holding(t, "I-1", "one")))
	duplicate := note(t, s, inShadow(holding(t, "I-1", "duplicate")))
	for _, receipt := range []string{
		reformed(t, one.Receipt, 'S'), reformed(t, duplicate.Receipt, '1'), reformed(t, one.Receipt, '2'),
	} {
		refusesReceipt(t, s, receipt, store.ErrBadReceipt)
		if _, err := store.LedgerOf(receipt); !errors.Is(err, store.ErrBadReceipt) {
			t.Errorf("LedgerOf: %v, want %v", err, store.ErrBadReceipt)
		}
	}
	for _, receipt := range []string{one.Receipt, duplicate.Receipt} {
		if ledger, err := store.LedgerOf(receipt); err != nil || ledger != ledgerOf(t) {
			t.Errorf("LedgerOf: %q, %v, want %q", ledger, err, ledgerOf(t))
		}
	}
}
