// Package server is the service of Noted: it answers the calls of
// api/noted/v1/noted.proto from a store in Redis.
//
//	s, err := server.New(ctx, server.Config{Redis: "redis://127.0.0.1:6379"})
//	…
//	err = s.Serve(ctx) // until ctx is done and the calls under way have finished
//
// # Design
//
// A call comes in at one of two doors: gRPC, or JSON over HTTP (internal/door). Both run
// the same interceptors: metrics and log (internal/metrics), the bound of calls under way
// (internal/limits), access (internal/access) and the deadline. Then a method of
// internal/calls checks the request, asks the store, and answers. The limits of requests
// and the one table from the store's outcomes to the caller's errors are in
// internal/contract. Nothing above the store decides whether a donation is a duplicate:
// one script in the store does.
//
// The server starts without its store and says NOT_SERVING until the store answers
// (internal/health): a process that ends because Redis is late turns one outage into two.
// It does end if the store turns out, at its first answer, to evict notes (see
// Config.AllowEviction).
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
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/donation-dedupe/noted/server/internal/access"
	"github.com/donation-dedupe/noted/server/internal/calls"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/descriptors"
	"github.com/donation-dedupe/noted/server/internal/door"
	"github.com/donation-dedupe/noted/server/internal/health"
	"github.com/donation-dedupe/noted/server/internal/limits"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
	"github.com/donation-dedupe/noted/server/internal/traces"
)

// ErrConfig marks an error that the author of the Config can mend.
var ErrConfig = errors.New("configuring")

// Server is a service that listens.
type Server struct {
	config  Config
	logger  *slog.Logger
	store   *store.Store
	took    func(script string, took time.Duration) // counts a script's time
	metrics *metrics.Metrics
	audit   metrics.Audit
	watch   *health.Watch
	service *calls.Service
	grpc    *grpc.Server
	door    *door.Door   // nil if HTTPListen is off
	admin   *http.Server // nil if AdminListen is off

	certificates      *access.Certificates // nil without TLS
	storeCertificates *access.StoreCertificates
	reloader          *access.Reloader
	connections       *limits.Connections

	listener, httpListener, adminListener net.Listener

	drain    sync.Once
	draining chan struct{} // closed when the server is asked to stop
}

