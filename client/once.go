package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Once runs process if this donation is the caller's to process, and keeps others from
// processing it meanwhile. It notes the donation with a hold and runs process on First.
// While process runs, it extends the hold at every third of it. It settles the note when
// process has succeeded, and releases it when process has failed or panicked; the panic
// goes on.
//
// The outcomes, and the answer to PayPal:
//
//	verdict    error                      what happened                                              answer
//	First      nil                        processed, and settled                                     200
//	Duplicate  nil                        nothing to do: it is done, or was noted before             200
//	Held       nil                        another is processing it                                   503
//	Undecided  any                        nothing is known, process was not run                      503, or see below
//	First      process's own              process failed; the note is released                       503
//	First      process's own, and         process failed and the release too: First again, but       503
//	           another joined to it       not before the hold has run out
//	First      ErrNotSettled and the      processed, but the note is not final: the donation's       503, or see below
//	           reason joined to it        next message may be First
//
// Undecided mostly comes with ErrUnavailable or a context's error: PayPal comes again,
// and the matter settles itself. An error that matches ErrUndecidable would come every
// time: answer 200 and keep the message for a person. ErrStoreUnsuitable lasts until the
// operator acts. Answer 503 to it, as to every other error: nothing was noted.
//
// ErrNotSettled matches ErrNoteGone when another attempt has processed the donation too, or
// an operator intervened. PayPal's next try would be a duplicate, or double the donation,
// so answer 200 and tell a person.
//
// ErrNotSettled comes with ErrHoldLost when another attempt is processing the donation,
// and with ErrUnavailable when the server was away for longer than Config.SettleTimeout.
// PayPal's next try may be First again, under the same donation id, and settles it then.
// A downstream that takes note.DonationId as its idempotency key, and refuses a
// note.Attempt below the last it saw, makes that harmless.
//
// The context of process ends with ctx. It also ends when the hold is lost, or has run
// out because it could not be extended: from then on another attempt may be processing
// the donation. context.Cause tells which. If process succeeds nevertheless, Once settles
// the note nevertheless. Settling and releasing do not end with ctx: the work is done by
// then, and a note that stays open would double it.
//
// In a ledger that is in shadow, Once processes every message, duplicates too. Settling a
// duplicate then changes nothing, and succeeds.
//
// The message may be nil. Each call of Once has a RequestId of its own, so a second call
// for the same donation is another request: Held, while the first still runs.
func (c *Client) Once(
	ctx context.Context,
	donation *Donation,
	message *Message,
	process func(ctx context.Context, note *Note) error,
) (Verdict, error) {
	request := &NoteRequest{
		Donation:  donation,
		Message:   message,
		Hold:      durationpb.New(c.hold),
		RequestId: NewRequestID(),
	}
	asked := time.Now() // the hold began no earlier
	answer, err := c.Note(ctx, request)
	if err != nil {
		return Undecided, err
	}
	switch answer.GetVerdict() {
	case Duplicate, Held:
		return answer.GetVerdict(), nil
	case First:
	default:
		return Undecided, fmt.Errorf(
			"noting %s: the server's verdict %s is unknown to this client; update the library",
			donation.GetSeriesId(),
			answer.GetVerdict(),
		)
	}
	if answer.GetReceipt() == "" {
		return Undecided, fmt.Errorf("noting %s: the server gave no receipt for the hold", donation.GetSeriesId())
	}
	return First, c.processHeld(ctx, answer, asked.Add(c.hold), process)
}

// processHeld runs process under the hold of answer, which lasts at least until
// heldUntil, and then settles or releases the note.
func (c *Client) processHeld(
	ctx context.Context,
	answer *NoteResponse,
	heldUntil time.Time,
	process func(context.Context, *Note) error,
) error {
	// The caller's context must end neither the settling nor the extending for a process
	// that ignores its context.
	own := context.WithoutCancel(ctx)
	stopHeartbeat := func() {}
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			stopHeartbeat()
			_ = c.giveUp(own, answer, "processing panicked")
		}
	}()
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	stopHeartbeat = c.keepHold(own, answer, heldUntil, lose)

	err := process(ctx, answer.GetNote())
	returned = true
	stopHeartbeat()
	if err != nil {
		if notReleased := c.giveUp(own, answer, "processing failed"); notReleased != nil {
			return errors.Join(err, notReleased)
		}
		return err
	}
	if err := c.settleForSure(own, answer); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSettled, err)
	}
	return nil
}

