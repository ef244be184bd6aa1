package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
)

// The gateway asks Noted at most once a second for its health, and once a minute for its
// rights, however often the public asks for readiness. An operator changes rights by
// hand, and each denial leaves a line in Noted's audit.
const (
	readyTimeout = 2 * time.Second
	readyHolds   = time.Second
	rightsHold   = time.Minute
)

// readiness is the result of the last check.
type readiness struct {
	mu     sync.Mutex
	looked time.Time
	reason string            // why it is not ready; empty if ready
	rights map[string]rights // :: ledger → Noted's answer about it
}

// rights are Noted's answer to whether the gateway may note in a ledger.
type rights struct {
	asked  time.Time
	denied string // why it may not, and what to do; empty if it may
}

// healthz says that the process answers.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz reports whether the gateway can note and deliver a donation now, as far as it
// can know.
func (g *Gateway) readyz(w http.ResponseWriter, _ *http.Request) {
	if reason := g.look(); reason != "" {
		http.Error(w, "not ready: "+reason, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// look returns the reason why the gateway is not ready, at most a second old. It logs a
// new reason once.
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

// troubles lists all obstacles to the gateway's work, each with its remedy. The public
// reads the list, so it names nothing internal.
//
// With an inbox readiness depends on the database alone: a message that cannot be
// processed now is kept, and the metrics of the inbox count it.
func (g *Gateway) troubles(now time.Time) []string {
	if kept, err := g.inboxReady(); kept && err != nil {
		return []string{inboxTrouble}
	} else if kept {
		return nil
	}
	return sentences(g.workFindings(now))
}

// workFindings report whether the gateway can note and deliver donations now.
func (g *Gateway) workFindings(now time.Time) []Finding {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	return append(g.notedFindings(ctx, now), g.downstreamFindings()...)
}

// sentences are the troubles in findings, each once, because a missing verb is missing in
// every ledger.
func sentences(findings []Finding) (all []string) {
	for _, f := range findings {
		if f.Trouble != "" && !slices.Contains(all, f.Trouble) {
			all = append(all, f.Trouble)
		}
	}
	return all
}

// downstreamFindings report whether the downstream of each account can be reached, as far
// as that shows without a delivery.
func (g *Gateway) downstreamFindings() (all []Finding) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for _, a := range g.accounts {
		if a.Downstream != nil {
			trouble := reachTrouble(a.Downstream.Ready(ctx), "the downstream")
			all = append(all, Finding{Part: g.part(a, "downstream"), Trouble: trouble})
		}
		for _, channel := range slices.Sorted(maps.Keys(a.Listeners)) {
			name := listenerNames[channel]
			trouble := reachTrouble(a.Listeners[channel].Ready(ctx), "the "+name)
			all = append(all, Finding{Part: g.part(a, name), Trouble: trouble})
		}
	}
	return all
}

var listenerNames = map[string]string{"ipn": "listener for IPNs", "webhook": "listener for webhooks"} // by channel

// part names a part of an account, with the account if there are several.
func (g *Gateway) part(a openAccount, part string) string {
	if len(g.accounts) == 1 {
		return part
	}
	return a.Name + ": " + part
}

func reachTrouble(err error, name string) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, peer.ErrUnresolved):
		return "the name of " + name + " cannot be resolved; check its address, and this machine's DNS"
	}
	return name + " cannot be reached; check that it runs, and its address"
}

// inboxTrouble is the trouble of an inbox whose database does not answer.
const inboxTrouble = "the inbox's database cannot be reached; check that it runs, and its address"

// servingTrouble is the trouble with Noted. gone means that Noted answers no further
// call.
func servingTrouble(err error) (trouble string, gone bool) {
	switch {
	case err == nil:
		return "", false
	case errors.Is(err, client.ErrStoreUnavailable):
		return "Noted cannot use its store; its log and its /readyz say why", false
	case isTokenUnreadable(err):
		return "this gateway's token for Noted cannot be read; check the file", true
	}
	return "Noted cannot be reached; check that it runs, and its address and certificates", true
}

func (g *Gateway) inboxReady() (kept bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	return g.processor.InboxReady(ctx)
}

// notedFindings report whether Noted answers, and lets this gateway note in each of its
// ledgers. Without an answer they omit the rights.
func (g *Gateway) notedFindings(ctx context.Context, now time.Time) []Finding {
	trouble, gone := servingTrouble(g.noted.Serving(ctx))
	all := []Finding{{Part: "Noted", Trouble: trouble}}
	if gone {
		return all
	}
	asked := make(map[string]bool)
	ask := func(ledger, name string) {
		if !asked[ledger] {
			all = append(all, Finding{Part: fmt.Sprintf("ledger %q", ledger), Trouble: g.denied(ctx, now, ledger, name)})
		}
		asked[ledger] = true
	}
	for _, a := range g.accounts {
		if ask(a.Ledger, "donations"); a.SandboxLedger != "" {
			ask(a.SandboxLedger, "PayPal's tests")
		}
	}
	return all
}

// denied is the reason why the gateway may not note in a ledger; empty if it may. It
// sends a note without a series. Noted checks token, verb and ledger before the request,
// so only a caller with the rights is told that the series is missing. Nothing is noted,
// and the store gets no call.
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
	case ok: // no answer: keep the last answer, and ask again at the next check
		return known.denied
	default:
		return "Noted does not say whether this gateway may note; see Noted's log"
	}
	known.asked = now
	g.ready.rights[ledger] = known
	return known.denied
}

// isTokenUnreadable reports whether a call failed before it was sent, because its token
// file was unreadable.
func isTokenUnreadable(err error) bool {
	return status.Code(err) == codes.Unauthenticated && client.Reason(err) == ""
}
