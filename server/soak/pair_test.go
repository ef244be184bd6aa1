package soak_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// A pair is the two servers of an upgrade. They take turns: each step is done by the
// server that did not do the step before.
type pair struct {
	t *testing.T
	*upgrade
	ledger string
	turn   int
	listed *notedv1.ListDonationsResponse // the series as it stood after the last step
}

const pairSeries = "I-0123456789AB"

var (
	pairPaid = time.Now().Add(-time.Hour).Truncate(time.Second)
	// Three messages of one donation: the second is known by its transaction, the third
	// only by its amount and time.
	byIPN = &notedv1.NoteDonationRequest{
		Message:  &notedv1.Message{Channel: "ipn", Id: "00112233445566778899aabbccddeeff"},
		Donation: paid("8XB30000000000001", pairPaid),
	}
	byWebhook = &notedv1.NoteDonationRequest{
		Message:  &notedv1.Message{Channel: "webhook", Id: "WH-0123456789ABCDEFG-GFEDCBA9876543210"},
		Donation: paid("8XB30000000000001", pairPaid.Add(time.Second)),
	}
	byPost = &notedv1.NoteDonationRequest{
		Message:  &notedv1.Message{Channel: "post", Id: "4711"},
		Donation: paid("", pairPaid.Add(2*time.Second)),
	}
	// And a message of the payment before it.
	ofBefore = &notedv1.NoteDonationRequest{
		Message:  &notedv1.Message{Channel: "post", Id: "4710"},
		Donation: paid("8XB30000000000000", pairPaid.Add(-7*24*time.Hour-123*time.Millisecond)),
	}
)

func paid(transaction string, at time.Time) *notedv1.Donation {
	return &notedv1.Donation{
		SeriesId:      pairSeries,
		OccurredAt:    timestamppb.New(at),
		Amount:        "25.00",
		CurrencyCode:  "USD",
		TransactionId: transaction,
	}
}

// live is the whole life of notes. If a server would read in its next turn what it has
// written itself, a step that changes nothing stands in between.
func (p *pair) live() {
	const long = 5 * time.Minute
	first := p.note("1", byIPN, long, "FIRST by NEW: HELD, attempt 1")
	p.note("2", byIPN, long, "HELD by SAME_MESSAGE: HELD, attempt 1")
	p.look(byIPN, "true by SAME_MESSAGE: HELD, attempt 1")
	again := p.note("1", byIPN, long, "FIRST by SAME_REQUEST: HELD, attempt 1")
	if again.GetReceipt() != first.GetReceipt() {
		p.t.Errorf("the same request has the receipts %q and %q", first.GetReceipt(), again.GetReceipt())
	}
	p.look(byIPN, "true by SAME_MESSAGE: HELD, attempt 1")
	p.extend(first, 2*long, "HELD, attempt 1")
	p.release(first, "OPEN, attempt 1")
	second := p.note("3", byIPN, long, "FIRST by TAKEN_OVER: HELD, attempt 2")
	p.settle(first, "HOLD_LOST")
	p.look(byIPN, "true by SAME_MESSAGE: HELD, attempt 2")
	p.lapse(second)
	third := p.note("4", byIPN, long, "FIRST by TAKEN_OVER: HELD, attempt 3")
	p.release(second, "HOLD_LOST")
	p.extend(second, long, "HOLD_LOST")
	p.settle(third, "SETTLED, attempt 3")
	p.settle(third, "SETTLED, attempt 3")
	p.note("4", byIPN, long, "FIRST by SAME_REQUEST: SETTLED, attempt 3")
	p.settle(second, "SETTLED_BY_ANOTHER")
	p.look(byIPN, "true by SAME_MESSAGE: SETTLED, attempt 3")
	p.release(third, "ALREADY_SETTLED")
	p.look(byIPN, "true by SAME_MESSAGE: SETTLED, attempt 3")
	p.extend(third, long, "ALREADY_SETTLED")
	p.look(byIPN, "true by SAME_MESSAGE: SETTLED, attempt 3")
	p.note("5", byIPN, long, "DUPLICATE by SAME_MESSAGE: SETTLED, attempt 3")
	p.look(byPost, "true by PAIRED: SETTLED, attempt 3")
	p.note("6", byWebhook, long, "DUPLICATE by SAME_TRANSACTION: SETTLED, attempt 3")
	p.note("7", byPost, long, "DUPLICATE by PAIRED: SETTLED, attempt 3")
	p.note("8", byPost, long, "DUPLICATE by SAME_MESSAGE: SETTLED, attempt 3")
	p.note("9", byWebhook, 0, "DUPLICATE by SAME_MESSAGE: SETTLED, attempt 3")
	p.note("10", ofBefore, 0, "FIRST by NEW: SETTLED, attempt 1")
	p.note("11", ofBefore, 0, "DUPLICATE by SAME_MESSAGE: SETTLED, attempt 1")
	p.forget(first.GetNote().GetDonationId())
	p.settle(third, "NOTE_NOT_FOUND")
	p.look(byIPN, "false")
	anew := p.note("12", byWebhook, long, "FIRST by NEW: HELD, attempt 1")
	if anew.GetNote().GetDonationId() == first.GetNote().GetDonationId() {
		p.t.Errorf(
			"a forgotten note and its successor have the same donation id %s",
			anew.GetNote().GetDonationId(),
		)
	}
	p.note("13", byPost, long, "HELD by PAIRED: HELD, attempt 1")
	p.settle(anew, "SETTLED, attempt 1")
	p.note("14", byIPN, long, "DUPLICATE by SAME_TRANSACTION: SETTLED, attempt 1")
	if notes := p.listed.GetNotes(); len(notes) != 2 || len(notes[1].GetSightings()) != 3 {
		p.t.Errorf("at the end these notes are left, want two, the second with three sightings: %v", notes)
	}
}

