// Package door answers the calls of the contract as JSON over HTTP (the Connect
// protocol), gRPC-Web, and gRPC over net/http, for callers without a gRPC library.
package door

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/limits"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// Limits of net/http that gRPC does not have. The other limits are those of the gRPC
// door.
const (
	idle = 2 * time.Minute // a connection without a call
	// late is how long after a call's deadline its connection gives up, so that the
	// caller gets the error.
	late = time.Second
	// writing is the time for the answer beyond the call's deadline: a page may be large,
	// and the line slow.
	writing = 30 * time.Second
)

// untyped are the content types of a request whose sender chose none: curl sends a form's
// type by itself.
var untyped = []string{"", "application/x-www-form-urlencoded"}

// healthProcedure is the one method of the health service that the door answers too.
const healthProcedure = healthpb.Health_Check_FullMethodName

// Config is what a Door needs.
type Config struct {
	Service notedv1.DedupeServiceServer
	Health  healthpb.HealthServer
	Unary   []grpc.UnaryServerInterceptor  // outermost first, like Stream
	Stream  []grpc.StreamServerInterceptor // those of the gRPC door

	MaxDeadline time.Duration // as in server.Config
	Age         time.Duration // of a connection, as at the gRPC door
	// Private means that only this machine can call, and that the door does not identify
	// callers.
	Private bool

	Trace    func(http.Handler) http.Handler // traces the calls; nil for none
	Metrics  *metrics.Metrics
	ErrorLog *log.Logger // gets net/http's errors of connections
}

// Door is the second way in. It brings a call to the same interceptors and the same
// service as the first, as if it had come over gRPC: its headers are incoming metadata,
// its connection is the peer, and its failures have code, sentence and details. It
// decides nothing.
type Door struct {
	Config
	procedures http.Handler
	http       *http.Server

	// Every call holds a read lock. Shutdown locks, and so waits for the last call.
	open sync.RWMutex
}

var _ notedv1connect.DedupeServiceHandler = (*Door)(nil)

// New makes a Door.
func New(config Config) *Door {
	d := &Door{Config: config}
	options := append(gzipped(),
		connect.WithReadMaxBytes(contract.MaxMessage),
		connect.WithCodec(jsonCodec{config.Metrics, "json"}),
		connect.WithCodec(jsonCodec{config.Metrics, "json; charset=utf-8"}),
		connect.WithCodec(binaryCodec{config.Metrics}),
		// For a panic of the outermost interceptors; any other panic is recovered inside
		// them.
		connect.WithRecover(func(ctx context.Context, _ connect.Spec, _ http.Header, p any) error {
			return connectError(config.Metrics.Panicked(ctx, p))
		}),
	)
	mux := http.NewServeMux()
	mux.Handle(notedv1connect.NewDedupeServiceHandler(d, options...))
	mux.Handle(healthProcedure, connect.NewUnaryHandlerSimple(healthProcedure, d.check, options...))
	d.procedures = mux
	if config.Trace != nil {
		d.procedures = config.Trace(mux)
	}

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	d.http = &http.Server{
		Handler:           d,
		Protocols:         protocols,
		MaxHeaderBytes:    contract.MaxHeaders,
		ReadHeaderTimeout: limits.Handshake,
		IdleTimeout:       idle,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, bornKey{}, time.Now())
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: contract.MaxStreams,
			SendPingTimeout:      limits.PingEvery,
			PingTimeout:          limits.PingPatience,
		},
		ErrorLog: config.ErrorLog,
	}
	return d
}