// keepHold extends the hold in the background until the returned function is called. When
// the hold is lost, or runs out because the server could not be asked in time, it calls
// lose with the reason and ends.
func (c *Client) keepHold(
	ctx context.Context,
	answer *NoteResponse,
	heldUntil time.Time,
	lose context.CancelCauseFunc,
) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			// By this process's clock the hold ends a little earlier than by the store's clock,
			// which is the safe side.
			next := time.Until(heldUntil.Add(-c.hold * 2 / 3))
			if !sleep(ctx, next) {
				return
			}
			var err error
			if heldUntil, err = c.extendBefore(ctx, answer, heldUntil); err != nil {
				if ctx.Err() == nil {
					lose(err)
				}
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// extendBefore extends the hold, and tries until the hold would have run out. It returns
// until when the hold lasts.
func (c *Client) extendBefore(ctx context.Context, answer *NoteResponse, heldUntil time.Time) (time.Time, error) {
	ctx, cancel := context.WithDeadline(ctx, heldUntil)
	defer cancel()
	var told error
	for try := 1; ; try++ {
		asked := time.Now()
		// A try that hangs must leave time for another.
		attempt, cancelAttempt := context.WithTimeout(ctx, max(c.hold/6, time.Millisecond))
		note, err := c.Extend(attempt, answer.GetReceipt(), c.hold)
		cancelAttempt()
		if err == nil {
			err = checkSameNote("extending a hold", answer.GetNote(), note)
		}
		if err == nil {
			return asked.Add(c.hold), nil
		}
		if refused(err) {
			return time.Time{}, err
		}
		told = reasonOf(told, err)
		if !sleep(ctx, waitAfter(try, err)) {
			return time.Time{}, fmt.Errorf("the hold ran out: %w", told)
		}
	}
}

// settleForSure settles, and does not give up at the first failure: the work is done. It
// also waits for a server that is too busy or too slow.
func (c *Client) settleForSure(ctx context.Context, answer *NoteResponse) error {
	ctx, cancel := context.WithTimeout(ctx, c.settleTimeout)
	defer cancel()
	var told error
	for try := 1; ; try++ {
		attempt, cancelAttempt := context.WithTimeout(ctx, c.timeout)
		note, err := c.Settle(attempt, answer.GetReceipt(), "")
		cancelAttempt()
		if err == nil {
			err = checkSameNote("settling", answer.GetNote(), note)
		}
		if err == nil || refused(err) {
			return err
		}
		told = reasonOf(told, err)
		if !sleep(ctx, waitAfter(try, err)) {
			return told
		}
	}
}

// giveUp releases, within the same time and with the retries of a call. If it fails, the
// hold runs out by itself.
func (c *Client) giveUp(ctx context.Context, answer *NoteResponse, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, min(c.settleTimeout, c.timeout))
	defer cancel()
	note, err := c.Release(ctx, answer.GetReceipt(), reason)
	if err != nil {
		return err
	}
	return checkSameNote("releasing", answer.GetNote(), note)
}

// reasonOf returns the error to tell of several tries: the latest one, told being that of
// the tries before it. A try that had no time for an answer does not hide an earlier
// reason.
func reasonOf(told, err error) error {
	if told != nil && status.Code(err) == codes.DeadlineExceeded {
		return told
	}
	return err
}

// refused says whether the server has refused a receipt for good, so that another try
// would change nothing.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable,
		codes.ResourceExhausted,
		codes.DeadlineExceeded,
		codes.Aborted,
		codes.Internal,
		codes.Unknown:
		return false
	}
	return true
}