// step makes a call at the server whose turn it is, and checks the answer: the reason of
// a refusal, or the verdict and the note. Then both servers must list the series alike:
// with the note as it was answered, with all fields that never change as they were, and
// after a refusal without any change.
func (p *pair) step(
	what, want string,
	call func(context.Context, notedv1.DedupeServiceClient) (said string, note *notedv1.Note, err error),
) {
	p.t.Helper()
	by := p.turn % 2
	p.turn++
	what = fmt.Sprintf("%s by the %s release", what, p.releases[by].name)
	called := time.Now()
	said, note, err := call(p.t.Context(), p.clients[by])
	got := said
	if note != nil {
		got += fmt.Sprintf("%s, attempt %d", strings.TrimPrefix(note.GetState().String(), "STATE_"), note.GetAttempt())
	}
	if err != nil {
		got = reasonOf(err)
	}
	if got != want {
		p.t.Fatalf("%s: got %q, %v; want %q", what, got, err, want)
	}
	before := p.listed
	p.listed = p.both(what)
	p.goneOn(what, before, called)
	if err != nil {
		if diff := cmp.Diff(before, p.listed, protocmp.Transform()); diff != "" {
			p.t.Errorf("%s was refused, and changed the series (-before +after):\n%s", what, diff)
		}
	}
	if note == nil {
		return
	}
	for _, found := range p.listed.GetNotes() {
		if found.GetDonationId() == note.GetDonationId() {
			if diff := cmp.Diff(note, found, protocmp.Transform()); diff != "" {
				p.t.Errorf("%s (-answered +listed):\n%s", what, diff)
			}
			return
		}
	}
	p.t.Errorf("%s: note %s is not listed", what, note.GetDonationId())
}

