package limits

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/descriptors"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// Config is what Connections need.
type Config struct {
	MaxConnections, MaxConnectionsPerAddress int

	Metrics *metrics.Metrics
}

// Connections bound how many connections all doors have together, and how many come from
// one address. A connection beyond the bound is closed at once: its peer knows that it
// was turned away, and the queue of the kernel stays short for the others.
type Connections struct {
	limit, perAddress int
	refused           *prometheus.CounterVec
	failures          prometheus.Counter
	floods            *metrics.Floods

	mu   sync.Mutex
	open int
	from map[string]int // :: address → how many are open
}

// NewConnections makes the bound.
func NewConnections(config Config) *Connections {
	c := &Connections{
		limit:      config.MaxConnections,
		perAddress: config.MaxConnectionsPerAddress,
		refused:    config.Metrics.CounterVec("noted_connections_refused_total"),
		failures:   config.Metrics.Counter("noted_accept_failures_total"),
		floods:     config.Metrics.Floods,
		from:       map[string]int{},
	}
	c.refused.WithLabelValues("all")
	c.refused.WithLabelValues("address")
	config.Metrics.GaugeFunc("noted_connections", func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(c.open)
	})
	return c
}

func (c *Connections) begin(address string) bool {
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

func (c *Connections) end(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.from[address]--; c.from[address] == 0 {
		delete(c.from, address)
	}
}

// failed counts and logs a connection that could not be accepted.
func (c *Connections) failed(err error) {
	if errors.Is(err, net.ErrClosed) {
		return // the server stops
	}
	c.failures.Inc()
	c.floods.Log(
		context.Background(),
		"connections that could not be taken",
		slog.LevelError,
		"a connection could not be taken",
		"error", descriptors.Explain(err),
	)
}

// Limit bounds the connections of the listener of one door.
func (c *Connections) Limit(listener net.Listener) net.Listener {
	return limited{Listener: listener, connections: c}
}

// limited is a listener of one of the doors.
type limited struct {
	net.Listener
	connections *Connections
}

// Accept is of net.Listener.
func (l limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.connections.failed(err)
			return nil, err // gRPC and net/http accept again, each time a little later
		}
		address := host(conn.RemoteAddr())
		if !l.connections.begin(address) {
			conn.Close()
			continue
		}
		setUserTimeout(conn, PingPatience)
		c := &counted{Conn: conn, end: sync.OnceFunc(func() { l.connections.end(address) })}
		c.patience = time.AfterFunc(PingPatience, func() { c.Close() })
		c.patience.Stop()
		return c, nil
	}
}

// counted is a connection that gives its place back when it is closed.
type counted struct {
	net.Conn
	end      func()
	patience *time.Timer // closes the connection; runs while a part is being written
}

// part is how many bytes a peer must take within PingPatience.
const part = 32 << 10

// Write is of net.Conn. A peer that does not take a part in time is cut off. The kernel
// does not see to that while the peer itself sends, because each of its packets puts off the
// probe with which the kernel would find the time over (setUserTimeout).
func (c *counted) Write(b []byte) (written int, err error) {
	for {
		c.patience.Reset(PingPatience)
		n, err := c.Conn.Write(b[:min(part, len(b))])
		c.patience.Stop()
		written, b = written+n, b[n:]
		if err != nil || len(b) == 0 {
			return written, err
		}
	}
}

// Close is of net.Conn.
func (c *counted) Close() error {
	defer c.end()
	return c.Conn.Close()
}

// host is an address without its port. Of IPv6 it is the network, since one host may have
// every address of it.
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
