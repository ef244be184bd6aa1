package store_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestPoolExhausted checks that a call soon fails with its own error if every connection
// to a busy Redis is in use, that it does nothing, and that the calls that have the
// connections are answered.
func TestPoolExhausted(t *testing.T) {
	for _, mode := range []string{"standalone", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			var nodes []*redistest.Server
			url := ""
			if mode == "cluster" {
				f := sixNodes(t)
				nodes, url = f.primaries, f.url+"&"
			} else {
				nodes = []*redistest.Server{redistest.Start(t)}
				url = nodes[0].URL() + "?"
			}
			s := openWith(t, store.Config{URL: url + "pool_size=1&read_timeout=20s", Mode: mode})
			for _, node := range nodes {
				node.Do("CLIENT PAUSE 20000 WRITE") // scripts wait; commands that only read are answered
			}
			const calls = 20
			type end struct {
				series string
				err    error
				took   time.Duration
			}
			ends := make(chan end, calls)
			for i := range calls {
				go func() {
					series, began := fmt.Sprint("I-", i), time.Now()
					// Two at once, as on a stream: other calls do not share their
					// connection.
					_, errs := s.Notes(
						within(t, 20*time.Second),
						[]store.NoteRequest{holding(t, series, "r"), holding(t, series, "r")},
					)
					ends <- end{series, errors.Join(errs...), time.Since(began)}
				}()
			}
			for range calls - len(nodes) { // each node keeps one
				e := <-ends
				if !errors.Is(e.err, store.ErrPoolExhausted) || errors.Is(e.err, store.ErrUnavailable) ||
					errors.Is(e.err, store.ErrOutcomeUnknown) ||
					e.took > 2*time.Second {
					t.Errorf(
						"Notes(%s): %v after %v, want %v alone within 100ms or a little more",
						e.series,
						e.err,
						e.took,
						store.ErrPoolExhausted,
					)
				}
			}
			if got := s.Stats().Timeouts; got == 0 {
				t.Error("Stats counts none of the calls that waited for a connection in vain")
			}
			for _, node := range nodes {
				node.Do("CLIENT UNPAUSE")
			}
			answered := map[string]bool{}
			for range nodes {
				if e := <-ends; e.err == nil {
					answered[e.series] = true
				} else {
					t.Errorf("Notes(%s), which had the connection: %v", e.series, e.err)
				}
			}
			for i := range calls {
				r := holding(t, fmt.Sprint("I-", i), "other")
				want := store.First
				if answered[r.Donation.SeriesID] {
					want = store.Held
				}
				if got := note(t, s, r); got.Verdict != want {
					t.Errorf(
						"Note(%s) afterwards: verdict %d, want %d: a call without a connection does nothing",
						r.Donation.SeriesID,
						got.Verdict,
						want,
					)
				}
			}
		})
	}
}

// TestPoolIsBounded checks that Redis never sees more connections than MaxActiveConns
// allows, however many single calls and streams there are at once.
func TestPoolIsBounded(t *testing.T) {
	r := redistest.Start(t)
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone"})
	r.Do("CLIENT PAUSE 1000 WRITE") // so that all of them wait at the same time
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				series := fmt.Sprintf("I-%d-%d", i, n)
				_, errs := s.Notes(
					ctx(t),
					[]store.NoteRequest{holding(t, series, "r"), holding(t, series+"-second", "r")},
				) // as a stream does
				if i%3 == 0 {
					_, errs[0] = s.Note(ctx(t), holding(t, series, "other"))
				}
				for _, err := range errs {
					if err != nil && !errors.Is(err, store.ErrPoolExhausted) {
						t.Errorf("caller %d: %v, want an answer or %v", i, err, store.ErrPoolExhausted)
						return
					}
				}
			}
		})
	}
	watching := redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer watching.Close()
	most := 0
	for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		list, err := watching.ClientList(ctx(t)).Result()
		if err != nil {
			t.Fatalf("CLIENT LIST: %v", err)
		}
		most = max(most, strings.Count(list, " name=noted "))
	}
	close(stop)
	all.Wait()
	if most < 10 || most > 64 {
		t.Errorf("300 callers at once had %d connections, want many and no more than 64", most)
	}
	t.Logf("at most %d connections", most)
}

// TestMaxClients checks that calls that need a new connection to a Redis that takes no
// more clients fail as UNAVAILABLE, in time. When other clients leave, calls are answered
// again: through a few connections, and then through as many as they need.
func TestMaxClients(t *testing.T) {
	r := redistest.Start(t)
	s := openWith(t, store.Config{URL: r.URL(), Mode: "standalone"})
	note(t, s, holding(t, "known", "r"))
	told(t, r, "CLIENT", "KILL", "TYPE", "normal") // so that the store needs new connections
	told(t, r, "CONFIG", "SET", "maxclients", "20")
	var others []net.Conn
	for full := false; !full; {
		conn, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(conn, "PING\r\n")
		reply, _ := bufio.NewReader(conn).ReadString('\n')
		if full = reply != "+PONG\r\n"; !full {
			others = append(others, conn)
		}
	}
	if len(others) < 10 {
		t.Fatalf("Redis has taken %d clients, want the 20 that it may", len(others))
	}
	unavailable := func(err error) bool {
		return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) ||
			errors.Is(err, store.ErrPoolExhausted)
	}
	for i := range 20 {
		began := time.Now()
		if _, err := s.Note(
			within(t, 2*time.Second),
			holding(t, fmt.Sprint("I-", i), "r"),
		); !unavailable(err) ||
			time.Since(began) > 1500*time.Millisecond {
			t.Errorf(
				"Note while Redis takes no client: %v after %v, want UNAVAILABLE at once",
				err,
				time.Since(began),
			)
		}
	}
	if _, err := s.Check(within(t, 2*time.Second)); !unavailable(err) {
		t.Errorf("Check while Redis takes no client: %v, want the reason", err)
	}

	for _, conn := range others[:3] {
		conn.Close()
	}
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			request := []store.NoteRequest{
				holding(t, fmt.Sprint("I-", i), "r2"),
				holding(t, fmt.Sprint("I-second-", i), "r2"),
			}
			soon(t, 30*time.Second, "every call is answered through three connections", func() bool {
				replies, errs := s.Notes(within(t, 2*time.Second), request)
				for j, err := range errs {
					if err != nil && !unavailable(err) {
						t.Errorf("Note(%s): %v", request[j].Donation.SeriesID, err)
					} else if err == nil && replies[j].Verdict != store.First {
						t.Errorf(
							"Note(%s): verdict %d, want FIRST: the failed calls must not have noted it",
							request[j].Donation.SeriesID,
							replies[j].Verdict,
						)
					}
				}
				return errs[0] == nil && errs[1] == nil
			})
		})
	}
	all.Wait()
	for _, conn := range others {
		conn.Close()
	}
	soon(t, 10*time.Second, "there are connections for all calls", func() bool {
		_, err := s.Note(ctx(t), holding(t, "I-last", "r"))
		return err == nil
	})
}
