package bench_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// The container of the server under TestMemory.
const (
	containerBytes  = 256 << 20
	containerLimit  = .9 * 256 // MiB: Go's limit in it
	containerMillis = 1000     // of processor time a second; Go takes no fewer than two threads
)

// steps is the number of rows that TestMemory prints.
const steps = 6

// TestMemory keeps 256 callers busy at a server in a container, and prints how much memory
// it takes. Notes live for a minute, so Redis forgets as many as come. The last
// sixth of the time must take no more than the second: the first warms up. Without SOAK
// the time is too short for a judgement, and the test is one of the callers.
func TestMemory(t *testing.T) {
	span := setting(t, "SOAK", 3*time.Second)
	noted := programs(t)[0]
	noted.container = container(t)
	noted.flags = []string{"-match-window", "30s", "-arrival-window", "1m", "-retention", "1m"}
	s := soak{running: noted.start(t)}
	var callers sync.WaitGroup
	end := time.Now().Add(span)
	for caller := range most {
		callers.Go(func() {
			if err := s.keepCalling(caller, end); err != nil {
				t.Errorf("caller %d: %v", caller, err)
			}
		})
	}

	fmt.Printf("%9s %9s %6s %9s %9s %9s %11s %9s %9s\n", "until", "calls/s", "late", "RSS MB", "heap MB", "stacks MB",
		"goroutines", "files", "Redis MB")
	var medians []sample
	for step := range steps {
		began, calls, late := time.Now(), s.calls.Load(), s.late.Load()
		var samples []sample
		until := end.Add(-span / steps * time.Duration(steps-1-step))
		for len(samples) == 0 || time.Now().Before(until) {
			time.Sleep(min(5*time.Second, span/steps/10))
			samples = append(samples, s.sample())
		}
		m := medianOf(samples)
		medians = append(medians, m)
		fmt.Printf("%9s %9.0f %6d %9.1f %9.1f %9.1f %11.0f %9.0f %9.1f\n",
			(span / steps * time.Duration(step+1)).Round(time.Second),
			float64(s.calls.Load()-calls)/time.Since(began).Seconds(), s.late.Load()-late,
			m[resident], m[heap], m[stacks], m[goroutines], m[files], m[stored])
	}
	callers.Wait()
	last := medians[steps-1]
	if noted.container != nil {
		fmt.Printf("limits: %.1f MiB of the container's %d, and %.0f threads\n",
			last[limit], containerBytes>>20, last[threads])
		if math.Abs(last[limit]-containerLimit) > .1 {
			t.Errorf("Go's limit in a container of %d bytes is %.1f MiB, want nine tenths", containerBytes, last[limit])
		}
		if last[threads] > 2 {
			t.Errorf("the server takes %.0f threads in a container with one processor, want 2", last[threads])
		}
	}
	if os.Getenv("SOAK") == "" {
		return
	}
	for _, g := range growths {
		early, late := medians[1][g.column], last[g.column]
		if late > early*1.1+g.slack {
			t.Errorf("%s grew from %.1f to %.1f, want at most a tenth and %.0f more", g.name, early, late, g.slack)
		} else {
			fmt.Printf("flat: %s, %.1f and %.1f at the end\n", g.name, early, late)
		}
	}
}

// growths is what must not grow, and by how much it may swing beside a tenth.
var growths = []struct {
	column int
	name   string
	slack  float64
}{{resident, "RSS in MB", 4}, {heap, "heap in MB", 4}, {goroutines, "goroutines", 16}, {files, "open files", 16}}

// A sample is the memory of the server and of Redis at one moment.
type sample [8]float64

// The columns of a sample.
const (
	resident = iota // MB
	heap
	stacks
	goroutines
	files
	limit
	threads
	stored
)

