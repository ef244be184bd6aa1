package bench_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	_ "net/http/pprof" // the bare server shows its allocations as noted does
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// most is the largest number of callers.
const most = 256

// A subject is a program to measure, and how to run it.
type subject struct {
	name, program string
	flags         []string // further ones
	container     []string // files that take the process id of noted; nil without a container
	replicas      int
	gateway       bool
	inboxes       bool
	others        func(r *running) error // starts a program other than noted
	load          func(r *running) load  // for a program other than noted
}

func (s subject) replicated() subject    { s.replicas = 1; return s }
func (s subject) behindGateway() subject { s.gateway = true; return s }
func (s subject) inbox() subject         { s.inboxes = true; return s }

// A running subject has a Redis of its own.
type running struct {
	t             *testing.T
	name          string
	store         *redistest.Server
	addr, admin   string
	door, gateway string
	conns         []*grpc.ClientConn
	processes     []string // the server's, and the gateway's
}

func (r *running) fail(err error) {
	r.t.Helper()
	r.t.Fatalf("%s: %v", r.name, err)
}

func (r *running) client(caller int) notedv1.DedupeServiceClient {
	return notedv1.NewDedupeServiceClient(r.conns[caller%len(r.conns)])
}

func (s *subject) start(t *testing.T) *running {
	store := redistest.Start(t)
	if s.replicas > 0 {
		redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(store.Port()), "--repl-diskless-sync-delay", "0")
	}
	for attempt := 1; ; attempt++ { // another process may take a port between the look and the start
		r := &running{
			t: t, name: s.name, store: store,
			addr: freeAddress(), admin: freeAddress(), door: freeAddress(), gateway: freeAddress(),
		}
		err := s.startOn(r)
		if err == nil {
			return r
		} else if attempt == 5 {
			r.fail(err)
		}
	}
}

func (s *subject) startOn(r *running) error {
	start := s.others
	if start == nil {
		start = func(r *running) error {
			program, flags := s.program, append([]string{
				"-redis", r.store.URL(), "-listen", r.addr, "-admin-listen", r.admin, "-http-listen", r.door,
				"-replicas", strconv.Itoa(s.replicas), "-log-level", "warn",
			}, s.flags...)
			if s.container != nil { // the shell enters it, and becomes the program
				enter := ""
				for _, procs := range s.container {
					enter += "echo $$ >" + procs + " && "
				}
				program, flags = "sh", append([]string{"-c", enter + `exec "$0" "$@"`, program}, flags...)
			}
			return r.run("http://"+r.admin+"/readyz", nil, program, flags...)
		}
	}
	if err := start(r); err != nil {
		return err
	}
	for range connections {
		conn, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		r.t.Cleanup(func() { conn.Close() })
		r.conns = append(r.conns, conn)
	}
	if s.gateway {
		return r.startGateway(s.inboxes)
	}
	return nil
}

// run starts a program whose processor time counts, and waits until it is ready.
func (r *running) run(ready string, env []string, program string, args ...string) error {
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), env...)
	log, err := os.Create(filepath.Join(r.t.TempDir(), "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	ended, err := redistest.Guarded(command)
	if err != nil {
		return err
	}
	r.processes = append(r.processes, strconv.Itoa(command.Process.Pid))
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("%s said:\n%s", program, said())
		}
		command.Process.Kill()
		<-ended
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get(ready)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(response.Status)
		}
		select {
		case <-ended:
			return fmt.Errorf("%s has ended: %s", program, said())
		default:
		}
		if time.Now().After(deadline) {
			command.Process.Kill()
			return fmt.Errorf("%s is not ready: %w: %s", program, err, said())
		}
	}
}

const account = "donations@example.org"

// startGateway starts a gateway before the server. PayPal and the downstream are the load
// generator's.
func (r *running) startGateway(inbox bool) error {
	payPal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		io.Copy(io.Discard, q.Body)
		io.WriteString(w, "VERIFIED")
	}))
	r.t.Cleanup(payPal.Close)
	downstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		io.Copy(io.Discard, q.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	r.t.Cleanup(downstream.Close)
	dir, admin := r.t.TempDir(), freeAddress()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("whsec_"+strings.Repeat("QUJD", 11)+"\n"), 0o600); err != nil {
		return err
	}
	args := []string{
		"-listen", r.gateway, "-admin-listen", admin, "-noted", r.addr, "-ledger", "paypal-live", "-accounts", account,
		"-ipn-verify-url", payPal.URL, "-forward-to", downstream.URL, "-forward-secret-file", secret,
		"-log-level", "error",
	}
	program := build(r.t, "../../client/cmd/noted-gateway")
	if inbox {
		key, err := exec.Command(program, "inbox-key").Output()
		if err != nil {
			return err
		}
		keyFile := filepath.Join(dir, "key")
		if err := os.WriteFile(keyFile, key, 0o600); err != nil {
			return err
		}
		args = append(args, "-inbox", "sqlite://"+filepath.Join(dir, "inbox.db"), "-inbox-key-file", keyFile)
	}
	return r.run("http://"+admin+"/readyz", nil, program, args...)
}

func freeAddress() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(redistest.FreePort())) }

// build builds a main of this tree.
func build(t *testing.T, main string) string {
	path := filepath.Join(t.TempDir(), filepath.Base(main))
	if output, err := exec.Command("go", "build", "-o", path, main).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", main, err, output)
	}
	return path
}

