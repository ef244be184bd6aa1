// Package server is the service of Noted: it answers the calls of api/noted/v1/noted.proto from a store in Redis.
//
//	s, err := server.New(ctx, server.Config{Redis: "redis://127.0.0.1:6379"})
//	…
//	err = s.Serve(ctx) // until ctx is done, and what is in flight has finished
//
// # Design
//
// A call passes the interceptors (what counts, what logs, what stops a panic, what bounds how many are under way, who may call, what bounds its time), then a method
// of service.go that checks, asks the store, and answers. The checks are in check.go, the one table from what the store says to what a caller is told is in
// status.go, and nothing here decides whether a donation is a duplicate: that is one script in the store.
//
// The server starts without its store and says NOT_SERVING until the store answers: a process that ends because Redis is late makes an outage of two
// out of one. It does end when the store turns out, at first sight, to be one that forgets (see Config.AllowEviction).
//
// The interceptors of unary calls are one slice and the service knows nothing of the transport, so that the second door, JSON over HTTP, runs
// the same chain (door.go).
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/tap"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/descriptors"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// What one connection may take of the server. Messages are small (the longest request is below 2 KiB), so a caller who wants more is not one of ours.
// What we send is small too, so that one who takes no answer has little kept for it; the contract's description, for those who ask for it, is our own.
const (
	workers       = 64 // goroutines that stay, with the stack that a call has grown; calls beyond get one of their own
	handshake     = 5 * time.Second
	pingEvery     = time.Minute      // we ask whether a silent peer is alive
	pingPatience  = 20 * time.Second // and wait so long
	pingAtMost    = 10 * time.Second // a peer may ask us so often
	connectionAge = 30 * time.Minute // spreads callers over servers, and bounds what is slow on purpose
	ageGrace      = 30 * time.Second
)

// ErrConfig marks an error that whoever wrote the Config can mend.
var ErrConfig = errors.New("configuring")

// Server is a service that listens.
type Server struct {
	config    Config
	logger    *slog.Logger
	store     *store.Store
	telemetry *metrics.Metrics
	service   *service
	unary     []grpc.UnaryServerInterceptor  // every unary call, by whichever door, passes these
	stream    []grpc.StreamServerInterceptor // and every stream these
	grpc      *grpc.Server
	door      *door // nil where HTTPListen is off
	health    *health.Server
	admin     *http.Server // nil where AdminListen is off
	watch     *watch

	access       *access
	underWay     *underWay
	connections  *connections
	certificates *certificates // nil where there is no TLS
	towardsStore *towardsStore
	reloader     *reloader

	listener, httpListener, adminListener net.Listener

	drain    sync.Once
	draining chan struct{} // closed when the server is asked to stop
}