// sampled are the metrics of the columns, and what they count in.
var sampled = map[string]struct {
	column int
	unit   float64
}{
	"process_resident_memory_bytes": {resident, 1 << 20},
	"go_memstats_heap_inuse_bytes":  {heap, 1 << 20},
	"go_memstats_stack_inuse_bytes": {stacks, 1 << 20},
	"go_goroutines":                 {goroutines, 1},
	"process_open_fds":              {files, 1},
	"go_gc_gomemlimit_bytes":        {limit, 1 << 20},
	"go_sched_gomaxprocs_threads":   {threads, 1},
}

func (s *soak) sample() (now sample) {
	response, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		s.fail(err)
	}
	defer response.Body.Close()
	found := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if wanted, is := sampled[name]; is {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.fail(err)
			}
			now[wanted.column] = n / wanted.unit
			found++
		}
	}
	if found != len(sampled) {
		s.fail(fmt.Errorf("the server has %d of %d metrics", found, len(sampled)))
	}
	for line := range strings.Lines(s.store.Tell("INFO", "memory")) {
		if told, is := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); is {
			n, err := strconv.ParseFloat(told, 64)
			if err != nil {
				s.fail(err)
			}
			now[stored] = n / (1 << 20)
		}
	}
	return now
}

func medianOf(samples []sample) (m sample) {
	for column := range m {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = s[column]
		}
		slices.Sort(values)
		m[column] = values[len(values)/2]
	}
	return m
}

// A soak is a running server and the count of its callers' calls. Late calls are those
// that had no answer in time, since the soak takes what processor time others leave.
type soak struct {
	*running
	made, calls, late atomic.Int64
}

// keepCalling makes the calls of one caller until the end. Each caller has a way of its
// own: fresh notes, pairs, questions, holds, streams, and the JSON door.
func (s *soak) keepCalling(caller int, end time.Time) error {
	ways := []func(caller, i int) (calls int, err error){
		s.fresh, s.pairs, s.questions, s.holds, s.streamed, s.atDoor, s.newcomer, s.pairs,
	}
	for time.Now().Before(end) {
		calls, err := ways[caller%len(ways)](caller, int(s.made.Add(1)))
		s.calls.Add(int64(calls))
		switch status.Code(err) {
		case codes.OK:
		case codes.DeadlineExceeded, codes.Unavailable:
			s.late.Add(1)
		default:
			return err
		}
	}
	return nil
}

func (s *soak) fresh(caller, i int) (int, error) { return 1, note(s.client(caller), alone(i), first) }

func (s *soak) pairs(caller, i int) (int, error) {
	if err := note(s.client(caller), alone(i), first); err != nil {
		return 1, err
	}
	return 2, note(s.client(caller), byWebhook(alone(i), i), duplicate)
}

func (s *soak) questions(caller, i int) (int, error) {
	ask := alone(i)
	for known := range 2 {
		response, err := s.client(caller).DonationExists(context.Background(),
			&notedv1.DonationExistsRequest{Donation: ask.GetDonation(), Message: ask.GetMessage()})
		if err == nil && response.GetExists() != (known == 1) {
			err = fmt.Errorf("%v exists: %v", ask, response.GetExists())
		}
		if err == nil && known == 0 {
			err = note(s.client(caller), ask, first)
		}
		if err != nil {
			return 1, err
		}
	}
	return 3, nil
}

// holds settles every second donation that it holds, and releases the others.
func (s *soak) holds(caller, i int) (int, error) {
	client, ctx, ask := s.client(caller), context.Background(), alone(i)
	ask.Hold = durationpb.New(time.Minute)
	response, err := client.NoteDonation(ctx, ask)
	if err != nil {
		return 1, err
	}
	if i%2 == 0 {
		_, err = client.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: response.GetReceipt()})
	} else {
		_, err = client.ReleaseDonation(ctx, &notedv1.ReleaseDonationRequest{Receipt: response.GetReceipt()})
	}
	return 2, err
}

