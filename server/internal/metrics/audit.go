package metrics

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Audit records the acts that a person may have to answer for: calls that were denied,
// notes that were forgotten, losses that were acknowledged. It writes at every level of
// the log.
type Audit struct {
	to  slog.Handler
	log *slog.Logger // gets a line that could not be written to the audit
}

// NewAudit makes an audit that writes to one logger, and to the log if that fails.
func NewAudit(to, log *slog.Logger) Audit { return Audit{to: to.Handler(), log: log} }

// Write writes a line about an act of the caller of ctx.
func (a Audit) Write(ctx context.Context, act string, fields ...any) {
	line := slog.NewRecord(time.Now(), slog.LevelWarn, "audit: "+act, 0)
	line.Add("caller", CallerOf(ctx), "peer", PeerOf(ctx))
	line.Add(fields...)
	if err := a.to.Handle(ctx, line); err != nil { // not through a logger, which drops lines below its level
		a.log.ErrorContext(
			ctx,
			"a line of the audit could not be written where it belongs, and follows here",
			"error", err,
		)
		_ = a.log.Handler().Handle(ctx, line)
	}
}

// callerKey is the context key of the caller's name.
type callerKey struct{}

// WithCaller keeps the name of the caller with the context of its call.
func WithCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callerKey{}, name)
}

// CallerOf is the name of the caller; empty if it is unknown.
func CallerOf(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}

// PeerOf is the address and port that a call comes from; empty if they are unknown.
func PeerOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}

// PeerOfRequest is the sender of an HTTP request, as gRPC would give its connection.
func PeerOfRequest(r *http.Request) *peer.Peer {
	p := &peer.Peer{}
	if remote, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		p.Addr = net.TCPAddrFromAddrPort(remote)
	}
	p.LocalAddr, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if r.TLS != nil {
		p.AuthInfo = credentials.TLSInfo{
			State:          *r.TLS,
			CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		}
	}
	return p
}
