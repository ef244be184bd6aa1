package main

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// TestLameDuck asks a noted to stop that has an hour for it. Only load balancers notice
// it: each call is answered, on an old connection and on new ones, at both doors, and
// also after the store has been away. A second signal ends it at once.
func TestLameDuck(t *testing.T) {
	redis := redistest.Start(t)
	command, addresses, printed := serving(t, "-redis", redis.URL(), "-lame-duck", "1h")
	admin := "http://" + addresses["admin_listen"]
	old, err := grpc.NewClient(addresses["listen"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	called := 0
	note := func(conn grpc.ClientConnInterface) error {
		called++
		_, err := notedv1.NewDedupeServiceClient(conn).NoteDonation(t.Context(), &notedv1.NoteDonationRequest{
			Donation: &notedv1.Donation{SeriesId: "I-" + strconv.Itoa(called)},
		})
		return err
	}
	// call makes a call through each door, and over a connection of its own.
	call := func(when string) {
		t.Helper()
		conn, err := grpc.NewClient(addresses["listen"], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for which, conn := range map[string]grpc.ClientConnInterface{"an old": old, "a new": conn} {
			if err := note(conn); err != nil {
				t.Errorf("%s, over %s connection: %v\n%s", when, which, err, printed)
			}
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Post("http://"+addresses["http_listen"]+"/noted.v1.DedupeService/NoteDonation",
			"application/json", strings.NewReader(`{"donation":{"series_id":"I-json"}}`))
		if err != nil {
			t.Fatalf("%s, as JSON: %v\n%s", when, err, printed)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s, as JSON: %s", when, response.Status)
		}
	}
	call("before")

	command.Process.Signal(syscall.SIGTERM)
	stopping := func() bool {
		code, text := page(t, admin+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "stopping")
	}
	soon(t, "/readyz says that it stops", stopping)
	call("while it stops")
	r, err := healthpb.NewHealthClient(old).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health says %v, %v; want NOT_SERVING", r, err)
	}

	// The store is still looked at, and no look makes the server ready again.
	up := func(want string) func() bool {
		return func() bool {
			_, text := page(t, admin+"/metrics")
			return strings.Contains(text, "\nnoted_store_up "+want+"\n")
		}
	}
	redis.Stop()
	soon(t, "it sees that the store is away", up("0"))
	redis.Restart()
	soon(t, "it sees that the store is back", up("1"))
	call("after the store was away")
	if !stopping() {
		t.Error("/readyz does not say any more that it stops")
	}

	command.Process.Signal(syscall.SIGTERM)
	defer time.AfterFunc(60*time.Second, func() { command.Process.Kill() }).Stop() // rather than wait for an hour
	command.Wait()
	if got := command.ProcessState.String(); !strings.Contains(got, "terminated") {
		t.Errorf("a second signal: %s, want the signal to end it", got)
	}
}

// TestLameDuckEnds wants a noted to drain once its time is over, and to close its doors.
func TestLameDuckEnds(t *testing.T) {
	command, addresses, printed := serving(t, "-dev", "-lame-duck", "100ms")
	command.Process.Signal(syscall.SIGTERM)
	defer time.AfterFunc(60*time.Second, func() { command.Process.Kill() }).Stop() // rather than wait for good
	if err := command.Wait(); err != nil {
		t.Errorf("%v, want exit 0\n%s", err, printed)
	}
	if conn, err := net.Dial("tcp", addresses["listen"]); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	if !strings.Contains(printed.String(), "lame_duck_seconds=0.1 drain_seconds=30") {
		t.Errorf("it does not tell how long it takes:\n%s", printed)
	}
}

// page returns the text of a page of the admin listener.
func page(t *testing.T, url string) (code int, text string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
