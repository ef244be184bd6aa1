package client_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/donation-dedupe/noted/client"
	"google.golang.org/grpc"
)

// proxy is between client and server. It loses replies or connections.
type proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	conns   []net.Conn
	swallow bool // replies vanish
	refuse  bool // new connections are closed at once
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	return newProxyAt(t, "127.0.0.1:0", target)
}

func newProxyAt(t testing.TB, address, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target}
	t.Cleanup(func() { listener.Close(); p.cut() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(down net.Conn) {
	up, err := net.Dial("tcp", p.target)
	p.mu.Lock()
	refuse := p.refuse || err != nil
	if !refuse {
		p.conns = append(p.conns, down, up)
	}
	p.mu.Unlock()
	if refuse {
		down.Close()
		if up != nil {
			up.Close()
		}
		return
	}
	go func() { io.Copy(up, down); up.Close() }()
	io.Copy(writerFunc(func(b []byte) (int, error) {
		p.mu.Lock()
		swallow := p.swallow
		p.mu.Unlock()
		if swallow {
			return len(b), nil
		}
		return down.Write(b)
	}), up)
	down.Close()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (p *proxy) set(swallow, refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow, p.refuse = swallow, refuse
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

// failing fails the next calls of a client with the given errors, before they reach the
// server.
type failing struct {
	mu    sync.Mutex
	errs  []error
	calls int
}

func (f *failing) config() client.Config {
	return client.Config{DialOptions: []grpc.DialOption{
		grpc.WithUnaryInterceptor(
			func(
				ctx context.Context, method string, request, reply any,
				conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
			) error {
				f.mu.Lock()
				f.calls++
				var err error
				if len(f.errs) > 0 {
					err, f.errs = f.errs[0], f.errs[1:]
				}
				f.mu.Unlock()
				if err != nil {
					return err
				}
				return invoke(ctx, method, request, reply, conn, options...)
			},
		),
	}}
}
