package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// newSubject makes a subject whose clock stands at a time.
type newSubject func(t testing.TB, now time.Time) subject

// A subject is a store or the model, for tests of the rules that ask either. Its clock
// stands until it is set forward.
type subject struct {
	note    func(model.Request) (model.Reply, error)
	settle  func(receipt string) error
	release func(receipt string) error
	clock   func(time.Time)
}

// storeError is the store's error for a refusal of the model.
func storeError(err error) error {
	if err == nil {
		return nil
	}
	return map[model.Refusal]error{
		model.TooEarly:         store.ErrTooEarly,
		model.TooLate:          store.ErrTooLate,
		model.SeriesFull:       store.ErrSeriesFull,
		model.ReceivedTooEarly: store.ErrReceivedTooEarly,
		model.RequestReused:    store.ErrRequestReused,
		model.NotFound:         store.ErrNotFound,
		model.HoldLost:         store.ErrHoldLost,
		model.HoldReleased:     store.ErrHoldReleased,
		model.SettledByAnother: store.ErrSettledByAnother,
		model.AlreadySettled:   store.ErrAlreadySettled,
	}[err.(model.Refusal)]
}

// modelled makes a subject of a new model.
func modelled(_ testing.TB, now time.Time) subject {
	m := model.New(now)
	receipts := map[string]model.Receipt{}
	finish := func(verb model.Verb) func(string) error {
		return func(receipt string) error { return storeError(m.Finish(verb, receipts[receipt], 0)) }
	}
	return subject{
		settle: finish(model.Settle), release: finish(model.Release),
		clock: func(now time.Time) { m.Now = now },
		note: func(r model.Request) (model.Reply, error) {
			reply, n, err := m.Note(r)
			if err != nil {
				return reply, storeError(err)
			}
			name := n.NotedAt.UnixMilli()
			reply.Note.DonationID = fmt.Sprintf("%s %s %d", n.Donation.Ledger, n.Donation.SeriesID, name)
			if reply.Verdict == store.First && r.Hold > 0 {
				reply.Receipt = fmt.Sprintf("%s %d %s", reply.Note.DonationID, n.Life.Attempt, r.RequestID)
				receipts[reply.Receipt] = model.Receipt{Note: n, Request: r.RequestID, Attempt: n.Life.Attempt}
			}
			return reply, nil
		},
	}
}

// stored makes a subject of a new embedded store.
func stored(t testing.TB, now time.Time) subject {
	server, err := embedded.StartFrozen(now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := open(t, "standalone", server.URL()+"?read_timeout=5m") // the machine may be busy
	return subject{
		note: func(r model.Request) (model.Reply, error) {
			reply, err := s.Note(context.Background(), r)
			if len(reply.Against) == 0 {
				return model.Reply{NoteReply: reply}, err
			}
			contradicted := &store.Note{}
			for _, told := range reply.Against {
				contradicted.Sightings = append(contradicted.Sightings, store.Sighting{
					Message: store.Message{Channel: told.Channel}, TransactionID: told.TransactionID,
				})
			}
			return model.Reply{NoteReply: reply, Contradicted: contradicted}, err
		},
		settle:  func(receipt string) error { _, err := s.Settle(context.Background(), receipt); return err },
		release: func(receipt string) error { _, err := s.Release(context.Background(), receipt); return err },
		clock: func(now time.Time) {
			if d := now.Sub(server.Now()); d > 0 {
				server.Advance(d)
			}
		},
	}
}

// learning puts a server's memory of the ledger in front of a subject.
func (s subject) learning(l *model.Learner) subject {
	ask := s.note
	s.note = func(r model.Request) (model.Reply, error) {
		r.Rules.Agreeing = l.Agreeing(r.Donation, r.Message.Channel)
		reply, err := ask(r)
		if err == nil {
			l.Observe(r.Donation, r.Message, reply)
		}
		return reply, err
	}
	return s
}

// notHolder tells whether an error says that another attempt has taken over a donation
// whose holder took too long.
func notHolder(err error) bool {
	return errors.Is(err, store.ErrHoldLost) || errors.Is(err, store.ErrSettledByAnother)
}
