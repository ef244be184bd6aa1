package redistest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Proxy stands between a client and a server, which may be a Redis or ours, and
// disturbs the requests that it is told to.
type Proxy struct {
	listener net.Listener
	to       string
	plan     func(request []byte) Disturbance

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// A Disturbance is a fault of one request. A request may be several commands that were
// sent together.
type Disturbance struct {
	Delay       time.Duration // before it is passed on
	DelayReply  time.Duration // before its reply is passed on
	DropRequest bool          // the connection is cut, and the server hears nothing of it
	DropReply   bool          // the connection is cut when the server has replied: the request is done

	Reply func([]byte) []byte // changes the reply, as it comes off the wire; nil leaves it
}

// StartProxy starts a proxy to a server. Several goroutines call plan, once for every
// request.
func StartProxy(tb testing.TB, to string, plan func(request []byte) Disturbance) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: listener, to: to, plan: plan, conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client) })
		}
	})
	tb.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		running.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL is that address as Redis clients take it.
func (p *Proxy) URL() string { return "redis://" + p.Addr() }

// Cut cuts all present connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.keep(client, server) {
		return
	}
	defer p.drop(client, server)

	var cutReply atomic.Bool
	var delayReply atomic.Int64
	var rewrite atomic.Pointer[func([]byte) []byte]
	var replies sync.WaitGroup
	defer replies.Wait()
	replies.Go(func() {
		defer client.Close()
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil || cutReply.Load() {
				return
			}
			time.Sleep(time.Duration(delayReply.Load()))
			reply := buffer[:n]
			if f := rewrite.Load(); f != nil && *f != nil {
				reply = (*f)(reply)
			}
			if _, err := client.Write(reply); err != nil {
				return
			}
		}
	})
	defer server.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		d := p.plan(buffer[:n])
		time.Sleep(d.Delay)
		if d.DropRequest {
			return
		}
		delayReply.Store(int64(d.DelayReply))
		rewrite.Store(&d.Reply)
		if d.DropReply {
			cutReply.Store(true)
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.closed
}

func (p *Proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}
