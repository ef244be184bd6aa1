package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// GOMEMLIMIT holds although main makes collections rarer, and the log warns if callers'
// connections alone can exceed it.
func TestMemoryLimit(t *testing.T) {
	redis := redistest.Start(t)
	t.Setenv("GOMEMLIMIT", "64MiB")
	t.Setenv("GOGC", "") // so that main sets it
	for most, warns := range map[string]bool{"4096": true, "100": false} {
		_, addresses, printed := serving(t, "-redis", redis.URL(), "-max-connections", most, "-log-level", "debug")
		metrics := metricsAt(t, addresses)
		for _, want := range []string{"\ngo_gc_gomemlimit_bytes 6.7108864e+07\n", "\ngo_gc_gogc_percent 400\n"} {
			if !strings.Contains(metrics, want) {
				t.Errorf("the metrics do not have %q", want)
			}
		}
		warned := strings.Contains(
			printed.String(),
			`"level":"WARN","msg":"callers' connections alone can take more memory than GOMEMLIMIT grants; set a lower -max-connections`,
		)
		if warned != warns || !strings.Contains(printed.String(), `"GOMEMLIMIT":"64.0 MiB"`) {
			t.Errorf("with -max-connections %s the log warns: %v, want %v\n%s", most, warned, warns, printed)
		}
	}
}

// In a container noted sets Go's limit to nine tenths of the container's memory.
func TestMemoryLimitOfTheContainer(t *testing.T) {
	const limit = "134217728" // 128 MiB
	setGroup(t, map[string]map[string]string{
		"/sys/fs/cgroup":        {"memory.max": limit}, // version 2
		"/sys/fs/cgroup/memory": {"memory.limit_in_bytes": limit},
	})
	t.Setenv("GOMEMLIMIT", "") // and back
	os.Unsetenv("GOMEMLIMIT")
	noted, _, printed := serving(t, "-redis", redistest.Start(t).URL(), "-log-level", "debug")
	if !strings.Contains(printed.String(), `"GOMEMLIMIT":"115.2 MiB"`) {
		t.Errorf("the limit is not 115.2 MiB of the container's 128:\n%s", printed)
	}
	noted.Process.Kill() // so that its group can be removed
	noted.Wait()
}

// In a container noted takes as many threads as the container has processors. Go
// notices within a second or two that the container was made smaller.
func TestProcessorsOfTheContainer(t *testing.T) {
	const processors = "cpuset.cpus"
	setGroup(t, map[string]map[string]string{
		"/sys/fs/cgroup":        {processors: "0"}, // version 2
		"/sys/fs/cgroup/cpuset": {"cpuset.mems": "0", processors: "0"},
	})
	noted, addresses, _ := serving(t, "-redis", redistest.Start(t).URL())
	const want = "\ngo_sched_gomaxprocs_threads 1\n"
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		metrics := metricsAt(t, addresses)
		if strings.Contains(metrics, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("in a container with one processor the metrics do not have %q:\n%s", want, metrics)
		}
	}
	noted.Process.Kill() // so that its group can be removed
	noted.Wait()
}

// setGroup makes a control group in the first hierarchy that can have these files, and
// lets noted run in it. Making a control group needs root.
func setGroup(t *testing.T, hierarchies map[string]map[string]string) {
	t.Helper()
	var failed error
	for root, files := range hierarchies {
		group := filepath.Join(root, "noted-test-"+strconv.Itoa(os.Getpid()))
		if failed = os.Mkdir(group, 0o700); failed != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(group) })
		for name, value := range files {
			file, err := os.OpenFile(filepath.Join(group, name), os.O_WRONLY, 0)
			if err != nil { // the hierarchy has no such controller
				failed = err
				break
			}
			_, err = file.WriteString(value)
			failed = errors.Join(failed, err, file.Close())
		}
		if failed == nil {
			t.Setenv(inGroup, group)
			return
		}
	}
	t.Skipf("no control group can be made here: %v", failed)
}

// metricsAt are the metrics of a program.
func metricsAt(t *testing.T, addresses map[string]string) string {
	t.Helper()
	response, err := http.Get("http://" + addresses["admin_listen"] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(metrics)
}
