package gateway_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// mayMount says whether this process may mount a disk. If it may not, the test runs again
// in a process with a namespace of its own, which may. A failure there fails the test.
func mayMount(t *testing.T) bool {
	t.Helper()
	const elsewhere = "MOUNTS_IN_A_NAMESPACE"
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k")
	if err == nil {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH) // nothing is in it
		return true
	}
	if !errors.Is(err, syscall.EPERM) || os.Getenv(elsewhere) != "" {
		t.Fatalf("mounting a small disk: %v; run the test as root, or where a user may make namespaces", err)
	}
	const capSysAdmin = 21
	itself := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
	}
	again := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	again.Env = append(os.Environ(), elsewhere+"=yes")
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: itself(os.Getuid()), GidMappings: itself(os.Getgid()),
		AmbientCaps: []uintptr{capSysAdmin}, Pdeathsig: syscall.SIGKILL,
	}
	if output, err := again.CombinedOutput(); err != nil || !strings.Contains(string(output), "PASS") {
		t.Fatalf("in a namespace: %v\n%s", err, output)
	}
	return false
}

// While the disk is full PayPal hears 503, and each message that was answered 200 before
// is still there. When there is room again everything goes on.
func TestInboxOnAFullDisk(t *testing.T) {
	if !mayMount(t) {
		return
	}
	for name, open := range map[string]func(*testing.T) (url string, room func()){
		"sqlite":     sqliteOnASmallDisk,
		"postgresql": postgresOnASmallDisk,
	} {
		t.Run(name, func(t *testing.T) { onAFullDisk(t, open) })
	}
}

// smallDisk mounts a disk; room makes it large.
func smallDisk(t *testing.T, size string) (dir string, room func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "noted-disk-") // T.TempDir is closed to the user of PostgreSQL
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // else the folder is left
	return dir, func() {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
			t.Fatal(err)
		}
	}
}

func sqliteOnASmallDisk(t *testing.T) (url string, room func()) {
	dir, room := smallDisk(t, "2m")
	return "sqlite://" + filepath.Join(dir, "inbox.db"), room
}

// A PostgreSQL that cannot write its log ends. The operator starts it when there is room.
func postgresOnASmallDisk(t *testing.T) (url string, room func()) {
	dir, more := smallDisk(t, "64m")
	postgres := inboxtest.StartPostgresOn(t, dir)
	const left = 6 << 20 // for a few messages
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	ballast := make([]byte, max(0, int64(disk.Bavail)*disk.Bsize-left))
	if err := os.WriteFile(filepath.Join(dir, "ballast"), ballast, 0o600); err != nil {
		t.Fatal(err)
	}
	return postgres.URL(), func() {
		t.Helper()
		more()
		postgres.Stop()
		if err := postgres.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// workedOff lets time pass until n messages are done, within an hour. The clock jumps only
// while none is due or in work: by a jump a lease would run out, and the hold of the try
// would let the next one wait, with a pause that is long by then.
func workedOff(t *testing.T, box *inbox.Inbox, now *movedClock, n int) {
	t.Helper()
	began := now.time()
	eventually(t, fmt.Sprintf("%d messages are done", n), func() bool {
		busy := false
		for _, m := range messages(t, box, inbox.Filter{States: []inbox.State{inbox.Waiting, inbox.Working}}) {
			busy = busy || m.State == inbox.Working || !m.NextAt.After(now.time())
		}
		done := len(messages(t, box, inbox.Filter{States: []inbox.State{inbox.Done}}))
		if done < n && !busy {
			now.pass(10 * time.Minute)
		}
		return done == n
	})
	if took := now.time().Sub(began); took > time.Hour {
		t.Errorf("the messages took %v, want at most an hour", took)
	}
}

func onAFullDisk(t *testing.T, open func(*testing.T) (url string, room func())) {
	url, room := open(t)
	h, now := inboxHarness(t, func(c *gateway.Config, _ *servertest.Options) { c.InboxURL = url })
	h.downstream.refusing(
		func(w http.ResponseWriter, _ *http.Request, _ event.Event) bool { w.WriteHeader(500); return true },
	)
	large := payment("I-LARGE").fields()
	kept, last := 0, ""
	var refused paypaltest.Delivery
	for i := range 1000 {
		large.Set("txn_id", "9LARGE"+string(rune('A'+i/26))+string(rune('A'+i%26)))
		large.Set("memo", string(make([]byte, 60<<10)))
		message := h.payPal.IPN(large)
		status, reason := h.deliver(message)
		if status == http.StatusOK {
			kept++
			continue
		}
		if refused, last = message, reason; status != 503 {
			t.Fatalf("got %d %s, want 503", status, reason)
		}
		break
	}
	if kept == 0 || last != "inbox" {
		t.Fatalf("%d messages were kept, then %q", kept, last)
	}
	t.Logf("%d messages fill the disk", kept)
	room()
	h.downstream.refusing(nil)
	h.mustTake(refused)
	box := h.box()
	if all := messages(t, box, inbox.Filter{}); len(all) != kept+1 {
		t.Errorf("the inbox has %d messages, want %d", len(all), kept+1)
	}
	workedOff(t, box, now, kept+1)
	if events := h.downstream.got(); len(events) != kept+1 {
		t.Errorf("the downstream got %d events, want %d", len(events), kept+1)
	}
}