// goneOn checks that of the earlier notes only fields that may change have changed, and
// that new sightings are not earlier than the call.
func (p *pair) goneOn(what string, before *notedv1.ListDonationsResponse, called time.Time) {
	p.t.Helper()
	were := map[string]*notedv1.Note{}
	for _, note := range before.GetNotes() {
		were[note.GetDonationId()] = note
	}
	for _, note := range p.listed.GetNotes() {
		was, fresh := were[note.GetDonationId()], note.GetSightings()
		if was != nil {
			fresh = fresh[min(len(was.GetSightings()), len(fresh)):]
			now := &notedv1.Note{
				DonationId: was.GetDonationId(),
				Donation:   note.GetDonation(),
				NotedAt:    note.GetNotedAt(),
				Sightings:  note.GetSightings()[:len(note.GetSightings())-len(fresh)],
			}
			then := &notedv1.Note{
				DonationId: was.GetDonationId(),
				Donation:   was.GetDonation(),
				NotedAt:    was.GetNotedAt(),
				Sightings:  was.GetSightings(),
			}
			if diff := cmp.Diff(then, now, protocmp.Transform()); diff != "" {
				p.t.Errorf("%s has changed fields that must never change (-before +after):\n%s", what, diff)
			}
		}
		for _, sighting := range fresh {
			if at := sighting.GetSeenAt().AsTime(); at.Before(called.Add(-slack)) || at.After(time.Now().Add(slack)) {
				p.t.Errorf("%s, called at %v, has seen a message at %v", what, called, at)
			}
		}
	}
}

// both returns the series as both servers list it. Their listings must be the same, and
// so must their looks at each of its messages.
func (p *pair) both(after string) *notedv1.ListDonationsResponse {
	p.t.Helper()
	alike := func(what string, ask func(notedv1.DedupeServiceClient) (proto.Message, error)) proto.Message {
		p.t.Helper()
		var told [2]proto.Message
		for i, client := range p.clients {
			var err error
			if told[i], err = ask(client); err != nil {
				p.t.Fatalf("after %s: %s by the %s release: %v", after, what, p.releases[i].name, err)
			}
		}
		if diff := cmp.Diff(told[0], told[1], protocmp.Transform()); diff != "" {
			p.t.Errorf("after %s: %s (-first release +present):\n%s", after, what, diff)
		}
		return told[0]
	}
	for _, m := range []*notedv1.NoteDonationRequest{byIPN, byWebhook, byPost, ofBefore} {
		alike("a look", func(c notedv1.DedupeServiceClient) (proto.Message, error) {
			return c.DonationExists(
				p.t.Context(),
				&notedv1.DonationExistsRequest{Donation: p.in(m.GetDonation()), Message: m.GetMessage()},
			)
		})
	}
	return alike("the list", func(c notedv1.DedupeServiceClient) (proto.Message, error) {
		return c.ListDonations(p.t.Context(), &notedv1.ListDonationsRequest{Ledger: p.ledger, SeriesId: pairSeries})
	}).(*notedv1.ListDonationsResponse)
}

// in is a donation in the pair's ledger.
func (p *pair) in(d *notedv1.Donation) *notedv1.Donation {
	d = proto.CloneOf(d)
	d.Ledger = p.ledger
	return d
}

func (p *pair) note(
	request string,
	m *notedv1.NoteDonationRequest,
	hold time.Duration,
	want string,
) (answered *notedv1.NoteDonationResponse) {
	p.t.Helper()
	p.step(
		"note "+request,
		want,
		func(ctx context.Context, c notedv1.DedupeServiceClient) (_ string, _ *notedv1.Note, err error) {
			answered, err = c.NoteDonation(
				ctx,
				&notedv1.NoteDonationRequest{
					Donation:  p.in(m.GetDonation()),
					Message:   m.GetMessage(),
					Hold:      durationpb.New(hold),
					RequestId: p.ledger + "-" + request,
				},
			)
			return fmt.Sprintf(
				"%s by %s: ",
				short(answered.GetVerdict()),
				short(answered.GetEvidence()),
			), answered.GetNote(), err
		},
	)
	if left := answered.GetRetryAfter().
		AsDuration(); (answered.GetVerdict() == notedv1.Verdict_VERDICT_HELD) != (left > 0) {
		p.t.Errorf("note %s is answered %s, and to come again after %v", request, answered.GetVerdict(), left)
	}
	return answered
}

// short is a value of an enumeration without its prefix.
func short(value fmt.Stringer) string {
	_, name, _ := strings.Cut(value.String(), "_")
	return name
}

