package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// If a note changes between the look and the close, close reports its true state and
// settles no other note.
func TestCloseMeetsAnother(t *testing.T) {
	donation := &notedv1.Donation{SeriesId: "I-EXAMPLE1", TransactionId: "EX1"}
	hold := &notedv1.NoteDonationRequest{Donation: donation, Hold: durationpb.New(time.Minute)}
	internal := trouble(codes.Internal, "INTERNAL")
	type answer = *notedv1.NoteDonationResponse
	type settled = *notedv1.SettleDonationResponse
	for name, c := range map[string]struct {
		meet   func(b *between, id string)
		reason string
		code   int
		stderr string // its text
		left   notedv1.State
		same   bool // the note is still the one to close
	}{
		"held meanwhile": {
			func(b *between, _ string) {
				b.note = func(_ int, ask func() (answer, error)) (answer, error) {
					b.take(hold)
					return ask()
				}
			},
			"entry 12", exitHeld, "a receiver is processing it; nothing was changed\n" +
				"notectl: hint: if it is still open then, close it in ",
			notedv1.State_STATE_HELD, true,
		},
		"settled meanwhile": {
			func(b *between, _ string) {
				b.note = func(_ int, ask func() (answer, error)) (answer, error) {
					b.finish(b.take(hold))
					return ask()
				}
			},
			"entry 12", exitDuplicate, "it is already settled; nothing was changed",
			notedv1.State_STATE_SETTLED, true,
		},
		"forgotten meanwhile": {
			func(b *between, id string) {
				b.note = func(_ int, ask func() (answer, error)) (answer, error) {
					forget := &notedv1.ForgetDonationRequest{SeriesId: "I-EXAMPLE1", DonationId: id, Reason: "a test"}
					if _, err := b.noted.ForgetDonation(t.Context(), forget); err != nil {
						t.Error(err)
					}
					return ask()
				}
			},
			"entry 12", exitError, "which is left open\nnotectl: hint: ",
			notedv1.State_STATE_OPEN, false,
		},
		"every message leads elsewhere": {
			func(b *between, _ string) {
				b.exists = func() *notedv1.DonationExistsResponse {
					return &notedv1.DonationExistsResponse{Note: &notedv1.Note{DonationId: "d-other", Donation: donation}}
				}
			},
			"entry 12", exitError, "leads to another note or to several notes; nothing was changed\nnotectl: hint: ",
			notedv1.State_STATE_OPEN, true,
		},
		"settling fails": {
			func(b *between, _ string) {
				b.settle = func(int, func() (settled, error)) (settled, error) { return nil, internal }
			},
			"entry 12", exitError, "settling: INTERNAL",
			notedv1.State_STATE_OPEN, true,
		},
		"the answer to settling is lost": {
			func(b *between, _ string) {
				b.settle = func(_ int, ask func() (settled, error)) (settled, error) {
					_, _ = ask()
					return nil, internal
				}
			},
			"entry 12", exitFirst, "", notedv1.State_STATE_SETTLED, true,
		},
		"the reason is too long": {
			func(*between, string) {}, strings.Repeat("x", 257), exitError, "reason", notedv1.State_STATE_OPEN, true,
		},
	} {
		for where, shadowLedgers := range map[string][]string{"": nil, ", in shadow": {"*"}} {
			t.Run(name+where, func(t *testing.T) {
				b := newBetween(t, shadowLedgers...)
				first := b.take(hold)
				id := first.GetNote().GetDonationId()
				b.giveUp(first)
				c.meet(b, id)
				code, stdout, stderr := b.run("", "close", "-series", "I-EXAMPLE1", "-reason", c.reason, id)
				if code != c.code || !strings.Contains(stderr, c.stderr) || (stdout != "") != (c.code == exitFirst) {
					t.Errorf("got %d %s%s, want %d and %q", code, stdout, stderr, c.code, c.stderr)
				}
				list, err := b.noted.ListDonations(t.Context(), &notedv1.ListDonationsRequest{SeriesId: "I-EXAMPLE1"})
				if err != nil || len(list.GetNotes()) != 1 {
					t.Fatalf("got %v, %v, want one note", list, err)
				}
				left := list.GetNotes()[0]
				if left.GetState() != c.left || (left.GetDonationId() == id) != c.same {
					t.Errorf("left %v, want it %v, the same: %t", left, c.left, c.same)
				}
			})
		}
	}
}

// take notes with a hold, past notectl.
func (b *between) take(request *notedv1.NoteDonationRequest) *notedv1.NoteDonationResponse {
	b.t.Helper()
	answer, err := b.noted.NoteDonation(b.t.Context(), request)
	if err != nil || answer.GetReceipt() == "" {
		b.t.Fatalf("noting: got %v, %v, want a receipt", answer, err)
	}
	return answer
}

func (b *between) finish(first *notedv1.NoteDonationResponse) {
	b.t.Helper()
	request := &notedv1.SettleDonationRequest{Receipt: first.GetReceipt()}
	if _, err := b.noted.SettleDonation(b.t.Context(), request); err != nil {
		b.t.Fatal(err)
	}
}

func (b *between) giveUp(first *notedv1.NoteDonationResponse) {
	b.t.Helper()
	request := &notedv1.ReleaseDonationRequest{Receipt: first.GetReceipt()}
	if _, err := b.noted.ReleaseDonation(b.t.Context(), request); err != nil {
		b.t.Fatal(err)
	}
}
