package clienttest

import (
	"crypto/rand"
	"math/big"
	"slices"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The settings of a new server.
const (
	matchWindow   = 2 * time.Hour
	arrivalWindow = 4 * 24 * time.Hour
	retention     = 45 * 24 * time.Hour
)

// note is a note without its State, which as computes.
type note struct {
	*notedv1.Note
	request  string // that was answered FIRST last
	receipt  string // of that answer
	released bool
	own      *notedv1.Sighting // that was answered FIRST last
	arrived  time.Time         // of the first sighting
}

// holding is the attempt of a receipt.
type holding struct {
	note    *note
	attempt int32
	shadow  bool // of a duplicate in shadow: it holds nothing
}

// asked is a donation and its message, before its note is found or made.
type asked struct {
	donation *notedv1.Donation
	message  *notedv1.Message
	arrived  time.Time
}

// asking completes a request: an unspecified event is a payment, and a received_at in the
// future is now.
func (f *Fake) asking(d *notedv1.Donation, m *notedv1.Message) asked {
	a := asked{donation: proto.CloneOf(d), message: &notedv1.Message{}, arrived: f.now}
	if m != nil {
		a.message = proto.CloneOf(m)
	}
	if a.donation.Event == notedv1.Event_EVENT_UNSPECIFIED {
		a.donation.Event = notedv1.Event_EVENT_PAYMENT
	}
	if at := a.message.ReceivedAt; at != nil && at.AsTime().Before(f.now) {
		a.arrived = at.AsTime()
	} else {
		a.message.ReceivedAt = nil
	}
	return a
}

// find returns the note of a message by the contract's rules, the strongest first.
func (f *Fake) find(a asked, request string) (*note, notedv1.Evidence) {
	var same []*note
	for _, n := range f.notes {
		d := n.Donation
		if d.Ledger == a.donation.Ledger && d.SeriesId == a.donation.SeriesId && d.Event == a.donation.Event {
			same = append(same, n)
		}
	}
	first := func(is func(*note) bool) *note {
		if at := slices.IndexFunc(same, is); at >= 0 {
			return same[at]
		}
		return nil
	}
	if n := first(func(n *note) bool { return request != "" && n.request == request }); n != nil {
		return n, notedv1.Evidence_EVIDENCE_SAME_REQUEST
	}
	if n := first(func(n *note) bool { return a.message.Id != "" && n.hasMessage(a.message) }); n != nil {
		return n, notedv1.Evidence_EVIDENCE_SAME_MESSAGE
	}
	if id := a.donation.TransactionId; id != "" {
		n := first(func(n *note) bool { return n.own.GetTransactionId() == id })
		if n == nil {
			n = first(func(n *note) bool { return n.hasTransaction(id) && !n.toldOtherwise(a) })
		}
		if n != nil {
			return n, notedv1.Evidence_EVIDENCE_SAME_TRANSACTION
		}
	}
	var nearest *note
	var nearestBy time.Duration
	for _, n := range same {
		if by, pairs := n.pairs(a); pairs && (nearest == nil || by < nearestBy) {
			nearest, nearestBy = n, by
		}
	}
	return nearest, notedv1.Evidence_EVIDENCE_PAIRED
}

// add makes a note. Two notes of a series never have the same noted_at.
func (f *Fake) add(a asked) *note {
	at := f.now
	for slices.ContainsFunc(f.notes, func(n *note) bool {
		return n.Donation.Ledger == a.donation.Ledger && n.Donation.SeriesId == a.donation.SeriesId &&
			n.NotedAt.AsTime().Equal(at)
	}) {
		at = at.Add(time.Millisecond)
	}
	n := &note{
		Note: &notedv1.Note{
			DonationId: rand.Text(), Donation: a.donation, NotedAt: timestamppb.New(at), Attempt: 1,
		},
		arrived: a.arrived,
	}
	n.ForgetAt = timestamppb.New(later(a.donation.OccurredAt, n.NotedAt).Add(retention))
	n.own = n.see(a, at)
	f.notes = append(f.notes, n)
	return n
}

// take gives a note to the request that was answered FIRST.
func (f *Fake) take(n *note, request string, hold time.Duration) {
	n.request, n.receipt = request, rand.Text()
	n.hold(hold, f.now)
	f.receipts[n.receipt] = holding{note: n, attempt: n.Attempt}
}

// holder returns the note of a receipt that no other attempt has taken over, or of a
// receipt in shadow, which holds nothing.
func (f *Fake) holder(receipt string) (held *note, shadow bool, err error) {
	f.forget()
	holding, given := f.receipts[receipt]
	switch {
	case !given:
		return nil, false, invalid("INVALID_REQUEST", "receipt", "is not a receipt that Noted gave")
	case !slices.Contains(f.notes, holding.note):
		return nil, false, refuse(codes.NotFound, "NOTE_NOT_FOUND", "the note was forgotten, or never existed")
	case holding.shadow || holding.note.Attempt == holding.attempt:
		return holding.note, holding.shadow, nil
	case holding.note.state(f.now) == notedv1.State_STATE_SETTLED:
		return nil, false, f.refuseReceipt("SETTLED_BY_ANOTHER")
	}
	return nil, false, f.refuseReceipt("HOLD_LOST")
}

func (n *note) state(now time.Time) notedv1.State {
	switch {
	case n.released, n.HeldUntil != nil && !n.HeldUntil.AsTime().After(now):
		return notedv1.State_STATE_OPEN
	case n.HeldUntil != nil:
		return notedv1.State_STATE_HELD
	}
	return notedv1.State_STATE_SETTLED
}

// hold makes the hold last from now. A hold of 0 settles.
func (n *note) hold(hold time.Duration, now time.Time) {
	n.released, n.HeldUntil = false, nil
	if hold > 0 {
		hold = (hold + time.Millisecond - 1).Truncate(time.Millisecond)
		n.HeldUntil = timestamppb.New(now.Add(hold))
	}
}

// see returns the sighting of a message, and adds it if it is new.
func (n *note) see(a asked, now time.Time) *notedv1.Sighting {
	for _, s := range n.Sightings {
		if s.Message.Channel == a.message.Channel && s.Message.Id == a.message.Id &&
			(a.message.Id != "" || s.TransactionId == a.donation.TransactionId) {
			return s
		}
	}
	message := &notedv1.Message{Channel: a.message.Channel, Id: a.message.Id}
	if len(n.Sightings) == 0 {
		message.ReceivedAt = a.message.ReceivedAt
	}
	seen := timestamppb.New(later(timestamppb.New(now), n.NotedAt))
	s := &notedv1.Sighting{Message: message, TransactionId: a.donation.TransactionId, SeenAt: seen}
	n.Sightings = append(n.Sightings, s)
	return s
}

func (n *note) hasMessage(m *notedv1.Message) bool {
	return slices.ContainsFunc(n.Sightings, func(s *notedv1.Sighting) bool {
		return s.Message.Channel == m.Channel && s.Message.Id == m.Id
	})
}

func (n *note) hasTransaction(id string) bool {
	return slices.ContainsFunc(n.Sightings, func(s *notedv1.Sighting) bool { return s.TransactionId == id })
}

// toldOtherwise reports whether an earlier message of the channel had another transaction
// id.
func (n *note) toldOtherwise(a asked) bool {
	return slices.ContainsFunc(n.Sightings, func(s *notedv1.Sighting) bool {
		return s.Message.Channel == a.message.Channel && s.TransactionId != "" &&
			s.TransactionId != a.donation.TransactionId
	})
}

// pairs reports whether a message without a common id is about the note's donation, and how
// far apart the two are.
func (n *note) pairs(a asked) (time.Duration, bool) {
	if !sameMoney(n.Donation, a.donation) || a.donation.TransactionId != "" && n.toldOtherwise(a) {
		return 0, false
	}
	for _, s := range n.Sightings {
		if a.message.Id != "" && s.Message.Id != "" && s.Message.Channel == a.message.Channel {
			return 0, false // one channel uses one id for a donation
		}
	}
	if n.Donation.OccurredAt != nil && a.donation.OccurredAt != nil {
		by := n.Donation.OccurredAt.AsTime().Sub(a.donation.OccurredAt.AsTime()).Abs()
		return by, by <= matchWindow
	}
	by := n.arrived.Sub(a.arrived).Abs()
	return by, by <= arrivalWindow
}

// reused reports whether a request id has another message than before.
func (n *note) reused(a asked) bool {
	if a.message.Id != "" && n.own.Message.Id != "" {
		return !n.hasMessage(a.message)
	}
	if id := a.donation.TransactionId; id != "" && n.own.TransactionId != "" && id != n.own.TransactionId {
		return true
	}
	return n.Attempt == 1 && !sameMoney(n.Donation, a.donation)
}

// differences names the fields in which a message and the note disagree.
func (n *note) differences(a asked) (names []string) {
	d, other := n.Donation, a.donation
	if d.Amount != "" && other.Amount != "" && !sameNumber(d.Amount, other.Amount) {
		names = append(names, "amount")
	}
	if d.CurrencyCode != "" && other.CurrencyCode != "" && d.CurrencyCode != other.CurrencyCode {
		names = append(names, "currency_code")
	}
	if d.TransactionId != "" && other.TransactionId != "" && d.TransactionId != other.TransactionId {
		names = append(names, "transaction_id")
	}
	if d.OccurredAt != nil && other.OccurredAt != nil && !d.OccurredAt.AsTime().Equal(other.OccurredAt.AsTime()) {
		names = append(names, "occurred_at")
	}
	return names
}

// sameMoney reports whether two sums are equal. A missing sum equals every sum.
func sameMoney(a, b *notedv1.Donation) bool {
	return a.Amount == "" || b.Amount == "" || a.CurrencyCode == b.CurrencyCode && sameNumber(a.Amount, b.Amount)
}

func sameNumber(a, b string) bool {
	x, isNumber := new(big.Rat).SetString(a)
	y, isToo := new(big.Rat).SetString(b)
	return isNumber && isToo && x.Cmp(y) == 0
}

// later is the later of two times, of which the first may be absent.
func later(a, b *timestamppb.Timestamp) time.Time {
	if a != nil && a.AsTime().After(b.AsTime()) {
		return a.AsTime()
	}
	return b.AsTime()
}
