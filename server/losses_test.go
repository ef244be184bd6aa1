package server_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A lossKind is a way in which a store loses its last notes.
type lossKind struct {
	says    string            // the operator's text about the loss
	kept    notedv1.Verdict   // afterwards, of the donation that was noted first
	primary *redistest.Server // the store before the loss
	options servertest.Options
	between func(t *testing.T) // runs between the note that may be kept and the note that is lost
	lose    func(t *testing.T) // loses notes, and waits for the store to be back
}

var waysBack = map[string]func(t *testing.T) lossKind{
	"restarted without its data": func(t *testing.T) lossKind {
		redis := redistest.Start(t)
		return lossKind{
			says:    "emptied",
			kept:    notedv1.Verdict_VERDICT_FIRST,
			primary: redis,
			lose:    func(*testing.T) { redis.Kill(); redis.Restart() },
		}
	},
	"restored from an old backup": func(t *testing.T) lossKind {
		dump := filepath.Join(t.TempDir(), "dump.rdb")
		redis := redistest.Start(t, "--dir", filepath.Dir(dump))
		var backup []byte
		return lossKind{
			says: "old backup", kept: notedv1.Verdict_VERDICT_DUPLICATE, primary: redis,
			between: func(t *testing.T) {
				redis.Do("SAVE")
				var err error
				if backup, err = os.ReadFile(dump); err != nil {
					t.Fatal(err)
				}
			},
			lose: func(t *testing.T) {
				redis.Kill()
				if err := os.WriteFile(dump, backup, 0o600); err != nil {
					t.Fatal(err)
				}
				redis.Restart()
			},
		}
	},
	"taken over by a replica that lagged": func(t *testing.T) lossKind {
		f := redistest.StartSentinels(t)
		if f.Network == nil {
			t.Skip("a replica lags behind a primary that goes on only where a cable can be pulled")
		}
		primary := f.Primaries()[0]
		heal := func() {}
		return lossKind{
			says: "a replica that lagged", kept: notedv1.Verdict_VERDICT_DUPLICATE, primary: primary,
			options: servertest.Options{Redis: f.URL, RedisMode: "sentinel"},
			between: func(t *testing.T) {
				eventually(t, 10*time.Second, "the replicas have the kept notes", func() bool {
					for _, node := range f.Nodes {
						if !strings.Contains(node.Tell("KEYS", "*"), " kept}") {
							return false
						}
					}
					return true
				})
				heal = f.Cut(primary) // from the other nodes; the server still reaches it
			},
			lose: func(t *testing.T) {
				eventually(t, 30*time.Second, "another primary", func() bool {
					now := f.Primaries()
					return len(now) == 1 && now[0] != primary &&
						strings.Contains(now[0].Tell("INFO", "replication"), "role:master")
				})
				heal()
			},
		}
	},
}

// Every kind of loss is noticed with the next beat after the store answers again, and the
// operator is told once. Kept notes are known as before, and lost donations are FIRST
// again. A server that refuses after a loss has given no answer from the store that is
// left.
func TestEveryLossIsNoticed(t *testing.T) {
	for name, prepare := range waysBack {
		t.Run(name, func(t *testing.T) {
			way := prepare(t)
			var log lockedBuffer
			if way.options.Log = &log; way.options.Redis == "" {
				way.options.Redis = way.primary.URL()
			}
			n := start(t, way.options)
			// A loss of less than the second between two beats may go unnoticed, so each
			// note is followed by a beat.
			beat := func() string {
				return strings.Join(strings.Fields(way.primary.Tell("GET", "noted:{epoch}"))[:3], " ")
			}
			first := func(id string) {
				t.Helper()
				if got := n.mustNote(t, series(id)).Verdict; got != notedv1.Verdict_VERDICT_FIRST {
					t.Errorf("%s: %v, want FIRST", id, got)
				}
				before := beat()
				eventually(t, 5*time.Second, "another beat", func() bool { return beat() != before })
			}
			eventually(
				t,
				5*time.Second,
				"the epoch is known",
				func() bool { return strings.Contains(log.String(), "the store's epoch is known") },
			)
			first("kept")
			if way.between != nil {
				way.between(t)
			}
			first("lost")
			strict := startConfigured(t, func(c *server.Config) {
				c.Redis, c.RedisMode, c.RefuseAfterLoss = way.options.Redis, way.options.RedisMode, true
			})
			refused := askAll(t, strict.Addr(), "lost")
			way.lose(t)

			began := time.Now()
			eventually(
				t,
				10*time.Second,
				"the loss is noticed",
				func() bool { return n.metric(t, "noted_store_went_back_total") > 0 },
			)
			t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
			readyz := func(admin string) string { return get(t, "http://"+admin+"/readyz") }
			eventually(
				t,
				10*time.Second,
				"the strict server is not ready",
				func() bool { return strings.HasPrefix(readyz(strict.AdminAddr()), "503\n") },
			)
			refused()
			ready := readyz(n.AdminAddr())
			if !strings.HasPrefix(ready, "200\n") || !strings.Contains(ready, "/acknowledge?epoch=") {
				t.Errorf("/readyz = %q, want it ready, with the remedy", ready)
			}
			// The first of the two to look knows the kind of loss, the other that another server
			// has noticed it.
			if both := ready + readyz(strict.AdminAddr()); !strings.Contains(both, way.says) {
				t.Errorf("/readyz of the two = %q, want one to speak of %q", both, way.says)
			}
			for id, want := range map[string]notedv1.Verdict{"lost": notedv1.Verdict_VERDICT_FIRST, "kept": way.kept} {
				if got := n.mustNote(t, series(id)).Verdict; got != want {
					t.Errorf("afterwards %s: %v, want %v", id, got, want)
				}
			}
			before := n.metric(t, "noted_store_went_back_total")
			if got := strings.Count(log.String(), "gone back in time: donations"); got != 1 || before != 1 {
				t.Errorf("the log tells of it %d times, and noted_store_went_back_total = %v; want once", got, before)
			}
		})
	}
}

// askAll asks for a noted donation, over and over, until the returned function is called.
// By then a refusal because of the loss must have come. No answer may say that the
// donation is new.
func askAll(t *testing.T, addr, id string) (stop func()) {
	t.Helper()
	conn, caller := dial(t, addr)
	eventually(t, 5*time.Second, "the strict server answers", func() bool {
		response, err := caller.NoteDonation(within(t, time.Second), series(id))
		return err == nil && response.Verdict == notedv1.Verdict_VERDICT_DUPLICATE
	})
	done, refusals := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				refusals <- n
				return
			default:
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			response, err := caller.NoteDonation(ctx, series(id))
			cancel()
			if err == nil && response.Verdict != notedv1.Verdict_VERDICT_DUPLICATE {
				t.Errorf("after the loss a server that must refuse answers that %s is %v", id, response.Verdict)
			}
			if toldBy(err).reason == "noted.v1/STORE_WENT_BACK" {
				n++
			}
		}
	}()
	return func() {
		t.Helper()
		eventually(t, 10*time.Second, "a refusal", func() bool {
			_, err := caller.NoteDonation(within(t, time.Second), series(id))
			return toldBy(err).reason == "noted.v1/STORE_WENT_BACK"
		})
		close(done)
		if n := <-refusals; n == 0 {
			t.Error("no call was refused")
		}
		conn.Close()
	}
}