// New makes a server and listens; Serve answers. It fails if the configuration makes no
// sense, if an address is taken, or if the store answers and evicts. The caller must
// serve a server that was made, with a context that is done if need be: Serve gives
// everything back.
func New(ctx context.Context, config Config) (*Server, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if _, err := url.Parse(config.Redis); err != nil {
		return nil, fmt.Errorf(
			"%w -redis: it is not a URL (the fault is not repeated, since it may hold a password); "+
				"in a password write %%2F for /, %%3A for :, %%40 for @, %%25 for %%",
			ErrConfig,
		)
	}
	s := &Server{config: config, logger: config.Logger, draining: make(chan struct{})}

	var err error
	s.storeCertificates, err = access.NewStoreCertificates(access.StoreConfig{
		Cert: config.RedisCert, Key: config.RedisKey, CA: config.RedisCA, Logger: config.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.store, err = store.Open(ctx, store.Config{
		URL:             config.Redis,
		Mode:            config.RedisMode,
		Logger:          config.Logger,
		Certificates:    s.storeCertificates.Current,
		Replicas:        config.Replicas,
		ReplicasTimeout: config.ReplicasTimeout,
		Epoch:           config.Epoch,
		RefuseAfterLoss: config.RefuseAfterLoss && !config.Trial,
		Took:            func(script string, took time.Duration) { s.took(script, took) },
		Trace:           traces.Store(config.TracerProvider),
	})
	if err != nil {
		return nil, fmt.Errorf("%w -redis: %w", ErrConfig, err)
	}
	if err = s.build(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *Server) build(ctx context.Context) (err error) {
	s.metrics = metrics.New(metrics.Config{
		Logger:  s.logger,
		Audited: s.config.Audit == s.logger,
		Ledgers: slices.AppendSeq(slices.Clone(s.config.ShadowLedgers), maps.Keys(s.config.Ledgers)),
		Stats:   s.store.Stats,
	})
	s.took = s.metrics.ScriptTimes(store.Scripts()) // before the store is first asked
	s.audit = metrics.NewAudit(s.config.Audit, s.logger)
	s.watch = health.New(health.Config{
		Store:           s.store,
		Mode:            s.config.RedisMode,
		Replicas:        s.config.Replicas,
		Epoch:           s.config.Epoch,
		AllowEviction:   s.config.AllowEviction,
		RefuseAfterLoss: s.config.RefuseAfterLoss,
		Trial:           s.config.Trial,
		Settings:        s.config.shared(),
		Shadows:         s.config.shadows(),
		Logger:          s.logger,
		Audit:           s.audit,
		Metrics:         s.metrics,
	})
	if err := s.watch.First(ctx); err != nil {
		return err
	}
	admission, err := s.admission()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.service = calls.New(calls.Config{
		Store:       s.watch.Asked(),
		Access:      admission,
		UnderWay:    limits.NewUnderWay(s.config.MaxInFlight, s.metrics),
		Rules:       s.config.rulesByLedger(),
		MaxDeadline: s.config.MaxDeadline,
		Draining:    s.draining,
		Metrics:     s.metrics,
		Audit:       s.audit,
	})
	s.grpc = s.newGRPC()
	adviseOnRules(s.config, s.logger)
	descriptors.Warn(s.config.MaxConnections, s.logger)
	limits.LogMemory(s.config.MaxConnections, s.logger)
	return s.listenAll()
}

// newGRPC makes the gRPC server.
func (s *Server) newGRPC() *grpc.Server {
	made := grpc.NewServer(append(
		traces.GRPC(s.config.TracerProvider),
		grpc.Creds(s.certificates.Credentials()),
		grpc.ChainUnaryInterceptor(s.service.Unary()...),
		grpc.ChainStreamInterceptor(s.service.Stream()...),
		grpc.InTapHandle(s.service.BoundArrival),
		grpc.ForceServerCodecV2(calls.Codec(s.metrics)),
		grpc.MaxRecvMsgSize(contract.MaxMessage),
		grpc.MaxHeaderListSize(contract.MaxHeaders),
		// A fixed window: gRPC would grow it to 16 MiB for each stream of a fast sender.
		grpc.InitialWindowSize(contract.MaxMessage),
		grpc.MaxConcurrentStreams(contract.MaxStreams),
		grpc.NumStreamWorkers(limits.Workers),
		grpc.ConnectionTimeout(limits.Handshake),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: limits.PingAtMost, PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: limits.PingEvery, Timeout: limits.PingPatience,
			MaxConnectionAge: s.config.age, MaxConnectionAgeGrace: s.config.grace,
		}),
		grpc.WaitForHandlers(true),
	)...)
	s.service.Register(made)
	healthpb.RegisterHealthServer(made, s.watch.Service())
	if s.config.Reflection {
		reflection.Register(made)
	}
	s.metrics.Calls.Know(made)
	return made
}

// listenAll opens the listeners and makes the servers behind them.
func (s *Server) listenAll() (err error) {
	if s.listener, err = s.listen("-listen", s.config.Listen); err != nil {
		return err
	}
	if s.config.HTTPListen != Off {
		if s.httpListener, err = s.listen("-http-listen", s.config.HTTPListen); err != nil {
			return err
		}
		local, ok := s.httpListener.Addr().(*net.TCPAddr)
		s.door = door.New(door.Config{
			Service:     s.service,
			Health:      s.watch.Server,
			Unary:       s.service.Unary(),
			Stream:      s.service.Stream(),
			MaxDeadline: s.config.MaxDeadline,
			Age:         s.config.age,
			Private:     ok && local.IP.IsLoopback() && s.config.Callers == "" && s.config.TLSClientCA == "",
			Trace:       traces.HTTP(s.config.TracerProvider),
			Metrics:     s.metrics,
			ErrorLog:    access.ErrorLog(s.certificates, s.metrics.Floods),
		})
		s.httpListener = s.certificates.Listener(s.httpListener)
	}
	if s.config.AdminListen == Off {
		return nil
	}
	if s.adminListener, err = net.Listen("tcp", s.config.AdminListen); err != nil {
		return fmt.Errorf("listening on -admin-listen %s: %w", s.config.AdminListen, err)
	}
	s.admin = s.watch.Admin()
	return nil
}

// Addr is the address of the gRPC listener.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// HTTPAddr is the address of the HTTP listener; empty if there is none.
func (s *Server) HTTPAddr() string { return addressOf(s.httpListener) }

// AdminAddr is the address of the admin listener; empty if there is none.
func (s *Server) AdminAddr() string { return addressOf(s.adminListener) }

func addressOf(listener net.Listener) string {
	if listener == nil {
		return ""
	}
	return listener.Addr().String()
}

// Serve answers until ctx is done. Then it says NOT_SERVING, answers on for
// Config.LameDuck, lets the calls under way finish for up to Config.Drain, and gives
// everything back. It returns nil if it was asked to stop, and otherwise the error that
// ended it. The caller may call it once.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 4)
	go func() { ended <- wrap("serving gRPC", s.grpc.Serve(s.listener)) }()
	if s.door != nil {
		go func() {
			if err := s.door.Serve(s.httpListener); err != nil {
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
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx)) // a lame duck still needs its store
	var watch sync.WaitGroup
	watch.Go(func() {
		if err := s.watch.Run(watching); err != nil {
			ended <- err
		}
	})
	watch.Go(func() { s.reloader.Run(watching) })
	watch.Go(func() { health.NewCensus(s.watch, s.config.censusRest).Run(watching) })
	s.logger.Info("serving", s.doors()...)
	if s.config.Trial {
		s.logger.Warn(
			"this is a trial, whose store is lost with this process: every donation is FIRST again after a restart; " +
				"for production start with -redis and without -dev",
		)
	}
	if ledgers := s.config.shadows(); ledgers != "" {
		s.logger.Warn(
			"ledgers are in shadow: Noted answers FIRST to every message of them, so their doubles are processed; "+
				"to let the verdicts count, start every server without them in -shadow-ledgers",
			"shadow_ledgers", ledgers,
		)
	}

	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("stopping",
			"lame_duck_seconds", s.config.LameDuck.Seconds(), "drain_seconds", s.config.Drain.Seconds())
		s.watch.Drain()
		select {
		case <-time.After(s.config.LameDuck):
		case err = <-ended:
		}
	case err = <-ended:
	}
	stopWatching()
	watch.Wait()
	s.stop()
	s.metrics.Floods.EndAll()
	s.logger.Info("stopped")
	return errors.Join(err, s.close())
}

// stop says NOT_SERVING, waits for the calls under way, and cuts off those that are left
// when the time is over.
func (s *Server) stop() {
	s.watch.Drain()
	s.drain.Do(func() { close(s.draining) })
	var atDoor sync.WaitGroup
	if s.door != nil {
		atDoor.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), s.config.Drain)
			defer cancel()
			s.door.Shutdown(ctx)
		})
	}
	cut := time.AfterFunc(s.config.Drain, func() {
		s.logger.Warn("cutting off calls that did not finish in time", "drain_seconds", s.config.Drain.Seconds())
		s.grpc.Stop()
	})
	s.grpc.GracefulStop()
	cut.Stop()
	atDoor.Wait()
}

func (s *Server) close() error {
	var errs []error
	if s.grpc != nil {
		s.grpc.Stop() // a server that was never served has not stopped by itself
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

// doors are where the server listens, as the log tells them.
func (s *Server) doors() []any {
	fields := []any{"listen", s.Addr()}
	if s.door != nil {
		fields = append(fields, "http_listen", s.HTTPAddr())
	}
	if s.admin != nil {
		fields = append(fields, "admin_listen", s.AdminAddr())
	}
	return fields
}

func wrap(act string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", act, err)
}
