package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// The times of the second door that net/http has and gRPC has not. What one call may take otherwise is said in server.go, for both doors.
const (
	doorIdle    = 2 * time.Minute  // a connection that nobody uses
	doorLate    = time.Second      // how much later than a call's deadline its connection gives up, so that the caller is told why
	doorWriting = 30 * time.Second // for taking an answer, beyond the call's deadline: a page of notes may be large and the line slow
)

// healthProcedure is the one call of the health service that this door answers too.
const healthProcedure = healthpb.Health_Check_FullMethodName

// door is the second way in: the same calls as JSON over HTTP (the Connect protocol), gRPC-Web, and gRPC over net/http, for callers who have no
// gRPC. It brings a call to the same interceptors and the same service as the first, as if it had come over gRPC: its headers are incoming
// metadata, its connection is the peer, and its failures have code, sentence and details. Nothing is decided here.
type door struct {
	service *service
	health  healthpb.HealthServer
	unary   []grpc.UnaryServerInterceptor
	stream  []grpc.StreamServerInterceptor
	ceiling time.Duration // as Config.MaxDeadline
	age     time.Duration // as of gRPC's connections
	private bool          // this machine alone can call, and nobody is asked who it is
	calls   http.Handler  // answers the procedures
	http    *http.Server

	// Every call holds a read lock; whoever waits for the last one locks.
	open sync.RWMutex
}

var _ notedv1connect.DedupeServiceHandler = (*door)(nil)

// newDoor makes the door.
func newDoor(s *Server) *door {
	local, ok := s.httpListener.Addr().(*net.TCPAddr)
	d := &door{private: ok && local.IP.IsLoopback() && s.config.Callers == "" && s.config.TLSClientCA == "", service: s.service, health: s.health, unary: s.unary, stream: s.stream, ceiling: s.config.MaxDeadline, age: s.config.age}
	options := append(gzipped(),
		connect.WithReadMaxBytes(contract.MaxMessage),
		connect.WithCodec(jsonCodec{s.telemetry, "json"}),
		connect.WithCodec(jsonCodec{s.telemetry, "json; charset=utf-8"}),
		connect.WithCodec(binaryCodec{s.telemetry}),
		connect.WithRecover(func(ctx context.Context, _ connect.Spec, _ http.Header, p any) error { // of what counts and logs: a panic of all else ends before it
			return connectError(s.telemetry.Panicked(ctx, p))
		}),
	)
	mux := http.NewServeMux()
	mux.Handle(notedv1connect.NewDedupeServiceHandler(d, options...))
	mux.Handle(healthProcedure, connect.NewUnaryHandlerSimple(healthProcedure, d.check, options...))
	d.calls = mux

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	d.http = &http.Server{
		Handler:           d,
		Protocols:         protocols,
		MaxHeaderBytes:    contract.MaxHeaders,
		ReadHeaderTimeout: handshake,
		IdleTimeout:       doorIdle,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, bornKey{}, time.Now())
		},
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: contract.MaxStreams, SendPingTimeout: pingEvery, PingTimeout: pingPatience},
		ErrorLog: s.httpErrors(),
	}
	return d
}

// shutdown lets calls finish until ctx is done, cuts off what is left, and returns when no call runs any more.
func (d *door) shutdown(ctx context.Context) {
	if d.http.Shutdown(ctx) != nil {
		d.http.Close()
	}
	d.open.Lock()
}

