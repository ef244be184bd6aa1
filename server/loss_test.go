package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

func postTo(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// The server reports an emptied store once, in log, metrics and health, and goes on
// serving. An acknowledgement ends the report.
func TestLossIsReported(t *testing.T) {
	redis := redistest.Start(t)
	var log lockedBuffer
	n := start(t, servertest.Options{Redis: redis.URL(), Log: &log})
	n.mustNote(t, series("I-1"))
	if code, body := postTo(
		t,
		"http://"+n.AdminAddr()+"/acknowledge?epoch=x",
	); code != 200 ||
		!strings.Contains(body, "nothing is lost") {
		t.Errorf("acknowledging nothing: %d %s", code, body)
	}
	redis.Do("FLUSHALL")
	began := time.Now()
	eventually(t, 5*time.Second, "noticed", func() bool { return n.metric(t, "noted_store_went_back") == 1 })
	t.Logf("noticed after %v", time.Since(began))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("noticed after %v", took)
	}
	if got := n.metric(t, "noted_store_went_back_total"); got != 1 {
		t.Errorf("noted_store_went_back_total = %v, want 1", got)
	}
	ready := get(t, "http://"+n.AdminAddr()+"/readyz")
	if !strings.HasPrefix(ready, "200\nready (since ") || !strings.Contains(ready, "emptied") {
		t.Errorf("/readyz = %q, want ready and the loss", ready)
	}
	n.mustNote(t, series("I-2"))
	eventually(
		t,
		5*time.Second,
		"the gauge of the next look",
		func() bool { return n.metric(t, "noted_store_up") == 1 },
	)
	if got := strings.Count(log.String(), "gone back in time: donations"); got != 1 {
		t.Errorf("the log tells of it %d times, want once", got)
	}
	_, epoch, _ := strings.Cut(ready, "epoch=")
	epoch, _, _ = strings.Cut(epoch, " ")
	if code, body := postTo(
		t,
		"http://"+n.AdminAddr()+"/acknowledge",
	); code != http.StatusConflict ||
		!strings.Contains(body, epoch) {
		t.Errorf("acknowledging without the epoch: %d %s", code, body)
	}
	if code, body := postTo(t, "http://"+n.AdminAddr()+"/acknowledge?epoch="+epoch); code != 200 {
		t.Errorf("acknowledging %s: %d %s", epoch, code, body)
	}
	if got := n.metric(t, "noted_store_went_back"); got != 0 {
		t.Errorf("acknowledged, and noted_store_went_back = %v", got)
	}
	if ready := get(t, "http://"+n.AdminAddr()+"/readyz"); ready != "200\nready\n" {
		t.Errorf("acknowledged, and /readyz = %q", ready)
	}
}

// With RefuseAfterLoss the server answers no call from a store that has lost notes, until
// an operator acknowledges the loss. Nor does it answer from a store of another epoch.
func TestLossIsRefused(t *testing.T) {
	redis := redistest.Start(t)
	var config server.Config
	s := startConfigured(t, func(c *server.Config) {
		c.Redis, c.RefuseAfterLoss, c.Epoch = redis.URL(), true, "anotherone"
		config = *c
	})
	caller := s.as(t, nil, "")

	want := told{code: codes.Unavailable, reason: "noted.v1/STORE_WENT_BACK", retry: true}
	for _, round := range []string{"started on another epoch than was expected", "after a restart without data"} {
		if round != "started on another epoch than was expected" {
			redis.Kill()
			redis.Restart()
		}
		eventually(t, 10*time.Second, round+": refused", func() bool {
			response, err := caller.NoteDonation(within(t, time.Second), series("I-1"))
			if err == nil {
				t.Fatalf("%s: answered %v", round, response)
			}
			return toldBy(err) == want
		})
		var ready string
		eventually(t, 5*time.Second, round+": not ready", func() bool {
			ready = get(t, "http://"+s.AdminAddr()+"/readyz")
			return strings.HasPrefix(ready, "503\nnot ready: ") && strings.Contains(ready, "/acknowledge?epoch=")
		})
		_, epoch, _ := strings.Cut(ready, "epoch=")
		epoch, _, _ = strings.Cut(epoch, " ")
		if code, body := postTo(t, "http://"+s.AdminAddr()+"/acknowledge?epoch="+epoch); code != 200 {
			t.Fatalf("acknowledging %s: %d %s", epoch, code, body)
		}
		if _, err := caller.NoteDonation(within(t, time.Second), series("I-1")); err != nil {
			t.Errorf("%s, acknowledged: %v", round, err)
		}
		eventually(
			t,
			5*time.Second,
			round+": ready",
			func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200") },
		)
	}
	config.AdminListen = server.Off
	if _, err := server.New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "-admin-listen") {
		t.Errorf("refusing without a place to acknowledge: %v", err)
	}
}

// An answer that the replicas lack has a reason of its own.
func TestDurabilityNotReached(t *testing.T) {
	redis := redistest.Start(t)
	s := startConfigured(t, func(c *server.Config) {
		c.Redis, c.Replicas, c.ReplicasTimeout = redis.URL(), 1, 20*time.Millisecond
	})
	caller := s.as(t, nil, "")
	for range 2 {
		_, err := caller.NoteDonation(within(t, time.Second), series("I-1"))
		if got, want := toldBy(
			err,
		), (told{code: codes.Unavailable, reason: "noted.v1/DURABILITY_NOT_REACHED", retry: true}); got != want {
			t.Errorf("NoteDonation = %+v (%v), want %+v", got, err, want)
		}
	}
}
