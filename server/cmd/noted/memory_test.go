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

// The limit of Go's own variable holds, beside the collecting that main puts off; and
// callers who can take more than it by their connections alone are warned of.
func TestMemoryLimit(t *testing.T) {
	redis := redistest.Start(t)
	t.Setenv("GOMEMLIMIT", "64MiB")
	t.Setenv("GOGC", "") // else main leaves it to the operator
	for most, warns := range map[string]bool{"4096": true, "100": false} {
		_, addresses, printed := serving(t, "-redis", redis.URL(), "-max-connections", most)
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
				t.Errorf("the process does not say %q of itself", want)
			}
		}
		warned := strings.Contains(
			printed.String(),
			`"level":"WARN","msg":"callers' connections alone can take more memory than GOMEMLIMIT grants; set a lower -max-connections`,
		)
		if warned != warns || !strings.Contains(printed.String(), `"GOMEMLIMIT":"64.0 MiB"`) {
			t.Errorf("with -max-connections %s it warns: %v, want %v\n%s", most, warned, warns, printed)
		}
	}
}

// In a container noted takes nine tenths of its memory for Go's limit. Making a control
// group takes a right that few but containers' root have.
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
	noted, _, printed := serving(t, "-redis", redistest.Start(t).URL())
	if !strings.Contains(printed.String(), `"GOMEMLIMIT":"115.2 MiB"`) {
		t.Errorf("it does not take 115.2 MiB of its 128 for the limit:\n%s", printed)
	}
	noted.Process.Kill() // so that its group can be removed
	noted.Wait()
}