// ServeHTTP makes of an HTTP request what the interceptors know, and bounds its time before its body is read. Unlike gRPC's, the limits of net/http are
// those of a connection, so they are set anew for each call.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store") // what was new a moment ago is not now
	if !d.open.TryRLock() {
		sayJSON(w, http.StatusServiceUnavailable, codes.Unavailable, "this server is shutting down")
		return
	}
	defer d.open.RUnlock()
	left := d.age // of the connection's time
	if born, ok := r.Context().Value(bornKey{}).(time.Time); ok {
		left = max(0, d.age-time.Since(born))
	}
	if left == 0 {
		w.Header().Set("Connection", "close") // of HTTP/2 too, where it becomes a GOAWAY
	}

	streams := r.URL.Path == notedv1connect.DedupeServiceNoteDonationsProcedure
	limit := d.ceiling
	if streams {
		limit = left + ageGrace
	}
	if browser := r.Header.Get("Origin") != "" || r.Header.Get("Accept-Language") != ""; d.private && browser && !namesThisMachine(r.Host) {
		sayJSON(w, http.StatusMisdirectedRequest, codes.PermissionDenied, "a server that asks nobody who it is answers a browser as localhost or 127.0.0.1 only, lest a page "+
			"have its own name lead here; call it so, or say who may call (-callers)")
		return
	}
	connection := http.NewResponseController(w)
	now := time.Now()
	connection.SetReadDeadline(now.Add(limit + doorLate))
	connection.SetWriteDeadline(now.Add(limit + doorWriting))

	switch {
	case !streams && !contract.IsUnary(r.URL.Path) || r.URL.Path == healthpb.Health_List_FullMethodName:
		sayJSON(w, http.StatusNotFound, codes.Unimplemented, fmt.Sprintf("there is nothing at %.200s; a call of Noted is a POST to %s and the like",
			r.URL.Path, notedv1connect.DedupeServiceNoteDonationProcedure))
		return
	case streams && r.ProtoMajor < 2:
		w.Header().Set("Connection", "close")
		sayJSON(w, http.StatusHTTPVersionNotSupported, codes.Unimplemented, "a stream needs HTTP/2; over HTTP/1.1 call NoteDonation for each donation")
		return
	case r.Method == http.MethodPost && slices.Contains([]string{"", "application/x-www-form-urlencoded"}, r.Header.Get("Content-Type")):
		sayJSON(w, http.StatusUnsupportedMediaType, codes.InvalidArgument, "the content type is missing; with JSON send the header content-type: application/json")
		return
	}

	ctx, cancel := context.WithDeadline(r.Context(), now.Add(limit))
	defer cancel()
	ctx = context.WithValue(ctx, connectionKey{}, connection)
	ctx = metadata.NewIncomingContext(ctx, metadataOf(r))
	ctx = peer.NewContext(ctx, metrics.PeerOfRequest(r))
	r = r.WithContext(ctx)
	if !streams {
		r.Body = http.MaxBytesReader(w, r.Body, 2*contract.MaxMessage) // what is too large is read on for a while, so that the caller listens to why
	}
	d.calls.ServeHTTP(w, r)
}

// namesThisMachine says whether nobody can have made up the name by which we were called.
func namesThisMachine(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// bornKey keeps when a connection was made.
type bornKey struct{}

// connectionKey keeps the means to end the reading of a call's body.
type connectionKey struct{}

// metadataOf is a request's headers as gRPC would have received them.
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

// The methods of the contract.

// NoteDonation is of notedv1connect.DedupeServiceHandler, as are all that follow.
func (d *door) NoteDonation(ctx context.Context, r *notedv1.NoteDonationRequest) (*notedv1.NoteDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_NoteDonation_FullMethodName, r, d.service.NoteDonation)
}

// DonationExists looks.
func (d *door) DonationExists(ctx context.Context, r *notedv1.DonationExistsRequest) (*notedv1.DonationExistsResponse, error) {
	return through(ctx, d, notedv1.DedupeService_DonationExists_FullMethodName, r, d.service.DonationExists)
}

// SettleDonation settles.
func (d *door) SettleDonation(ctx context.Context, r *notedv1.SettleDonationRequest) (*notedv1.SettleDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_SettleDonation_FullMethodName, r, d.service.SettleDonation)
}

// ReleaseDonation releases.
func (d *door) ReleaseDonation(ctx context.Context, r *notedv1.ReleaseDonationRequest) (*notedv1.ReleaseDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ReleaseDonation_FullMethodName, r, d.service.ReleaseDonation)
}

// ExtendHold extends.
func (d *door) ExtendHold(ctx context.Context, r *notedv1.ExtendHoldRequest) (*notedv1.ExtendHoldResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ExtendHold_FullMethodName, r, d.service.ExtendHold)
}

