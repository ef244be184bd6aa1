package main

import (
	"io"
	"net/http"
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
