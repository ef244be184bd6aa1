package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// access decides who may call, and how often. Both doors tell it of a call in gRPC's way: what a caller presents is incoming metadata, and its connection
// with its certificate is the peer.
type access struct {
	audit     metrics.Audit
	telemetry *metrics.Metrics
	known     atomic.Pointer[callers] // nil where there is no file: everybody who can connect may call
	byCert    bool                    // certificates are checked in the handshake
	rates     *rates                  // nil where there is no limit
	denials   *rates                  // of those who are denied, by caller, or by address where nobody knows them
}

// A caller may be denied so often a second, and so often at once, unless all calls may be fewer; beyond, it may not even try. For each denial leaves a line, and who
// guesses, or is set up wrongly, must not fill the disk.
const (
	denialsRate  = 10
	denialsBurst = 50
)

func newAccess(config Config, t *metrics.Metrics) *access {
	return &access{audit: metrics.NewAudit(config.Audit, config.Logger), telemetry: t, byCert: config.TLSClientCA != "", rates: newRates(config.Rate, config.Burst),
		denials: newRates(lesser(config.Rate, denialsRate), lesser(config.Burst, denialsBurst))}
}

// lesser is the lesser of a limit, which 0 makes none, and another.
func lesser(limit, other int) int {
	if limit == 0 {
		return other
	}
	return min(limit, other)
}

// file is what a reloader needs to know.
func (a *access) file(path string) *reloaded {
	return &reloaded{name: "callers", paths: []string{path}, apply: func(contents [][]byte) error {
		known, err := readCallers(path, contents[0], a.byCert)
		if err == nil {
			a.known.Store(known)
		}
		return err
	}}
}

// unary lets a call pass that its caller may make.
func (a *access) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := a.admit(ctx, info.FullMethod, request)
	if err != nil {
		return nil, err
	}
	response, err := handler(ctx, request)
	if err != nil {
		a.stranger(ctx, info.FullMethod, request, err)
	}
	return response, err
}

// stream lets a stream begin. What comes on it is looked at one by one, as if each were a call (see one).
func (a *access) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := a.admit(stream.Context(), info.FullMethod, nil)
	if err != nil {
		a.telemetry.Refused(info.FullMethod, err)
		return err
	}
	return handler(server, &streamWithContext{ServerStream: stream, ctx: ctx})
}

// one lets a request on a stream pass, by the callers as they are now and not as they were when the stream began.
func (a *access) one(ctx context.Context, ledger string) error {
	_, err := a.admit(ctx, notedv1.DedupeService_NoteDonation_FullMethodName, &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{Ledger: ledger}})
	return err
}

// admit says whether a call may be made, before anything is asked of the store; the
// context it gives knows the caller. It comes before the request is checked:
// INVALID_REQUEST to a note without a series therefore means that the caller may note in
// that ledger, and the gateway's readiness relies on it.
func (a *access) admit(ctx context.Context, method string, request any) (context.Context, error) {
	right, listed := rights[method]
	if right.open || listed && a.known.Load() == nil && !a.byCert && a.rates == nil {
		return ctx, nil
	}
	who, err := a.identify(ctx)
	if err != nil {
		return ctx, a.deny(ctx, method, "", contract.ErrNoCaller, err.Error())
	}
	ctx = metrics.WithCaller(ctx, who.name)
	if wait := a.rates.take(keyOf(ctx)); wait > 0 {
		return ctx, contract.RateLimited(wait)
	}
	if !listed || right.verb != "" && !slices.Contains(who.verbs, string(right.verb)) {
		return ctx, a.deny(ctx, method, "", contract.ErrVerbDenied, "")
	}
	if right.ledger == nil || request == nil || who.ledgers == nil {
		return ctx, nil
	}
	ledger, err := right.ledger(request)
	if err != nil {
		return ctx, contract.Refuse(err)
	}
	if !who.has(ledger) {
		return ctx, a.deny(ctx, method, ledger, contract.ErrLedgerDenied, "")
	}
	return ctx, nil
}

// identify finds out who calls. The error is for the log: to the caller all its kinds look the same.
func (a *access) identify(ctx context.Context) (*caller, error) {
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
		return everybody(name), nil
	}
	switch presented := metadata.ValueFromIncomingContext(ctx, "authorization"); {
	case len(presented) > 1:
		return nil, errors.New("it presents more than one authorization")
	case len(presented) == 1: // what is presented must be valid: a certificate beside it does not make up for it
		scheme, value, _ := strings.Cut(presented[0], " ")
		if !strings.EqualFold(scheme, "bearer") {
			return nil, errors.New("its authorization is no bearer token")
		}
		who := known.byToken(strings.TrimSpace(value))
		if who == nil {
			return nil, errors.New("its token is not known")
		}
		return who, nil
	case names != nil:
		who := known.byCertificate(names)
		if who == nil {
			return nil, fmt.Errorf("its certificate's names %.200q are those of no caller, or of two", names)
		}
		return who, nil
	}
	return nil, errors.New("it presents nothing")
}

// certificateOf are the names of the caller's certificate, nil where it has none. A connection may outlive the certificate that opened it.
func (a *access) certificateOf(ctx context.Context) ([]string, error) {
	if !a.byCert {
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

// keyOf is whose rate a call takes from.
func keyOf(ctx context.Context) string {
	if name := metrics.CallerOf(ctx); name != "" {
		return ofCaller(name)
	}
	return ofAddress(hostOf(ctx))
}

// deny refuses, and leaves a line for who looks into it later.
func (a *access) deny(ctx context.Context, method, ledger string, why error, cause string) error {
	if wait := a.denials.take(keyOf(ctx)); wait > 0 {
		return contract.RateLimited(wait)
	}
	f := contract.Refuse(why)
	fields := []any{"rpc", method, "reason", f.Reason()}
	if why == contract.ErrLedgerDenied {
		fields = append(fields, "ledger", clipped(ledger))
	}
	if cause != "" {
		fields = append(fields, "cause", cause)
	}
	a.audit.Write(ctx, "denied a call", fields...)
	return f
}

// stranger leaves a line when somebody settles, releases or extends with a receipt whose hold another has, or had.
func (a *access) stranger(ctx context.Context, method string, request any, err error) {
	reason := contract.ReasonOf(err)
	if reason != "HOLD_LOST" && reason != "SETTLED_BY_ANOTHER" {
		return
	}
	ledger, _ := ledgerOfReceipt(request)
	a.audit.Write(ctx, "refused a receipt whose hold is another's", "rpc", method, "ledger", ledger, "reason", reason)
}

// clipped keeps what a stranger wrote from filling the log, or memory.
func clipped(s string) string {
	if len(s) > contract.MaxLedger {
		return strings.ToValidUTF8(s[:contract.MaxLedger], "") + "…"
	}
	return s
}

// hostOf is the address that a call comes from, without its port; of IPv6 the network, of which one host may have every address.
func hostOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return host(p.Addr)
	}
	return ""
}

func host(address net.Addr) string {
	parsed, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return address.String()
	}
	ip := parsed.Addr().Unmap()
	if ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}