// ListDonations lists.
func (d *door) ListDonations(ctx context.Context, r *notedv1.ListDonationsRequest) (*notedv1.ListDonationsResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ListDonations_FullMethodName, r, d.service.ListDonations)
}

// ForgetDonation forgets.
func (d *door) ForgetDonation(ctx context.Context, r *notedv1.ForgetDonationRequest) (*notedv1.ForgetDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ForgetDonation_FullMethodName, r, d.service.ForgetDonation)
}

func (d *door) check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return through(ctx, d, healthProcedure, r, d.health.Check)
}

// through passes a call through the interceptors, outermost first, to the method that answers it.
func through[Request, Response any](ctx context.Context, d *door, method string, request *Request,
	answer func(context.Context, *Request) (*Response, error)) (*Response, error) {
	info := &grpc.UnaryServerInfo{Server: d.service, FullMethod: method}
	handler := func(ctx context.Context, request any) (any, error) { return answer(ctx, request.(*Request)) }
	for _, interceptor := range slices.Backward(d.unary) {
		inner := handler
		handler = func(ctx context.Context, request any) (any, error) { return interceptor(ctx, request, info, inner) }
	}
	response, err := handler(ctx, request)
	if err != nil {
		return nil, connectError(err)
	}
	return response.(*Response), nil
}

// NoteDonations passes the stream through the interceptors of streams.
func (d *door) NoteDonations(ctx context.Context, stream *connect.BidiStream[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse]) error {
	info := &grpc.StreamServerInfo{FullMethod: notedv1.DedupeService_NoteDonations_FullMethodName, IsClientStream: true, IsServerStream: true}
	handler := func(_ any, stream grpc.ServerStream) error {
		return d.service.NoteDonations(&grpc.GenericServerStream[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse]{ServerStream: stream})
	}
	for _, interceptor := range slices.Backward(d.stream) {
		inner := handler
		handler = func(service any, stream grpc.ServerStream) error { return interceptor(service, stream, info, inner) }
	}
	s := &doorStream{ctx: ctx, conn: stream.Conn()}
	defer s.end()
	if err := handler(d.service, s); err != nil {
		return connectError(err)
	}
	return nil
}

// doorStream is a stream of this door as the service knows streams.
type doorStream struct {
	ctx  context.Context
	conn connect.StreamingHandlerConn

	receiving sync.Mutex
	ended     bool // guarded by receiving
}

var errStreamEnded = status.Error(codes.Canceled, "the stream has ended")

// end returns when nobody reads the stream any more: unlike gRPC's, a body of net/http must not be read once its request has been answered.
func (s *doorStream) end() {
	s.ctx.Value(connectionKey{}).(*http.ResponseController).SetReadDeadline(time.Unix(1, 0))
	s.receiving.Lock()
	s.ended = true
	s.receiving.Unlock()
}

// Context is of grpc.ServerStream, as are all that follow.
func (s *doorStream) Context() context.Context { return s.ctx }

func (s *doorStream) RecvMsg(message any) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	if s.ended {
		return errStreamEnded
	}
	err := s.conn.Receive(message)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return statusError(err)
}

func (s *doorStream) SendMsg(message any) error { return statusError(s.conn.Send(message)) }

func (s *doorStream) SetHeader(md metadata.MD) error {
	addTo(s.conn.ResponseHeader(), md)
	return nil
}

func (s *doorStream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

func (s *doorStream) SetTrailer(md metadata.MD) { addTo(s.conn.ResponseTrailer(), md) }

func addTo(header http.Header, md metadata.MD) {
	for name, values := range md {
		for _, value := range values {
			header.Add(name, value)
		}
	}
}

// connectError is a failure of a call as this door tells it: the same code, sentence and details as over gRPC.
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

// statusError is the way back, for what the transport of this door says to the service.
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

// sayJSON refuses what is no call, in the form in which calls fail.
func sayJSON(w http.ResponseWriter, httpStatus int, code codes.Code, sentence string) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	encoder.Encode(map[string]string{"code": connect.Code(code).String(), "message": sentence})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(httpStatus)
	w.Write(body.Bytes())
}
