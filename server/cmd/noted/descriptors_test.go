package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// Connections for which the process has no descriptors wait and cost it nothing.
// Connected callers are still answered, health and log name the fault and the remedy, and
// new callers are served once there is room again.
func TestDescriptorsRunOut(t *testing.T) {
	command, addresses, printed := serving(t, "-redis", redistest.Start(t).URL())
	there, err := grpc.NewClient(addresses["listen"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	note := func(conn *grpc.ClientConn, series string) error {
		_, err := notedv1.NewDedupeServiceClient(conn).
			NoteDonation(t.Context(), &notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: series}})
		return err
	}
	if err := note(there, "I-1"); err != nil {
		t.Fatal(err)
	}
	admin := &http.Client{
		Transport: &http.Transport{MaxConnsPerHost: 1},
		Timeout:   10 * time.Second,
	} // one connection, which stays open
	get := func(path string) string {
		t.Helper()
		response, err := admin.Get("http://" + addresses["admin_listen"] + path)
		if err != nil {
			t.Fatalf("asking for %s: %v\n%s", path, err, printed)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintln(response.StatusCode) + string(body)
	}
	soon(t, "ready", func() bool { return strings.HasPrefix(get("/readyz"), "200\n") })

	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var may unix.Rlimit
	if err := unix.Prlimit(command.Process.Pid, unix.RLIMIT_NOFILE, nil, &may); err != nil {
		t.Fatal(err)
	}
	may.Cur = uint64(len(open) + 20)
	if err := unix.Prlimit(command.Process.Pid, unix.RLIMIT_NOFILE, &may, nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var connections []net.Conn
	for range 100 {
		conn, err := net.Dial("tcp", addresses["listen"]) // the kernel accepts it
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, http2.ClientPreface)
		http2.NewFramer(conn, nil).WriteSettings()
		connections = append(connections, conn)
	}
	soon(t, "/readyz says what to do", func() bool {
		got := get("/readyz")
		return strings.HasPrefix(got, "503\n") && strings.Contains(got, "ulimit -n") &&
			strings.Contains(got, "-max-connections")
	})
	checked, err := healthpb.NewHealthClient(there).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || checked.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v, want NOT_SERVING", checked, err)
	}
	if err := note(there, "I-2"); err != nil {
		t.Errorf("a connected caller: %v", err)
	}
	if got := printed.String(); !strings.Contains(got, `"a connection could not be taken"`) ||
		!strings.Contains(got, "LimitNOFILE") {
		t.Errorf("the log does not say what to do:\n%s", got)
	}
	failures := func() float64 {
		found := regexp.MustCompile(`(?m)^noted_accept_failures_total (\S+)$`).FindStringSubmatch(get("/metrics"))
		if found == nil {
			t.Fatal("the metrics do not have noted_accept_failures_total")
		}
		n, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	soon(t, "it has tried for a while", func() bool { return time.Since(began) > 3*time.Second && failures() > 0 })
	// It tries again after 5 ms, 10 ms and so on up to a second. Without pauses there
	// would be many thousands of tries.
	if got, most := failures(), 20+3*time.Since(began).Seconds(); got > most {
		t.Errorf("it has tried %v times in %v to take a connection, want at most %.0f", got, time.Since(began), most)
	}

	for _, conn := range connections {
		conn.Close()
	}
	newcomer, err := grpc.NewClient(addresses["listen"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer newcomer.Close()
	soon(t, "a new caller is served", func() bool { return note(newcomer, "I-3") == nil })
	soon(t, "ready again", func() bool { return strings.HasPrefix(get("/readyz"), "200\n") })
	command.Process.Signal(syscall.SIGTERM)
	defer time.AfterFunc(60*time.Second, func() { command.Process.Kill() }).Stop() // instead of waiting forever
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit 0\n%s", err, printed)
	}
}

func soon(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// The log warns at the start if callers may have more connections than the process can
// open.
func TestDescriptorsAreFew(t *testing.T) {
	_, _, printed := serving(t, "-redis", redistest.Start(t).URL(), "-max-connections", "2000000000")
	if got := printed.String(); !strings.Contains(
		got,
		`"level":"WARN","msg":"callers may have more connections than this process may open; raise its limit (ulimit -n`,
	) {
		t.Errorf("the log does not warn:\n%s", got)
	}
	_, _, printed = serving(t, "-redis", redistest.Start(t).URL(), "-max-connections", "1")
	if got := printed.String(); strings.Contains(got, "than this process may open") {
		t.Errorf("the log warns although there are enough descriptors:\n%s", got)
	}
}
