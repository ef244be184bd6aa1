package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/gen/go/noted/v1/notedv1connect"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// The JSON door too closes an old connection, after an answer. Its caller opens another
// and notices nothing.
func TestConnectionAgeAtTheDoor(t *testing.T) {
	s := startConfigured(t, func(c *server.Config) {
		c.HTTPListen = "127.0.0.1:0"
		c.Age(200*time.Millisecond, time.Second)
	})
	for name, client := range map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{}}, "HTTP/2": h2c(t)} {
		t.Run(name, func(t *testing.T) {
			connections := 0
			ctx := httptrace.WithClientTrace(
				within(t, 20*time.Second),
				&httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
					if !c.Reused {
						connections++
					}
				}},
			)
			call, calls := overJSON(client, "http://"+s.HTTPAddr()), 0
			for ; connections < 3; calls++ {
				if _, err := call(ctx, series("I-1")); err != nil {
					t.Fatalf("call %d, on connection %d: %v", calls, connections, err)
				}
			}
			if calls < 6 {
				t.Errorf("%d calls took %d connections, want one to be used until it is old", calls, connections)
			}
		})
	}
}

// While the server drains, calls in flight at the door finish.
func TestDrainAtTheDoor(t *testing.T) {
	redis := redistest.Start(t)
	n := start(t, servertest.Options{Redis: redis.URL(), MaxDeadline: time.Minute})
	n.mustNote(t, series("I-0"))
	redis.Pause()
	type answer struct {
		name     string
		response proto.Message
		err      error
	}
	answers := make(chan answer)
	ways := waysTo(t, n)
	delete(ways, "gRPC")
	delete(ways, "gRPC at the door")
	for name, call := range ways {
		go func() {
			response, err := call(
				within(t, time.Minute),
				series("I-"+strings.NewReplacer(" ", "", ",", "").Replace(name)),
			)
			answers <- answer{name, response, err}
		}()
	}
	eventually(t, 10*time.Second, "all calls are in flight", func() bool {
		return n.metric(t, "grpc_server_started_total", `grpc_method="NoteDonation"`) == float64(1+len(ways))
	})
	addr := n.HTTPAddr()
	var stopped sync.WaitGroup
	stopped.Go(n.Stop)
	eventually(t, 5*time.Second, "no new connection is taken", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	redis.Resume()
	for range ways {
		if a := <-answers; a.err != nil ||
			a.response.(*notedv1.NoteDonationResponse).Verdict != notedv1.Verdict_VERDICT_FIRST {
			t.Errorf("in flight over %s: %v, %v, want FIRST", a.name, a.response, a.err)
		}
	}
	stopped.Wait()
}

// Calls that do not finish at the door within the drain are cut off.
func TestDrainAtTheDoorIsBounded(t *testing.T) {
	redis := redistest.Start(t)
	config := quiet(redis.URL())
	config.Drain = 200 * time.Millisecond
	config.MaxDeadline = time.Minute
	config.HTTPListen = "127.0.0.1:0"
	var log lockedBuffer
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := server.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	call := overJSON(http.DefaultClient, "http://"+s.HTTPAddr())
	if _, err := call(t.Context(), series("I-1")); err != nil {
		t.Fatal(err)
	}
	redis.Pause()
	answered := make(chan error, 1)
	reached := make(chan struct{})
	go func() {
		conn, err := net.Dial("tcp", s.HTTPAddr())
		if err != nil {
			answered <- err
			return
		}
		defer conn.Close()
		const body = `{"donation":{"series_id":"I-2"}}`
		fmt.Fprintf(
			conn,
			"POST %s HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nExpect: "+
				"100-continue\r\nContent-Length: %d\r\n\r\n",
			notedv1connect.DedupeServiceNoteDonationProcedure,
			len(body),
		)
		conn.Read(make([]byte, 100)) // after "100 Continue" the call runs
		close(reached)
		fmt.Fprint(conn, body)
		_, err = conn.Read(make([]byte, 100))
		answered <- err
	}()
	<-reached
	began := time.Now()
	stop()
	mustEnd(t, served)
	if took := time.Since(began); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("stopping took %v, want about 200ms", took)
	}
	if err := <-answered; err == nil {
		t.Error("the call that was cut off was answered")
	}
	if _, after, _ := strings.Cut(
		log.String(),
		"msg=stopped",
	); !strings.Contains(log.String(), `msg="finished call"`) ||
		strings.Contains(after, "finished call") {
		t.Errorf("the server said that it had stopped while a call still ran:\n%s", log.String())
	}
}
