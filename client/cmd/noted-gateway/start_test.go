package main

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// serving runs the gateway until its log matches, stops it, and returns the log.
func serving(t *testing.T, until string, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stderr syncBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"noted-gateway"}, args...), environ(noEnv), io.Discard, &stderr)
	}()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(stderr.String(), until); time.Sleep(5 * time.Millisecond) {
		select {
		case code := <-ended:
			t.Fatalf("exit %d: %s", code, &stderr)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not say %s: %s", until, &stderr)
		}
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d, want 0\n%s", code, &stderr)
	}
	return stderr.String()
}

// A gateway that other machines can reach in plain HTTP says so, once, unless it knows the
// proxies in front of it. The other parts in trouble are told at the start, too.
func TestOpenListener(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nothing := listener.Addr().String()
	listener.Close()
	common := []string{
		"-accounts", "a@example.org", "-forward-to", "redis://" + nothing + "/0?stream=s", "-admin-listen", "off",
		"-noted", nothing, "-ipn-verify-url", "http://" + nothing,
	}
	const warning = "other machines can reach -listen, which is plain HTTP"
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"this machine":   {[]string{"-listen", "127.0.0.1:0"}, 0},
		"all addresses":  {[]string{"-listen", "0.0.0.0:0"}, 1},
		"no address":     {[]string{"-listen", ":0"}, 1},
		"behind a proxy": {[]string{"-listen", ":0", "-trusted-proxy", "10.0.0.7, 2001:db8::/32"}, 0},
	} {
		log := serving(t, `"part":"downstream"`, slices.Concat(common, c.args)...)
		if got := strings.Count(log, warning); got != c.want {
			t.Errorf("%s: warned %d times, want %d:\n%s", name, got, c.want, log)
		}
		if strings.Count(log, "Noted cannot be reached; check that it runs") != 1 {
			t.Errorf("%s: the log does not say once that Noted is away:\n%s", name, log)
		}
	}
}