// spent returns the processor time of the server's processes and of Redis until now.
func (r *running) spent() (server, redis time.Duration) {
	for _, pid := range r.processes {
		server += r.processorTime(pid)
	}
	return server, r.processorTime(r.store.PID())
}

// processorTime is user and system time, which Linux counts in hundredths of a second.
func (r *running) processorTime(pid string) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%s/stat", pid))
	if err != nil {
		r.fail(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold spaces
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		r.fail(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

var mallocsLine = regexp.MustCompile(`(?m)^# Mallocs = (\d+)$`)

// mallocs returns how many times the server has allocated until now.
func (r *running) mallocs() float64 {
	response, err := http.Get("http://" + r.admin + "/debug/pprof/heap?debug=1")
	if err != nil {
		r.fail(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.fail(err)
	}
	found := mallocsLine.FindSubmatch(text)
	if found == nil {
		r.fail(errors.New("the server's heap profile does not have its allocations"))
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		r.fail(err)
	}
	return n
}

// bareVariable makes this test binary the bare server: its addresses, and Redis's.
const bareVariable = "BENCH_BARE"

func TestMain(m *testing.M) {
	if told := os.Getenv(bareVariable); told != "" {
		addresses := strings.Split(told, ",")
		fmt.Fprintln(os.Stderr, serveBare(addresses[0], addresses[1], addresses[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// bare is the least that a service of this kind needs: grpc-go, and one script for each
// call, which does nothing.
func bare() subject {
	return subject{name: "bare", others: func(r *running) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return r.run("http://"+r.admin+"/debug/pprof/",
			[]string{bareVariable + "=" + r.addr + "," + r.admin + "," + r.store.Addr()}, self)
	}}
}

type bareServer struct {
	notedv1.UnimplementedDedupeServiceServer
	script string
	asked  chan asked
}

type asked struct {
	command *redis.Cmd
	done    chan struct{}
}

func serveBare(addr, admin, store string) error {
	client := redis.NewClient(&redis.Options{Addr: store})
	script, err := client.ScriptLoad(context.Background(), "return ARGV[1]").Result()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	bare := bareServer{script: script, asked: make(chan asked, most)}
	for range 2 {
		go bare.pipe(client)
	}
	server := grpc.NewServer(grpc.NumStreamWorkers(128))
	healthpb.RegisterHealthServer(server, health.NewServer())
	notedv1.RegisterDedupeServiceServer(server, bare)
	ended := make(chan error, 2)
	go func() { ended <- http.ListenAndServe(admin, nil) }()
	go func() { ended <- server.Serve(listener) }()
	return <-ended
}

// pipe sends the waiting calls in one pipeline.
func (s bareServer) pipe(client *redis.Client) {
	for next := range s.asked {
		batch := []asked{next}
		for more := true; more; {
			select {
			case also := <-s.asked:
				batch = append(batch, also)
			default:
				more = false
			}
		}
		pipe := client.Pipeline()
		for _, a := range batch {
			_ = pipe.Process(context.Background(), a.command)
		}
		_, _ = pipe.Exec(context.Background()) // each command has its error
		for _, a := range batch {
			close(a.done)
		}
	}
}

// NoteDonation answers FIRST to everything.
func (s bareServer) NoteDonation(
	ctx context.Context, r *notedv1.NoteDonationRequest,
) (*notedv1.NoteDonationResponse, error) {
	a := asked{
		redis.NewCmd(ctx, "evalsha", s.script, 1, r.GetDonation().GetSeriesId(), r.GetMessage().GetId()),
		make(chan struct{}),
	}
	s.asked <- a
	<-a.done
	return &notedv1.NoteDonationResponse{Verdict: first}, a.command.Err()
}

// ratelimit is the relative: a gRPC rate limiter over Redis, with the settings of its
// manual for many calls a second.
func ratelimit(program string) subject {
	s := subject{name: "relative", load: shouldRateLimit}
	s.others = func(r *running) error {
		dir := r.t.TempDir()
		config := filepath.Join(dir, "bench", "config")
		rule := "domain: bench\ndescriptors:\n  - key: series\n    rate_limit: {unit: day, requests_per_unit: 1000}\n"
		if err := errors.Join(os.MkdirAll(config, 0o700),
			os.WriteFile(filepath.Join(config, "bench.yaml"), []byte(rule), 0o600)); err != nil {
			return err
		}
		_, grpcPort, _ := net.SplitHostPort(r.addr)
		_, debugPort, _ := net.SplitHostPort(r.admin)
		_, port, _ := net.SplitHostPort(r.door)
		return r.run("http://"+r.door+"/healthcheck", []string{
			"USE_STATSD=false", "LOG_LEVEL=error", "REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + r.store.Addr(),
			"REDIS_PIPELINE_WINDOW=150us", "RUNTIME_ROOT=" + dir, "RUNTIME_SUBDIRECTORY=bench", "HOST=127.0.0.1",
			"PORT=" + port, "GRPC_HOST=127.0.0.1", "GRPC_PORT=" + grpcPort, "DEBUG_HOST=127.0.0.1",
			"DEBUG_PORT=" + debugPort,
		}, program)
	}
	return s
}