func (p *pair) look(m *notedv1.NoteDonationRequest, want string) {
	p.t.Helper()
	p.step("look", want, func(ctx context.Context, c notedv1.DedupeServiceClient) (string, *notedv1.Note, error) {
		answered, err := c.DonationExists(
			ctx,
			&notedv1.DonationExistsRequest{Donation: p.in(m.GetDonation()), Message: m.GetMessage()},
		)
		said := fmt.Sprint(answered.GetExists())
		if answered.GetNote() != nil {
			said += fmt.Sprintf(" by %s: ", short(answered.GetEvidence()))
		}
		return said, answered.GetNote(), err
	})
}

func (p *pair) settle(first *notedv1.NoteDonationResponse, want string) {
	p.t.Helper()
	p.step("settle", want, func(ctx context.Context, c notedv1.DedupeServiceClient) (string, *notedv1.Note, error) {
		answered, err := c.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: first.GetReceipt()})
		return "", answered.GetNote(), err
	})
}

func (p *pair) release(first *notedv1.NoteDonationResponse, want string) {
	p.t.Helper()
	p.step("release", want, func(ctx context.Context, c notedv1.DedupeServiceClient) (string, *notedv1.Note, error) {
		answered, err := c.ReleaseDonation(
			ctx,
			&notedv1.ReleaseDonationRequest{Receipt: first.GetReceipt(), Reason: "it was not taken"},
		)
		return "", answered.GetNote(), err
	})
}

func (p *pair) extend(first *notedv1.NoteDonationResponse, hold time.Duration, want string) {
	p.t.Helper()
	p.step("extend", want, func(ctx context.Context, c notedv1.DedupeServiceClient) (string, *notedv1.Note, error) {
		before := time.Now()
		answered, err := c.ExtendHold(
			ctx,
			&notedv1.ExtendHoldRequest{Receipt: first.GetReceipt(), Hold: durationpb.New(hold)},
		)
		if until := answered.GetNote().
			GetHeldUntil().
			AsTime(); err == nil &&
			(until.Before(before.Add(hold-slack)) || until.After(time.Now().Add(hold+slack))) {
			p.t.Errorf("extended by %v at %v, a hold runs until %v", hold, before, until)
		}
		return "", answered.GetNote(), err
	})
}

// lapse lets a hold run out: a step extends it to end in a moment, and then both servers
// must see the note open.
func (p *pair) lapse(first *notedv1.NoteDonationResponse) {
	p.t.Helper()
	by := p.turn % 2
	p.turn++
	if _, err := p.clients[by].ExtendHold(
		p.t.Context(),
		&notedv1.ExtendHoldRequest{Receipt: first.GetReceipt(), Hold: durationpb.New(time.Millisecond)},
	); err != nil {
		p.t.Fatalf("extend by the %s release: %v", p.releases[by].name, err)
	}
	for i, client := range p.clients {
		await(p.t, fmt.Sprintf("the %s release sees the hold run out", p.releases[i].name), func() bool {
			answered, err := client.DonationExists(
				p.t.Context(),
				&notedv1.DonationExistsRequest{Donation: p.in(byIPN.GetDonation()), Message: byIPN.GetMessage()},
			)
			if err != nil || answered.GetNote() == nil {
				p.t.Fatalf("a look by the %s release: %v, %v", p.releases[i].name, answered, err)
			}
			return !answered.GetExists() && answered.GetNote().GetState() == notedv1.State_STATE_OPEN
		})
	}
	p.listed = p.both("a hold that ran out")
}

func (p *pair) forget(id string) {
	p.t.Helper()
	p.step("forget", "", func(ctx context.Context, c notedv1.DedupeServiceClient) (string, *notedv1.Note, error) {
		answered, err := c.ForgetDonation(
			ctx,
			&notedv1.ForgetDonationRequest{Ledger: p.ledger, SeriesId: pairSeries, DonationId: id, Reason: "a test"},
		)
		if answered.GetNote().GetDonationId() != id && err == nil {
			p.t.Errorf("forgetting %s has answered %v", id, answered.GetNote())
		}
		return "", nil, err
	})
	for _, note := range p.listed.GetNotes() {
		if note.GetDonationId() == id {
			p.t.Errorf("note %s was forgotten and is listed: %v", id, note)
		}
	}
}