// Serve answers on a listener. It returns nil after Shutdown.
func (d *Door) Serve(listener net.Listener) error {
	if err := d.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets calls finish until ctx is done, cuts off the rest, and returns when no
// call runs any more.
func (d *Door) Shutdown(ctx context.Context) {
	if d.http.Shutdown(ctx) != nil {
		d.http.Close()
	}
	d.open.Lock()
}

// ServeHTTP turns an HTTP request into the form that the interceptors know, and bounds
// its time before its body is read. The limits of net/http belong to a connection, unlike
// gRPC's, so they are set again for each call.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store") // FIRST would be wrong a moment later
	if !d.open.TryRLock() {
		refuseJSON(w, http.StatusServiceUnavailable, codes.Unavailable, "this server is shutting down")
		return
	}
	defer d.open.RUnlock()
	left := d.Age // how long the connection may still live
	if born, ok := r.Context().Value(bornKey{}).(time.Time); ok {
		left = max(0, d.Age-time.Since(born))
	}
	if left == 0 {
		w.Header().Set("Connection", "close") // in HTTP/2 it becomes a GOAWAY
	}

	streams := r.URL.Path == notedv1connect.DedupeServiceNoteDonationsProcedure
	limit := d.MaxDeadline
	if streams {
		limit = left + limits.AgeGrace
	}
	if browser := r.Header.Get("Origin") != "" ||
		r.Header.Get("Accept-Language") != ""; d.Private && browser &&
		!namesThisMachine(r.Host) {
		refuseJSON(
			w,
			http.StatusMisdirectedRequest,
			codes.PermissionDenied,
			"a server that does not identify callers answers a browser as localhost or 127.0.0.1 only, so that "+
				"no page can have its own name lead here; call it by such a name, or name the callers (-callers)",
		)
		return
	}
	connection := http.NewResponseController(w)
	now := time.Now()
	connection.SetReadDeadline(now.Add(limit + late))
	connection.SetWriteDeadline(now.Add(limit + writing))

	switch {
	case r.URL.Path == OpenAPIPath && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		describe(w)
		return
	case !streams && !contract.IsUnary(r.URL.Path) || r.URL.Path == healthpb.Health_List_FullMethodName:
		refuseJSON(
			w,
			http.StatusNotFound,
			codes.Unimplemented,
			fmt.Sprintf("there is nothing at %.200s; a call of Noted is a POST to %s and the like",
				r.URL.Path, notedv1connect.DedupeServiceNoteDonationProcedure),
		)
		return
	case streams && r.ProtoMajor < 2:
		w.Header().Set("Connection", "close")
		refuseJSON(
			w,
			http.StatusHTTPVersionNotSupported,
			codes.Unimplemented,
			"a stream needs HTTP/2; over HTTP/1.1 call NoteDonation for each donation",
		)
		return
	case r.Method == http.MethodPost && slices.Contains(untyped, r.Header.Get("Content-Type")):
		refuseJSON(
			w,
			http.StatusUnsupportedMediaType,
			codes.InvalidArgument,
			"the content type is missing; with JSON send the header content-type: application/json",
		)
		return
	}

	ctx, cancel := context.WithDeadline(r.Context(), now.Add(limit))
	defer cancel()
	ctx = context.WithValue(ctx, connectionKey{}, connection)
	ctx = metadata.NewIncomingContext(ctx, metadataOf(r))
	ctx = peer.NewContext(ctx, metrics.PeerOfRequest(r))
	r = r.WithContext(ctx)
	if !streams {
		// A body that is too large is read on for a while, so that the caller reads why.
		r.Body = http.MaxBytesReader(w, r.Body, 2*contract.MaxMessage)
		w = explaining{w, r}
	}
	d.procedures.ServeHTTP(w, r)
}

// namesThisMachine tells whether the host of a request is an address or localhost: no
// page can make either of them lead here.
func namesThisMachine(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// bornKey is the context key of the time at which a connection was made.
type bornKey struct{}

// connectionKey is the context key of the controller that ends the reading of a call's
// body.
type connectionKey struct{}

// metadataOf is the headers of a request in the form that gRPC would give them.
func metadataOf(r *http.Request) metadata.MD {
	md := make(metadata.MD, len(r.Header)+1)
	for name, values := range r.Header {
		name = strings.ToLower(name)
		if !strings.HasSuffix(name, "-bin") {
			md[name] = values
			continue
		}
		for _, value := range values {
			if decoded, err := connect.DecodeBinaryHeader(value); err == nil {
				md[name] = append(md[name], string(decoded))
			}
		}
	}
	md[":authority"] = []string{r.Host}
	return md
}

// connectError is the failure of a call in the form of this door: the same code, sentence
// and details as over gRPC.
func connectError(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	told := connect.NewError(connect.Code(s.Code()), errors.New(s.Message()))
	for _, detail := range s.Proto().GetDetails() {
		if d, err := connect.NewErrorDetail(detail); err == nil {
			told.AddDetail(d)
		}
	}
	return told
}

// statusError turns an error of this transport into the form that the service knows.
func statusError(err error) error {
	if err == nil {
		return nil
	}
	var told *connect.Error
	if errors.As(err, &told) {
		return status.Error(codes.Code(told.Code()), told.Message())
	}
	return status.FromContextError(err).Err()
}

// refuseJSON refuses a request that is not a call, in the form in which calls fail.
func refuseJSON(w http.ResponseWriter, httpStatus int, code codes.Code, sentence string) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	encoder.Encode(map[string]string{"code": connect.Code(code).String(), "message": sentence})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(httpStatus)
	w.Write(body.Bytes())
}
