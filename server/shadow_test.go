package server_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
	"github.com/donation-dedupe/noted/server/servertest"
)

const (
	first     = notedv1.Verdict_VERDICT_FIRST
	duplicate = notedv1.Verdict_VERDICT_DUPLICATE
	heldBy    = notedv1.Verdict_VERDICT_HELD
	noVerdict = notedv1.Verdict_VERDICT_UNSPECIFIED
)

// asked is a request of the series I-1 in a ledger, by a message on a channel.
func asked(ledger, request, channel string, hold time.Duration) *notedv1.NoteDonationRequest {
	return &notedv1.NoteDonationRequest{
		Donation: &notedv1.Donation{
			Ledger: ledger, SeriesId: "I-1", Amount: map[string]string{"ipn": "25.00", "webhook": "26.00"}[channel],
			CurrencyCode: "EUR", TransactionId: "T1",
		},
		Message:   &notedv1.Message{Channel: channel, Id: channel + "-1"},
		Hold:      durationpb.New(hold),
		RequestId: request,
	}
}

// TestShadowTellsTheTrueVerdict makes the same calls in two ledgers on a real Redis, of
// which one is in shadow. The shadow verdict must equal the other ledger's verdict, and
// the notes must be equal, in every state of a note.
func TestShadowTellsTheTrueVerdict(t *testing.T) {
	n := start(t, servertest.Options{Redis: redistest.Start(t).URL(), ShadowLedgers: []string{"shadowed"}})
	const long = time.Minute
	type step func(ledger string) *notedv1.NoteDonationResponse
	note := func(request, channel string, hold time.Duration) step {
		return func(ledger string) *notedv1.NoteDonationResponse {
			return n.mustNote(t, asked(ledger, request, channel, hold))
		}
	}
	receipts := map[string]string{} // :: ledger → the first receipt of a FIRST
	settle := func(ledger string) *notedv1.NoteDonationResponse {
		if _, err := finish(t, n, model.Settle, receipts[ledger]); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	release := func(ledger string) *notedv1.NoteDonationResponse {
		if _, err := finish(t, n, model.Release, receipts[ledger]); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	runOut := func(ledger string) *notedv1.NoteDonationResponse {
		eventually(t, 20*time.Second, "an open note", func() bool {
			looked, err := n.DonationExists(t.Context(), &notedv1.DonationExistsRequest{
				Donation: asked(ledger, "", "ipn", 0).Donation,
			})
			return err == nil && looked.Note.State == notedv1.State_STATE_OPEN
		})
		return nil
	}
	for _, c := range []struct {
		name  string
		steps []step
		want  []notedv1.Verdict // of the notes among the steps
	}{
		{"held", []step{note("a", "ipn", long), note("b", "webhook", long)}, []notedv1.Verdict{first, heldBy}},
		{
			"held, and asked without a hold",
			[]step{note("a", "ipn", long), note("b", "webhook", 0)},
			[]notedv1.Verdict{first, heldBy},
		},
		{
			"settled",
			[]step{note("a", "ipn", long), settle, note("b", "webhook", long), note("c", "ipn", 0)},
			[]notedv1.Verdict{first, duplicate, duplicate},
		},
		{
			"settled at once",
			[]step{note("a", "ipn", 0), note("b", "webhook", long)},
			[]notedv1.Verdict{first, duplicate},
		},
		{
			"released",
			[]step{note("a", "ipn", long), release, note("b", "webhook", long), note("c", "ipn", long)},
			[]notedv1.Verdict{first, first, heldBy},
		},
		{
			"run out",
			[]step{note("a", "ipn", time.Millisecond), runOut, note("b", "webhook", long)},
			[]notedv1.Verdict{first, first},
		},
		{
			"run out, and its holder again",
			[]step{note("a", "ipn", time.Millisecond), runOut, note("a", "ipn", long)},
			[]notedv1.Verdict{first, first},
		},
		{
			"the holder again",
			[]step{note("a", "ipn", long), note("a", "ipn", long), settle, note("a", "ipn", long)},
			[]notedv1.Verdict{first, first, first},
		},
		{
			"a repeat of the other",
			[]step{note("a", "ipn", long), note("b", "webhook", long), note("b", "webhook", long)},
			[]notedv1.Verdict{first, heldBy, heldBy},
		},
		{"the other after a release", []step{
			note("a", "ipn", long), note("b", "webhook", long), release, note("b", "webhook", long),
		}, []notedv1.Verdict{first, heldBy, first}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clear(receipts)
			var wanted int
			for _, step := range c.steps {
				plain, shadowed := step("plain"), step("shadowed")
				if plain == nil {
					continue
				}
				want := c.want[wanted]
				wanted++
				if plain.Verdict != want || plain.ShadowVerdict != noVerdict {
					t.Fatalf("note %d: %s beside %s, want %s alone", wanted, plain.Verdict, plain.ShadowVerdict, want)
				}
				if shadowed.Verdict != first || shadowed.ShadowVerdict != want {
					t.Errorf("note %d in shadow: %s beside %s, want FIRST beside %s",
						wanted, shadowed.Verdict, shadowed.ShadowVerdict, want)
				}
				if shadowed.RetryAfter != nil {
					t.Errorf("note %d in shadow has a retry_after, which only HELD has", wanted)
				}
				if want == first && receipts["shadowed"] == "" {
					receipts["plain"], receipts["shadowed"] = plain.Receipt, shadowed.Receipt
				}
				if want == first && (plain.Receipt == "") != (shadowed.Receipt == "") {
					t.Errorf("note %d: receipts %q and in shadow %q", wanted, plain.Receipt, shadowed.Receipt)
				}
				if want != first && shadowed.Receipt != "" && !store.IsShadow(shadowed.Receipt) {
					t.Errorf("note %d in shadow: %s has the receipt of a holder", wanted, want)
				}
				if diff := cmp.Diff(plainly(plain), plainly(shadowed), protocmp.Transform()); diff != "" {
					t.Errorf("note %d: the answer in shadow is another (-plain +shadowed):\n%s", wanted, diff)
				}
			}
			for _, ledger := range []string{"plain", "shadowed"} {
				forgetAll(t, n, ledger)
			}
		})
	}
}

// plainly is an answer without the fields that may differ in a ledger in shadow.
func plainly(r *notedv1.NoteDonationResponse) *notedv1.NoteDonationResponse {
	r = proto.CloneOf(r)
	r.Verdict, r.ShadowVerdict, r.Receipt, r.RetryAfter = 0, 0, "", nil
	r.Note.DonationId, r.Note.Donation.Ledger = "", ""
	r.Note.NotedAt, r.Note.ForgetAt = nil, nil
	if r.Note.HeldUntil != nil {
		r.Note.HeldUntil.Reset()
	}
	for _, s := range r.Note.Sightings {
		s.SeenAt = nil
	}
	return r
}

func forgetAll(t *testing.T, n noted, ledger string) {
	t.Helper()
	for _, note := range listed(t, n, ledger) {
		request := &notedv1.ForgetDonationRequest{
			Ledger: ledger, SeriesId: note.Donation.SeriesId, DonationId: note.DonationId, Reason: "the next case",
		}
		if _, err := n.ForgetDonation(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
}

func listed(t *testing.T, n noted, ledger string) []*notedv1.Note {
	t.Helper()
	page, err := n.ListDonations(t.Context(), &notedv1.ListDonationsRequest{Ledger: ledger, SeriesId: "I-1"})
	if err != nil {
		t.Fatal(err)
	}
	return page.Notes
}

// TestLifeInShadow makes random calls in shadow, with every receipt that there is, and
// compares each answer with the model of a note's life. Receipts of true duplicates must
// never move the note.
func TestLifeInShadow(t *testing.T) {
	n := start(t, servertest.Options{Frozen: time.Now(), ShadowLedgers: []string{"*"}})
	type given struct {
		receipt, request string
		attempt          int
		shadow           bool
	}
	shadows, moved := 0, 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 16))
		id := fmt.Sprint("I-", seed)
		var life model.Life
		var lapses time.Time
		var receipts []given
		for step := range 40 {
			lapsed := !n.Now().Before(lapses)
			switch act := random.IntN(10); {
			case act == 0:
				n.Advance(20 * time.Second)
			case act < 5 || len(receipts) == 0:
				hold := time.Duration(random.IntN(2)) * 30 * time.Second
				request := string(rune('a' + random.IntN(5)))
				r := n.mustNote(t, &notedv1.NoteDonationRequest{
					Donation:  &notedv1.Donation{SeriesId: id},
					Message:   &notedv1.Message{Channel: "ipn", Id: "1"},
					Hold:      durationpb.New(hold),
					RequestId: request,
				})
				before, verdict := life, store.Verdict(0)
				life, verdict = life.Note(request, hold > 0, lapsed)
				if r.Verdict != first || r.ShadowVerdict != notedv1.Verdict(verdict) ||
					int(r.Note.Attempt) != life.Attempt {
					t.Fatalf("seed %d, step %d: %s beside %s, attempt %d; want FIRST beside %d, attempt %d",
						seed, step, r.Verdict, r.ShadowVerdict, r.Note.Attempt, verdict, life.Attempt)
				}
				if (r.Receipt != "") != (hold > 0) {
					t.Fatalf("seed %d, step %d: hold %v and receipt %q", seed, step, hold, r.Receipt)
				}
				if life.Attempt > before.Attempt || verdict == store.First && before.State == store.StateHeld && lapsed {
					lapses = n.Now().Add(hold)
				}
				if r.Receipt != "" {
					receipts = append(receipts, given{r.Receipt, request, life.Attempt, verdict != store.First})
				}
			default:
				g := receipts[random.IntN(len(receipts))]
				verb := []model.Verb{model.Settle, model.Release, model.Extend}[random.IntN(3)]
				note, err := finish(t, n, verb, g.receipt)
				before := life
				var want error
				if g.shadow {
					shadows++
				} else if life, want = life.Finish(verb, g.request, g.attempt); want == nil {
					moved++
					if verb == model.Extend {
						lapses = n.Now().Add(30 * time.Second)
					}
				}
				if want == nil && err != nil || want != nil && toldBy(err).reason != "noted.v1/"+want.Error() {
					t.Fatalf("seed %d, step %d: %s of %+v in %+v: %v, want %v", seed, step, verb, g, before, err, want)
				}
				if err != nil {
					continue
				}
				state := life.State
				if state == store.StateHeld && !n.Now().Before(lapses) {
					state = store.StateOpen
				}
				if note.State != notedv1.State(state) || int(note.Attempt) != life.Attempt {
					t.Fatalf("seed %d, step %d: %s of %+v in %+v: the note is %s, attempt %d; want state %d, attempt %d",
						seed, step, verb, g, before, note.State, note.Attempt, state, life.Attempt)
				}
			}
		}
	}
	if shadows < 200 || moved < 50 {
		t.Errorf("%d receipts in shadow and %d others were used: this shows little", shadows, moved)
	}
}

func finish(t *testing.T, n noted, verb model.Verb, receipt string) (*notedv1.Note, error) {
	t.Helper()
	switch verb {
	case model.Settle:
		r, err := n.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: receipt, Reason: "by hand"})
		return r.GetNote(), err
	case model.Release:
		r, err := n.ReleaseDonation(t.Context(), &notedv1.ReleaseDonationRequest{Receipt: receipt, Reason: "failed"})
		return r.GetNote(), err
	case model.Extend:
		r, err := n.ExtendHold(t.Context(), &notedv1.ExtendHoldRequest{
			Receipt: receipt, Hold: durationpb.New(30 * time.Second),
		})
		return r.GetNote(), err
	}
	t.Fatalf("there is no verb %q", verb)
	return nil, nil
}
