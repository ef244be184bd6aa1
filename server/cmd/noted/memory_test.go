package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
		response, err := http.Get("http://" + addresses["admin_listen"] + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\ngo_gc_gomemlimit_bytes 6.7108864e+07\n", "\ngo_gc_gogc_percent 400\n"} {
			if !strings.Contains(string(metrics), want) {
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

// In a container noted sets Go's limit to nine tenths of the container's memory. Making a
// control group needs root.
func TestMemoryLimitOfTheContainer(t *testing.T) {
	group, err := "", error(nil)
	for root, limit := range map[string]string{
		"/sys/fs/cgroup":        "memory.max", // version 2
		"/sys/fs/cgroup/memory": "memory.limit_in_bytes",
	} {
		made := filepath.Join(root, "noted-test-"+strconv.Itoa(os.Getpid()))
		if err = os.Mkdir(made, 0o700); err != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(made) })
		file, opened := os.OpenFile(filepath.Join(made, limit), os.O_WRONLY, 0)
		if err = opened; err != nil { // no controller of memory
			continue
		}
		_, err = file.WriteString("134217728") // 128 MiB
		if file.Close(); err == nil {
			group = made
			break
		}
	}
	if group == "" {
		t.Skipf("no control group can be made here: %v", err)
	}
	t.Setenv(inGroup, group)
	t.Setenv("GOMEMLIMIT", "") // and back
	os.Unsetenv("GOMEMLIMIT")
	noted, _, printed := serving(t, "-redis", redistest.Start(t).URL(), "-log-level", "debug")
	if !strings.Contains(printed.String(), `"GOMEMLIMIT":"115.2 MiB"`) {
		t.Errorf("the limit is not 115.2 MiB of the container's 128:\n%s", printed)
	}
	noted.Process.Kill() // so that its group can be removed
	noted.Wait()
}