// streamed sends a hundred requests on one stream, sixteen on the way at once.
func (s *soak) streamed(caller, i int) (int, error) {
	const requests, window = 100, 16
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // a stream that is left after an error would stay
	stream, err := s.client(caller).NoteDonations(ctx)
	if err != nil {
		return 0, err
	}
	sent := make(chan struct{}, window)
	go func() {
		defer stream.CloseSend()
		for n := range requests {
			select {
			case sent <- struct{}{}:
			case <-stream.Context().Done():
				return
			}
			if stream.Send(&notedv1.NoteDonationsRequest{Request: inStream(alone(i), n)}) != nil {
				return // Recv has the error
			}
		}
	}()
	for n := 0; ; n++ {
		answer, err := stream.Recv()
		if err == io.EOF && n == requests {
			return n, nil
		} else if err != nil {
			return n, err
		}
		if told := answer.GetError(); told != nil {
			return n, status.Error(codes.Code(told.GetCode()), told.GetMessage())
		}
		want := duplicate
		if n == 0 {
			want = first
		}
		if got := answer.GetResponse().GetVerdict(); got != want {
			return n, fmt.Errorf("the streamed answer %d is %v, want %v: %v", n, got, want, answer)
		}
		<-sent
	}
}

// inStream is the n-th request of a stream: all but the first tell of the same donation.
func inStream(r *notedv1.NoteDonationRequest, n int) *notedv1.NoteDonationRequest {
	if n > 0 {
		r.Message = &notedv1.Message{Channel: "webhook", Id: fmt.Sprintf("WH-%s-%d", r.GetMessage().GetId(), n)}
	}
	return r
}

var doorClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: most}, Timeout: time.Minute}

func (s *soak) atDoor(_, i int) (int, error) {
	body, err := protojson.Marshal(alone(i))
	if err != nil {
		return 0, err
	}
	return 1, post(doorClient, "http://"+s.door+notedv1.DedupeService_NoteDonation_FullMethodName, "application/json",
		body, `"VERDICT_FIRST"`)
}

// newcomer makes ten calls over a connection of its own.
func (s *soak) newcomer(_, i int) (int, error) {
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	client := notedv1.NewDedupeServiceClient(conn)
	for n := range 10 {
		want := duplicate
		if n == 0 {
			want = first
		}
		if err := note(client, inStream(alone(i), n), want); err != nil {
			return n, err
		}
	}
	return 10, nil
}

// container makes the control groups of a container, and returns the files that take the
// process id of its first process. It returns none where they cannot be made, which needs
// root: then the server has the whole machine.
func container(t *testing.T) (procs []string) {
	// The weight is that of a few processes at nice 19: the server takes what is left.
	second := map[string]string{
		"memory.max": strconv.Itoa(containerBytes), "cpu.max": fmt.Sprint(containerMillis*100, 100_000),
		"cpu.weight": "5",
	}
	memory := map[string]string{"memory.limit_in_bytes": strconv.Itoa(containerBytes)}
	processor := map[string]string{
		"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": strconv.Itoa(containerMillis * 100), "cpu.shares": "100",
	}
	for _, hierarchies := range []map[string]map[string]string{
		{"/sys/fs/cgroup": second},
		{"/sys/fs/cgroup/memory": memory, "/sys/fs/cgroup/cpu": processor}, // version 1
	} {
		procs = nil
		for root, settings := range hierarchies {
			group := filepath.Join(root, "noted-bench-"+strconv.Itoa(os.Getpid()))
			if err := limited(t, group, settings); err != nil {
				t.Logf("no control group can be made in %s: %v", root, err)
				break
			}
			procs = append(procs, filepath.Join(group, "cgroup.procs"))
		}
		if len(procs) == len(hierarchies) {
			return procs
		}
	}
	return nil
}

// limited makes a control group with these settings.
func limited(t *testing.T, group string, settings map[string]string) error {
	if err := os.Mkdir(group, 0o700); err != nil {
		return err
	}
	t.Cleanup(func() { os.Remove(group) })
	for name, value := range settings {
		file, err := os.OpenFile(filepath.Join(group, name), os.O_WRONLY, 0) // creates none
		if err != nil {
			return err
		}
		_, err = file.WriteString(value)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}