// New makes a server and listens; Serve answers. It fails where the configuration cannot be meant, where an address is taken, and where the store
// answers and is one that evicts. A server that was made must be served, with a context that is done if need be: Serve gives everything back.
func New(ctx context.Context, config Config) (*Server, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if _, err := url.Parse(config.Redis); err != nil {
		return nil, fmt.Errorf("%w -redis: it is no URL (what is wrong with it is not repeated, since it may hold a password); "+
			"in a password write %%2F for /, %%3A for :, %%40 for @, %%25 for %%", ErrConfig)
	}
	s := &Server{config: config, logger: config.Logger, draining: make(chan struct{})}

	var err error
	if s.towardsStore, err = newTowardsStore(config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if s.store, err = store.Open(ctx, store.Config{URL: config.Redis, Mode: config.RedisMode, Logger: config.Logger, Certificates: s.towardsStore.current,
		Replicas: config.Replicas, ReplicasTimeout: config.ReplicasTimeout, Epoch: config.Epoch, RefuseAfterLoss: config.RefuseAfterLoss && !config.Trial}); err != nil {
		return nil, fmt.Errorf("%w -redis: %w", ErrConfig, err)
	}
	if err = s.build(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *Server) build(ctx context.Context) (err error) {
	s.telemetry = metrics.New(metrics.Config{Logger: s.logger, Ledgers: slices.Collect(maps.Keys(s.config.Ledgers)), Stats: s.store.Stats})
	s.health = health.NewServer()
	breaker := newBreaker(s.config.RedisMode == "cluster", s.telemetry)
	s.watch = newWatch(s.config, s.store, breaker, s.health, s.telemetry, s.logger)
	if err := s.watch.first(ctx); err != nil {
		return err
	}

	if err := s.guard(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.service = &service{
		store:     guarded{store: s.store, breaker: breaker},
		access:    s.access,
		underWay:  s.underWay,
		listings:  newListings(),
		rules:     s.config.rulesByLedger(),
		ceiling:   s.config.MaxDeadline,
		draining:  s.draining,
		telemetry: s.telemetry,
		learner:   s.telemetry.Learner,
		audit:     metrics.NewAudit(s.config.Audit, s.config.Logger),
	}
	s.unary = append(s.telemetry.Unary(), plainly, s.underWay.unary, s.access.unary, s.bounded)
	s.stream = append(s.telemetry.Stream(), plainStream, s.access.stream, s.endWithDrain)
	s.grpc = grpc.NewServer(
		grpc.Creds(s.credentials()),
		grpc.ChainUnaryInterceptor(s.unary...),
		grpc.ChainStreamInterceptor(s.stream...),
		grpc.InTapHandle(s.boundedArrival),
		grpc.ForceServerCodecV2(grpcCodec{encoding.GetCodecV2(proto.Name), s.telemetry}),
		grpc.MaxRecvMsgSize(contract.MaxMessage),
		grpc.MaxHeaderListSize(contract.MaxHeaders),
		grpc.InitialWindowSize(contract.MaxMessage), // for good: left to itself gRPC takes up to 16 MiB a stream from whoever sends fast
		grpc.MaxConcurrentStreams(contract.MaxStreams),
		grpc.NumStreamWorkers(workers),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingAtMost, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingPatience,
			MaxConnectionAge: s.config.age, MaxConnectionAgeGrace: s.config.grace}),
		grpc.WaitForHandlers(true),
	)
	notedv1.RegisterDedupeServiceServer(s.grpc, s.service)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	if s.config.Reflection {
		reflection.Register(s.grpc)
	}
	s.telemetry.Calls.InitializeMetrics(s.grpc)

	adviseOnRules(s.config, s.logger)
	descriptors.Warn(s.config.MaxConnections, s.logger)
	s.tellMemory()
	if s.listener, err = s.listen("-listen", s.config.Listen); err != nil {
		return err
	}
	if s.config.HTTPListen != Off {
		if s.httpListener, err = s.listen("-http-listen", s.config.HTTPListen); err != nil {
			return err
		}
		s.httpListener = s.secured(s.httpListener)
		s.door = newDoor(s)
	}
	if s.config.AdminListen == Off {
		return nil
	}
	if s.adminListener, err = net.Listen("tcp", s.config.AdminListen); err != nil {
		return fmt.Errorf("listening on -admin-listen %s: %w", s.config.AdminListen, err)
	}
	s.admin = newAdmin(s.watch, s.telemetry, s.logger)
	return nil
}

// Addr is where the service listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// HTTPAddr is where the service listens for JSON over HTTP; empty where it does not.
func (s *Server) HTTPAddr() string { return addressOf(s.httpListener) }

// AdminAddr is where the admin listener listens; empty where there is none.
func (s *Server) AdminAddr() string { return addressOf(s.adminListener) }

func addressOf(listener net.Listener) string {
	if listener == nil {
		return ""
	}
	return listener.Addr().String()
}

// Serve answers until ctx is done, says NOT_SERVING, lets what is in flight finish for as long as Config.Drain, and gives everything back. It
// returns nil when it was asked to stop, and else why it had to. It can be called once.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 4)
	go func() { ended <- wrap("serving gRPC", s.grpc.Serve(s.listener)) }()
	if s.door != nil {
		go func() {
			if err := s.door.http.Serve(s.httpListener); !errors.Is(err, http.ErrServerClosed) {
				ended <- wrap("serving HTTP", err)
			}
		}()
	}
	if s.admin != nil {
		go func() {
			if err := s.admin.Serve(s.adminListener); !errors.Is(err, http.ErrServerClosed) {
				ended <- wrap("serving the admin listener", err)
			}
		}()
	}
	watching, stopWatching := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		if err := s.watch.run(watching); err != nil {
			ended <- err
		}
	})
	watch.Go(func() { s.reloader.run(watching) })
	s.logger.Info("serving", "listen", s.Addr(), "http_listen", s.HTTPAddr(), "admin_listen", s.AdminAddr(), "redis_mode", s.config.RedisMode, "trial", s.config.Trial)

	if s.config.Trial {
		s.logger.Warn("this is a trial, whose store is lost with this process: every donation is FIRST again after a restart; for production start with -redis and without -dev")
	}

	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("stopping", "drain", s.config.Drain.String())
	case err = <-ended:
	}
	stopWatching()
	watch.Wait()
	s.stop()
	s.telemetry.Floods.EndAll()
	s.logger.Info("stopped")
	return errors.Join(err, s.close())
}

