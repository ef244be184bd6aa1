package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/descriptors"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// maxRates is how many addresses have a rate of their own at a time, since strangers choose them, and each costs memory. Callers always have one: they are as many
// as the operator, or a CA of the operator's, has named.
const maxRates = 16384

// rates are how often each caller may call: so many calls a second, and as many at once as have been saved up. A nil *rates limits nobody.
type rates struct {
	perSecond rate.Limit
	burst     int

	mu      sync.Mutex
	of      map[string]*rate.Limiter // :: key → what it has left
	cleaned time.Time
}

func newRates(perSecond, burst int) *rates {
	if perSecond == 0 {
		return nil
	}
	return &rates{perSecond: rate.Limit(perSecond), burst: burst, of: map[string]*rate.Limiter{}}
}

// The keys of rates.
func ofCaller(name string) string  { return "caller " + name }
func ofAddress(host string) string { return "address " + host }

// take takes one call of a caller's rate and gives 0, or takes none and gives the time after which there is one. It does so alone and at one time: a reservation
// that is canceled while others are made gives nothing back.
func (r *rates) take(key string) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	reservation := r.limiter(key, now).ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (r *rates) limiter(key string, now time.Time) *rate.Limiter {
	if found := r.of[key]; found != nil {
		return found
	}
	if len(r.of) >= maxRates {
		r.clean(now)
		if len(r.of) >= maxRates && strings.HasPrefix(key, ofAddress("")) {
			key = ofAddress("others") // a flood from everywhere shares one rate
			if found := r.of[key]; found != nil {
				return found
			}
		}
	}
	made := rate.NewLimiter(r.perSecond, r.burst)
	r.of[key] = made
	return made
}

// clean forgets who has saved up all it can, which is as good as new; once a second at most, since it takes long.
func (r *rates) clean(now time.Time) {
	if now.Sub(r.cleaned) < time.Second {
		return
	}
	r.cleaned = now
	for key, limiter := range r.of {
		if limiter.TokensAt(now) >= float64(r.burst) {
			delete(r.of, key)
		}
	}
}

// underWay bounds how many calls are under way: beyond, each waits for all before it, and soon they are answered when nobody waits any more.
type underWay struct {
	limit int64
	count atomic.Int64
}

func newUnderWay(limit int, m *metrics.Metrics) *underWay {
	u := &underWay{limit: int64(limit)}
	m.GaugeFunc("noted_calls_under_way", func() float64 { return float64(u.count.Load()) })
	return u
}

// begin takes a place, which end gives back, or says that there is none.
func (u *underWay) begin() error {
	if u.count.Add(1) > u.limit {
		u.count.Add(-1)
		return contract.Refuse(contract.ErrOverloaded)
	}
	return nil
}

func (u *underWay) end() { u.count.Add(-1) }

// unary refuses a call for which there is no place. Health is told all the same: a server that is busy must not be taken for one that is dead.
func (u *underWay) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, "/"+healthpb.Health_ServiceDesc.ServiceName+"/") {
		return handler(ctx, request)
	}
	if err := u.begin(); err != nil {
		return nil, err
	}
	defer u.end()
	return handler(ctx, request)
}

// listings bounds how many pages are gathered at a time: each has a connection to the store for itself, of which there are few, and pages can wait where donations
// must not.
type listings struct {
	wanted underWay
	places chan struct{}
}

func newListings() *listings {
	return &listings{wanted: underWay{limit: 64}, places: make(chan struct{}, 4)}
}

// begin waits for a place, which end gives back, or says that too many wait already.
func (l *listings) begin(ctx context.Context) error {
	if err := l.wanted.begin(); err != nil {
		return err
	}
	select {
	case l.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.wanted.end()
		return contract.Refuse(ctx.Err())
	}
}

func (l *listings) end() {
	<-l.places
	l.wanted.end()
}

// connections bounds how many connections the doors have together, and how many of them from one address. What is too much is closed at once: who is
// turned away knows it, and the queue of the kernel stays short for the others.
type connections struct {
	limit, perAddress int
	refused           *prometheus.CounterVec // limit
	failures          prometheus.Counter
	floods            *metrics.Floods

	mu   sync.Mutex
	open int
	from map[string]int // :: address → how many are open
}

func newConnections(config Config, m *metrics.Metrics) *connections {
	c := &connections{
		limit:      config.MaxConnections,
		perAddress: config.MaxConnectionsPerAddress,
		refused:    m.CounterVec("noted_connections_refused_total"),
		failures:   m.Counter("noted_accept_failures_total"),
		floods:     m.Floods,
		from:       map[string]int{},
	}
	c.refused.WithLabelValues("all")
	c.refused.WithLabelValues("address")
	m.GaugeFunc("noted_connections", func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(c.open)
	})
	return c
}

func (c *connections) begin(address string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.open >= c.limit:
		c.refused.WithLabelValues("all").Inc()
		return false
	case c.from[address] >= c.perAddress:
		c.refused.WithLabelValues("address").Inc()
		return false
	}
	c.open++
	c.from[address]++
	return true
}

func (c *connections) end(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.from[address]--; c.from[address] == 0 {
		delete(c.from, address)
	}
}

// failed counts and tells of a connection that could not be taken.
func (c *connections) failed(err error) {
	if errors.Is(err, net.ErrClosed) {
		return // the server stops
	}
	c.failures.Inc()
	c.floods.Log(context.Background(), "connections that could not be taken", slog.LevelError, "a connection could not be taken", "error", descriptors.Explain(err))
}

// limited is a listener of one of the doors.
type limited struct {
	net.Listener
	connections *connections
}

// Accept is of net.Listener.
func (l limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.connections.failed(err)
			return nil, err // who accepts tries again, each time a little later
		}
		address := host(conn.RemoteAddr())
		if !l.connections.begin(address) {
			conn.Close()
			continue
		}
		setUserTimeout(conn, pingPatience)
		return &counted{Conn: conn, end: sync.OnceFunc(func() { l.connections.end(address) })}, nil
	}
}

// counted is a connection that says when it is closed.
type counted struct {
	net.Conn
	end func()
}

// Close is of net.Conn.
func (c *counted) Close() error {
	defer c.end()
	return c.Conn.Close()
}
