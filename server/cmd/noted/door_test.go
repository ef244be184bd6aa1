package main

import (
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The curl line of the help works without changes, except for the port.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	line := strings.ReplaceAll(
		regexp.MustCompile(`(?s)  (curl -d .*?/NoteDonation)\n`).FindStringSubmatch(help(new(settings).flags(nil)))[1],
		"\\\n",
		"",
	)
	if !strings.Contains(line, devHTTPListen) {
		t.Fatalf("the help says %s, and a trial is at %s", line, devHTTPListen)
	}
	command, banner, stderr := trial(t)
	found := regexp.MustCompile(`JSON on http://(127\.0\.0\.1:\d+)`).FindStringSubmatch(banner)
	if found == nil {
		t.Fatalf("the banner %q does not have the address for JSON", banner)
	}
	line = strings.ReplaceAll(line, devHTTPListen, found[1])
	for _, want := range []string{`"verdict":"VERDICT_FIRST"`, `"verdict":"VERDICT_DUPLICATE"`} {
		answer, err := exec.Command("sh", "-c", line).Output()
		if err != nil || !strings.Contains(string(answer), want) {
			t.Errorf("%s printed %s, %v, want %s in it", line, answer, err, want)
		}
	}
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit 0\n%s", err, stderr)
	}
	if !strings.Contains(stderr.String(), "http_listen="+found[1]) {
		t.Errorf("the log does not tell http_listen=%s:\n%s", found[1], stderr)
	}
}

// A trial answers JSON unless that is turned off. Otherwise noted answers JSON only if
// that is turned on.
func TestHTTPListen(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{nil, []string{"-dev"}, devHTTPListen},
		{nil, []string{"-dev", "-http-listen", "off"}, "off"},
		{map[string]string{"NOTED_HTTP_LISTEN": "off"}, []string{"-dev"}, "off"},
		{map[string]string{"NOTED_HTTP_LISTEN": "127.0.0.1:1"}, []string{"-dev", "-http-listen", "127.0.0.1:2"}, "127.0.0.1:2"},
		{nil, []string{"-redis", "redis://127.0.0.1:1"}, ""},
		{map[string]string{"NOTED_HTTP_LISTEN": "127.0.0.1:1"}, []string{"-redis", "redis://127.0.0.1:1"}, "127.0.0.1:1"},
	} {
		s, err := parse(t.Context(), append([]string{"noted"}, c.args...), environ(c.env), nil)
		if err != nil || s.config.HTTPListen != c.want {
			t.Errorf("%v %v: HTTPListen %q, %v, want %q", c.env, c.args, s.config.HTTPListen, err, c.want)
		}
	}
}
