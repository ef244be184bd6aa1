// Package access decides who may call: it knows callers by their tokens and certificates,
// grants them verbs and ledgers, and takes up new contents of the files that say so.
package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// Config is what Access needs.
type Config struct {
	Certificates bool // callers' certificates are checked in the handshake
	// Rate takes one call from the rate of a caller, or of an address if the caller has
	// no name, and gives 0 or the time to wait. Nil means that calls are not limited.
	Rate func(caller string, from net.Addr) time.Duration
	// Denials is the same for calls that are denied. It must not be nil.
	Denials func(caller string, from net.Addr) time.Duration
	Audit   metrics.Audit
	Metrics *metrics.Metrics
}

// Access decides which calls each caller may make, and how often. Both doors describe a
// call in gRPC's way: the caller's token is incoming metadata, and its connection with
// its certificate is the peer.
type Access struct {
	Config
	known atomic.Pointer[callers] // nil if there is no file: every client that can connect may call
}

// New makes an Access without a file of callers.
func New(config Config) *Access { return &Access{Config: config} }

// File is the file of callers, for a Reloader.
func (a *Access) File(path string) *File {
	return &File{name: "callers", paths: []string{path}, apply: func(contents [][]byte) error {
		known, err := readCallers(path, contents[0], a.Certificates)
		if err == nil {
			a.known.Store(known)
		}
		return err
	}}
}

// Stream lets a stream begin. Requests on it are admitted one by one, as if each were a
// call (see Note).
func (a *Access) Stream(
	server any,
	stream grpc.ServerStream,
	info *grpc.StreamServerInfo,
	handler grpc.StreamHandler,
) error {
	ctx, err := a.Admit(stream.Context(), info.FullMethod, nil)
	if err != nil {
		a.Metrics.Refused(info.FullMethod, err)
		return err
	}
	return handler(server, &middleware.WrappedServerStream{ServerStream: stream, WrappedContext: ctx})
}

// Note admits one request on a stream, by the callers of this moment, not by those of the
// stream's begin.
func (a *Access) Note(ctx context.Context, ledger string) error {
	if a.open() {
		return nil
	}
	request := &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{Ledger: ledger}}
	_, err := a.Admit(ctx, notedv1.DedupeService_NoteDonation_FullMethodName, request)
	return err
}

// open tells whether every client that can connect may call, as often as it likes.
func (a *Access) open() bool { return a.known.Load() == nil && !a.Certificates && a.Rate == nil }

// Admit decides whether a call may be made, before the store is asked. The context that
// it returns knows the caller. It comes before the request is checked: INVALID_REQUEST to
// a note without a series therefore means that the caller may note in that ledger, and
// the gateway's readiness relies on it.
func (a *Access) Admit(ctx context.Context, method string, request any) (context.Context, error) {
	right, listed := rights[method]
	if right.open || listed && a.open() {
		return ctx, nil
	}
	found, err := a.identify(ctx)
	if err != nil {
		return ctx, a.deny(ctx, method, "", contract.ErrNoCaller, err.Error())
	}
	ctx = metrics.WithCaller(ctx, found.name)
	if a.Rate != nil {
		if wait := a.Rate(found.name, addressOf(ctx)); wait > 0 {
			return ctx, contract.RateLimited(wait)
		}
	}
	if !listed || right.verb != "" && !slices.Contains(found.verbs, string(right.verb)) {
		return ctx, a.deny(ctx, method, "", contract.ErrVerbDenied, "")
	}
	if right.ledger == nil || request == nil || found.ledgers == nil {
		return ctx, nil
	}
	ledger, err := right.ledger(request)
	if err != nil {
		return ctx, contract.Refuse(err)
	}
	if !found.has(ledger) {
		return ctx, a.deny(ctx, method, ledger, contract.ErrLedgerDenied, "")
	}
	return ctx, nil
}

// identify finds the caller. The error is for the log: the caller gets the same refusal
// for each of them.
func (a *Access) identify(ctx context.Context) (*caller, error) {
	known := a.known.Load()
	names, err := a.certificateOf(ctx)
	if err != nil {
		return nil, err
	}
	if known == nil {
		name := ""
		if len(names) > 0 {
			name = names[0]
		}
		return everyone(name), nil
	}
	switch presented := metadata.ValueFromIncomingContext(ctx, "authorization"); {
	case len(presented) > 1:
		return nil, errors.New("it presents more than one authorization")
	case len(presented) == 1: // a token must be valid: a certificate beside it does not make up for it
		scheme, value, _ := strings.Cut(presented[0], " ")
		if !strings.EqualFold(scheme, "bearer") {
			return nil, errors.New("its authorization is not a bearer token")
		}
		found := known.byToken(strings.TrimSpace(value))
		if found == nil {
			return nil, errors.New("its token is not known")
		}
		return found, nil
	case names != nil:
		found := known.byCertificate(names)
		if found == nil {
			return nil, fmt.Errorf("its certificate's names %.200q belong to no caller, or to two", names)
		}
		return found, nil
	}
	return nil, errors.New("it presents nothing")
}

// certificateOf gives the names of the caller's certificate, nil if it has no
// certificate. A connection may outlive the certificate that opened it.
func (a *Access) certificateOf(ctx context.Context) ([]string, error) {
	if !a.Certificates {
		return nil, nil
	}
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return nil, nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil, nil
	}
	certificate := info.State.VerifiedChains[0][0]
	if time.Now().After(certificate.NotAfter) {
		return nil, errors.New("its certificate has expired since it connected")
	}
	return append([]string{}, certificateNames(certificate)...), nil
}

// addressOf is the address that a call comes from, nil if it is unknown.
func addressOf(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}

// deny refuses a call and writes a line to the audit. Denials are limited for each
// caller, so that a client that guesses or is misconfigured cannot fill the disk.
func (a *Access) deny(ctx context.Context, method, ledger string, reason error, cause string) error {
	if wait := a.Denials(metrics.CallerOf(ctx), addressOf(ctx)); wait > 0 {
		return contract.RateLimited(wait)
	}
	f := contract.Refuse(reason)
	fields := []any{"rpc", method, "reason", f.Reason()}
	if errors.Is(reason, contract.ErrLedgerDenied) {
		fields = append(fields, "ledger", Clipped(ledger))
	}
	if cause != "" {
		fields = append(fields, "cause", cause)
	}
	a.Audit.Write(ctx, "denied a call", fields...)
	return f
}

// AuditReceipt writes a line to the audit if a caller settles, releases or extends with a
// receipt whose hold belongs to another attempt, now or before.
func (a *Access) AuditReceipt(ctx context.Context, method string, request any, err error) {
	reason := contract.ReasonOf(err)
	if reason != "HOLD_LOST" && reason != "SETTLED_BY_ANOTHER" {
		return
	}
	ledger, _ := ledgerOfReceipt(request)
	a.Audit.Write(ctx, "refused a receipt whose hold is another's", "rpc", method, "ledger", ledger, "reason", reason)
}

// Clipped shortens a ledger's name that breaks the contract, so that it fills neither log
// nor memory.
func Clipped(ledger string) string {
	if len(ledger) > contract.MaxLedger {
		return strings.ToValidUTF8(ledger[:contract.MaxLedger], "") + "…"
	}
	return ledger
}
