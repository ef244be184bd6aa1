package store_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy stands between a store and its Redis and breaks what it is told to.
type proxy struct {
	listener net.Listener
	to       string
	plan     func(request []byte) disturbance

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// A disturbance is what happens to a request, which may be several that were sent together.
type disturbance struct {
	delay       time.Duration // before it is passed on
	delayReply  time.Duration // before its reply is passed on
	dropRequest bool          // the connection is cut, and Redis hears nothing of it
	dropReply   bool          // the connection is cut when Redis has replied: what was asked is done
}

// startProxy starts a proxy to a Redis. plan is asked about every request, by several goroutines.
func startProxy(t *testing.T, to string, plan func(request []byte) disturbance) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, to: to, plan: plan, conns: map[net.Conn]bool{}}
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
	t.Cleanup(func() {
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

// URL is where the proxy listens, as Redis clients take it.
func (p *proxy) URL() string { return "redis://" + p.listener.Addr().String() }

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	redis, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer redis.Close()
	if !p.keep(client, redis) {
		return
	}
	defer p.drop(client, redis)

	var cutReply atomic.Bool
	var delayReply atomic.Int64
	var replies sync.WaitGroup
	defer replies.Wait()
	replies.Go(func() {
		defer client.Close()
		defer redis.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := redis.Read(buffer)
			if err != nil || cutReply.Load() {
				return
			}
			time.Sleep(time.Duration(delayReply.Load()))
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
	defer redis.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		d := p.plan(buffer[:n])
		time.Sleep(d.delay)
		if d.dropRequest {
			return
		}
		delayReply.Store(int64(d.delayReply))
		if d.dropReply {
			cutReply.Store(true)
		}
		if _, err := redis.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
	return !p.closed
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}
