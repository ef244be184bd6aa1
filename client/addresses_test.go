package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	grpcpeer "google.golang.org/grpc/peer"
)

// answered counts the answers of each address.
type answered struct {
	mu sync.Mutex
	by map[string]int
}

func (a *answered) option() grpc.DialOption {
	a.by = map[string]int{}
	return grpc.WithUnaryInterceptor(func(
		ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		var from grpcpeer.Peer
		err := invoke(ctx, method, request, reply, conn, append(options, grpc.Peer(&from))...)
		if err == nil {
			a.mu.Lock()
			a.by[from.Addr.String()]++
			a.mu.Unlock()
		}
		return err
	})
}

func (a *answered) count(address string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.by[address]
}

// serveDNS answers every question for an IPv4 address with 127.0.0.1 and 127.0.0.2.
func serveDNS(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buffer := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(buffer[:n]) != nil {
				continue
			}
			message.Response, message.Additionals = true, nil
			if asked := message.Questions[0]; asked.Type == dnsmessage.TypeA {
				header := dnsmessage.ResourceHeader{Name: asked.Name, Class: asked.Class, TTL: 60}
				for last := range byte(2) {
					body := &dnsmessage.AResource{A: [4]byte{127, 0, 0, last + 1}}
					message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: body})
				}
			}
			if packed, err := message.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// Two servers on one store share the calls. Then one of them notes donations, and dies
// before its answers arrive: each donation is processed once nevertheless.
func TestSeveralAddresses(t *testing.T) {
	for name, target := range map[string]func(one, other *proxy) string{
		"list": func(one, other *proxy) string { return one.addr() + "," + other.addr() },
		"dns": func(one, _ *proxy) string {
			_, port, _ := net.SplitHostPort(one.addr())
			return "dns://" + serveDNS(t) + "/noted.test:" + port
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := servertest.Options{Redis: "redis://" + processtest.Redis(t).Addr}
			dying, living := servertest.Start(t, store), servertest.Start(t, store)
			one := newProxy(t, dying.Addr())
			other := newProxyAt(t, strings.Replace(one.addr(), "127.0.0.1", "127.0.0.2", 1), living.Addr())
			var answers answered
			config := client.Config{
				Plaintext: true, Timeout: time.Minute, SettleTimeout: time.Minute,
				DialOptions: []grpc.DialOption{answers.option()},
			}
			noted, direct := dial(t, target(one, other), config), dial(t, living.Addr(), client.Config{})

			eventually(t, "both servers answer", func() bool {
				if _, err := noted.Exists(t.Context(), series("I-warm"), nil); err != nil {
					t.Fatal(err)
				}
				return answers.count(one.addr()) > 0 && answers.count(other.addr()) > 0
			})
			before := answers.count(one.addr())

			const donations = 20
			var mu sync.Mutex
			processed := map[string]int{}
			once := func(id string) (client.Verdict, error) {
				return noted.Once(t.Context(), series(id), nil, func(context.Context, *client.Note) error {
					mu.Lock()
					defer mu.Unlock()
					processed[id]++
					return nil
				})
			}
			one.set(true, false)
			var receivers sync.WaitGroup
			for i := range donations {
				id := fmt.Sprintf("I-%d", i)
				receivers.Go(func() {
					if verdict, err := once(id); verdict != client.First || err != nil {
						t.Errorf("Once of %s while a server dies: got %v, %v; want First", id, verdict, err)
					}
				})
			}
			eventually(t, "all are noted", func() bool {
				for i := range donations {
					if found, err := direct.Exists(t.Context(), series(fmt.Sprintf("I-%d", i)), nil); err != nil {
						t.Fatal(err)
					} else if !found.GetExists() {
						return false
					}
				}
				return true
			})
			one.set(true, true)
			one.cut()
			dying.Stop()
			receivers.Wait()
			if after := answers.count(one.addr()); after != before {
				t.Fatalf("the server answered %d calls after its replies were lost; want none", after-before)
			}

			for i := range donations {
				id := fmt.Sprintf("I-%d", i)
				if verdict, err := once(id); verdict != client.Duplicate || err != nil {
					t.Errorf("Once of %s after a server's death: got %v, %v; want Duplicate", id, verdict, err)
				}
				if processed[id] != 1 {
					t.Errorf("%s was processed %d times; want once", id, processed[id])
				}
				if note := only(t, direct, id); note.GetState() != client.StateSettled || note.GetAttempt() != 1 {
					t.Errorf("%s is left %v; want it settled at the first attempt", id, note)
				}
			}
		})
	}
}

// A list of addresses needs TLS unless each is on this machine. Each server must have a
// certificate for its own address.
func TestTransportOfLists(t *testing.T) {
	certificate, ca := selfSigned(t)
	encrypted, plain := serveHeaders(t, certificate), serveHeaders(t, nil)
	named := strings.Replace(encrypted, "127.0.0.1", "localhost", 1)
	token := func(context.Context) (string, error) { return "abc", nil }
	toPlain := []grpc.DialOption{grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		return net.Dial("tcp", plain)
	})}
	for _, test := range []struct {
		name, target string
		config       client.Config
		want         string // must be in the error of a call
	}{
		{"token to this machine", plain + "," + plain, client.Config{Token: token}, "authorization=Bearer abc"},
		{"CA", encrypted + "," + encrypted, client.Config{CA: ca, Token: token}, "authorization=Bearer abc"},
		{"certificate of another name", named + "," + named, client.Config{CA: ca}, "certificate"},
		{"one address elsewhere", "noted.invalid:1," + plain, client.Config{DialOptions: toPlain}, "tls"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := dial(t, test.target, test.config).Exists(t.Context(), series("I-1"), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Exists: got %v; want an error with %q", err, test.want)
			}
		})
	}
	for target, config := range map[string]client.Config{
		"127.0.0.1:1,noted.example.org:1": {Plaintext: true, Token: token},
		"127.0.0.1:1,127.0.0.1":           {},
		"127.0.0.1:1, 127.0.0.1:2":        {},
		"127.0.0.1:1,":                    {},
	} {
		if noted, err := client.New(target, config); err == nil {
			noted.Close()
			t.Errorf("New(%q) made a client; want an error", target)
		}
	}
	noted := dial(t, "127.0.0.1:1,127.0.0.1:2", client.Config{})
	if _, err := noted.Exists(t.Context(), series("I-1"), nil); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("Exists without a server: got %v; want ErrUnavailable", err)
	}
}
