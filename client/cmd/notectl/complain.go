package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/terminal"
	"google.golang.org/grpc/status"
)

// An error is one line after "notectl: ", in lower case and without a full stop. A remedy,
// if there is one, follows in lines after "notectl: hint: ".

func (a *app) warnf(format string, args ...any) {
	fmt.Fprintln(a.stderr, "notectl: "+terminal.Printable(fmt.Sprintf(format, args...)))
}

// complain writes an error, which names every broken field, and the remedy.
func (a *app) complain(err error) {
	a.warnf("%v", err)
	if hint := hintFor(err); hint != "" {
		a.warnf("hint: %s", hint)
	}
	if question, ok := errors.AsType[asked](err); ok && mayBeNoted(err) {
		a.warnf(
			"hint: it is unknown whether it has been noted; for the same answer repeat it with -request-id %s",
			question.requestID,
		)
	}
}

// asked is the error of a note call, which can be repeated with its request id. With
// another id, a donation that the call noted would be a DUPLICATE that was never
// processed.
type asked struct {
	error
	requestID string
}

func (e asked) Unwrap() error { return e.error }

// mayBeNoted reports whether a failed call may have noted the donation.
func mayBeNoted(err error) bool {
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown),
		errors.Is(err, client.ErrDurabilityNotReached),
		errors.Is(err, client.ErrStoreWentBack),
		errors.Is(err, client.ErrWrongAnswer),
		errors.Is(err, client.ErrInternal),
		errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		return true
	case errors.Is(err, client.ErrUnavailable):
		return client.Reason(err) == "" // the connection broke
	}
	_, isCall := status.FromError(err)
	return !isCall // the answer could not be read or shown
}

// hintFor returns the remedy for an error, or nothing if the error has it.
func hintFor(err error) string {
	if it, ok := errors.AsType[advised](err); ok {
		return it.hint
	}
	switch {
	case errors.Is(err, client.ErrUnavailable) && strings.Contains(err.Error(), "tls: "):
		return "the server's certificate or yours is not accepted: see -ca, -cert and -key"
	case errors.Is(err, client.ErrUnavailable) && strings.Contains(err.Error(), "handshake"):
		return "the server may not speak TLS; in a network that you trust, use -plaintext"
	case errors.Is(err, client.ErrUnavailable) && client.Reason(err) == "":
		return "is the server running, and is -addr right? to try one: go run ./server/cmd/noted -dev"
	case errors.Is(err, client.ErrUnauthenticated):
		return "present a token with -token-file, or a certificate with -cert and -key; notectl token makes a token"
	case errors.Is(err, client.ErrLedgerDenied):
		return "is -ledger right? the server's file of -callers names the ledgers of each caller"
	case errors.Is(err, client.ErrVerbDenied):
		return "the server's file of -callers names the verbs of each caller: " + strings.Join(grantable, ", ")
	case errors.Is(err, client.ErrStoreUnavailable):
		return "the server runs, but its Redis does not answer; nothing was noted, try again"
	case errors.Is(err, client.ErrStoreUnsuitable):
		return "nothing was noted; the server's log tells its operator what to do"
	case errors.Is(err, client.ErrRequestIDReused):
		return "nothing was noted; give each message its own -request-id, or leave the flag out"
	case errors.Is(err, client.ErrOutcomeUnknown), errors.Is(err, client.ErrDurabilityNotReached):
		if _, ok := errors.AsType[asked](err); ok {
			return "" // complain shows the request id
		}
		return "it may have been done nevertheless: look at the note with notectl list -series SERIES"
	case errors.Is(err, client.ErrHoldLost), errors.Is(err, client.ErrSettledByAnother):
		return "see the present attempt: notectl list -series SERIES"
	case errors.Is(err, client.ErrNoteNotFound):
		return "notes are forgotten after their retention; see the notes: notectl list -series SERIES"
	case errors.Is(err, client.ErrSeriesFull):
		return "the series id looks like a constant: is -series the right field?"
	}
	if wait, ok := client.RetryAfter(err); ok {
		return "try again in " + seconds(max(wait, time.Second))
	}
	return ""
}

// advised is an error with its remedy.
type advised struct {
	error
	hint string
}

func (e advised) Unwrap() error { return e.error }

// inCommand is an error in the command line of a command.
type inCommand struct {
	error
	name string
}

func (a *app) complainOfUsage(err error) {
	a.warnf("%v", err)
	name := "notectl"
	if in, ok := errors.AsType[inCommand](err); ok {
		name = in.name
	}
	a.warnf("hint: %s -help", name)
}

// usagef makes an error of the command line.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