// stop tells everybody that the server goes, waits for what is in flight, and cuts off what is still there when the time is over.
func (s *Server) stop() {
	s.watch.drain()
	s.drain.Do(func() { close(s.draining) })
	var door sync.WaitGroup
	if s.door != nil {
		door.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), s.config.Drain)
			defer cancel()
			s.door.shutdown(ctx)
		})
	}
	cut := time.AfterFunc(s.config.Drain, func() {
		s.logger.Warn("cutting off calls that did not finish in time", "drain", s.config.Drain.String())
		s.grpc.Stop()
	})
	s.grpc.GracefulStop()
	cut.Stop()
	door.Wait()
}

func (s *Server) close() error {
	var errs []error
	if s.grpc != nil {
		s.grpc.Stop() // of a server that was never served
	}
	if s.admin != nil {
		errs = append(errs, s.admin.Close())
	}
	for _, listener := range []net.Listener{s.listener, s.httpListener, s.adminListener} {
		if listener == nil {
			continue
		}
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.store.Close())
	return wrap("stopping", errors.Join(errs...))
}

func wrap(act string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", act, err)
}

// bounded sees to it that every unary call has a deadline: a script does nothing after it, and one without it would be done whenever Redis
// gets to it.
func (s *Server) bounded(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > s.config.MaxDeadline {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.config.MaxDeadline)
		defer cancel()
	}
	return handler(ctx, request)
}

// boundedArrival puts the same bound on a unary call before its request has been read, when no interceptor runs yet: else one that announces
// a request and never sends it would stay for the age of its connection.
func (s *Server) boundedArrival(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !contract.IsUnary(info.FullMethodName) {
		return ctx, nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= s.config.MaxDeadline {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.MaxDeadline)
	return context.WithValue(ctx, cancelKey{}, cancel), nil // the stream's own end, which cancels ctx's parent, frees the timer
}

// cancelKey keeps a cancel function with its context.
type cancelKey struct{}

// endWithDrain ends the streams of others (a health watch, a reflection session) a moment after the server is asked to stop: they never end by
// themselves, and would hold every drain to its limit. Our own stream sees to that itself.
func (s *Server) endWithDrain(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod == notedv1.DedupeService_NoteDonations_FullMethodName {
		return handler(server, stream)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		select {
		case <-s.draining:
			select {
			case <-time.After(linger):
				cancel()
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}()
	return handler(server, &streamWithContext{ServerStream: stream, ctx: ctx})
}

// streamWithContext is a stream whose context is another.
type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

// Context is of grpc.ServerStream.
func (s *streamWithContext) Context() context.Context { return s.ctx }
