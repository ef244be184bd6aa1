package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/donation-dedupe/noted/client"
)

// The gateway asks Noted at most once a second whether it serves, and once a minute for
// its rights, however often the public asks for readiness. An operator changes rights by
// hand, and each denial leaves a line in Noted's audit.
const (
	readyTimeout = 2 * time.Second
	readyHolds   = time.Second
	rightsHold   = time.Minute
)

// readiness is the last look.
type readiness struct {
	mu     sync.Mutex
	looked time.Time
	reason string            // why not; empty for ready
	rights map[string]rights // :: ledger → what Noted said of it
}

// rights say whether Noted lets the gateway note in one ledger.
type rights struct {
	asked  time.Time
	denied string // why not, and what to do; empty where it may
}

// healthz says that the process answers.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz says whether the gateway could note and deliver a donation now, as far as it can
// know.
func (g *Gateway) readyz(w http.ResponseWriter, _ *http.Request) {
	if reason := g.look(); reason != "" {
		http.Error(w, "not ready: "+reason, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// look returns why the gateway is not ready, at most a second old. It logs a new reason
// once.
func (g *Gateway) look() string {
	r := &g.ready
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := g.config.Now(); now.Sub(r.looked).Abs() >= readyHolds { // Abs: a clock may be set back
		troubles := g.troubles(now)
		reason := strings.Join(troubles, "; ")
		g.log.Readiness(r.reason, reason)
		r.reason, r.looked = reason, now
	}
	return r.reason
}

// troubles lists what keeps the gateway from its work, each with its remedy. The public
// reads the list, so it names nothing internal.
//
// With an inbox the database is all that readiness depends on: a message that cannot be
// processed now is kept, and the metrics of the inbox count it.
func (g *Gateway) troubles(now time.Time) []string {
	if kept, err := g.inboxReady(); kept && err != nil {
		return []string{inboxTrouble}
	} else if kept {
		return nil
	}
	all := g.notedTroubles(now)
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	if g.downs.Ready(ctx) != nil {
		all = append(all, "the downstream cannot be reached; look whether it runs, and at its address")
	}
	return all
}

// inboxTrouble is what is wrong where the inbox's database does not answer.
const inboxTrouble = "the inbox's database cannot be reached; look whether it runs, and at its address"

// servingTrouble says what is wrong with Noted. gone says that it cannot be asked more.
func servingTrouble(err error) (trouble string, gone bool) {
	switch {
	case err == nil:
		return "", false
	case errors.Is(err, client.ErrStoreUnavailable):
		return "Noted cannot use its store; its log and its /readyz say why", false
	case isTokenUnreadable(err):
		return "this gateway's token for Noted cannot be read; look at its file", true
	}
	return "Noted cannot be reached; look whether it runs, and at the address and certificates for it", true
}

func (g *Gateway) inboxReady() (kept bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	return g.processor.InboxReady(ctx)
}

func (g *Gateway) notedTroubles(now time.Time) (all []string) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	trouble, gone := servingTrouble(g.noted.Serving(ctx))
	if trouble != "" {
		all = append(all, trouble)
	}
	if gone {
		return all
	}
	if denied := g.denied(ctx, now, g.config.Ledger, "donations"); denied != "" {
		all = append(all, denied)
	}
	if g.config.SandboxLedger != "" {
		denied := g.denied(ctx, now, g.config.SandboxLedger, "PayPal's tests")
		if denied != "" && !slices.Contains(all, denied) { // a missing verb is missing in both ledgers
			all = append(all, denied)
		}
	}
	return all
}

// denied says why the gateway may not note in a ledger; empty where it may. It asks for a
// note without a series. Noted checks token, verb and ledger before the request, so only
// a caller that may note there is told that the series is missing. Nothing is noted, and
// the store is not asked.
func (g *Gateway) denied(ctx context.Context, now time.Time, ledger, name string) string {
	known, ok := g.ready.rights[ledger]
	if ok && now.Sub(known.asked).Abs() < rightsHold {
		return known.denied
	}
	_, err := g.noted.Note(ctx, &client.NoteRequest{Donation: &client.Donation{Ledger: ledger}})
	switch {
	case errors.Is(err, client.ErrInvalidRequest):
		known.denied = ""
	case errors.Is(err, client.ErrUnauthenticated):
		known.denied = "Noted does not know this gateway's token; " +
			"make one with notectl token, and add its line to Noted's file of callers"
	case errors.Is(err, client.ErrVerbDenied):
		known.denied = "this gateway lacks the right to note; " +
			"add the verb note to its caller in Noted's file of callers"
	case errors.Is(err, client.ErrLedgerDenied):
		known.denied = "this gateway lacks the right to the ledger of " + name +
			"; add the ledger to its caller in Noted's file of callers"
	case ok: // no answer: keep the last one, and ask again at the next look
		return known.denied
	default:
		return "Noted does not say whether this gateway may note; look at its log"
	}
	known.asked = now
	g.ready.rights[ledger] = known
	return known.denied
}

// isTokenUnreadable says whether a call failed before it was made, because its token
// could not be read.
func isTokenUnreadable(err error) bool {
	return status.Code(err) == codes.Unauthenticated && client.Reason(err) == ""
}
