package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A trial says that it is one in its health, in its readiness, and in its log as a
// warning.
func TestTrialSaysSo(t *testing.T) {
	_, addresses, printed := serving(t, "-dev")
	for _, path := range []string{"/healthz", "/readyz"} {
		response, err := http.Get("http://" + addresses["admin_listen"] + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK ||
			!strings.Contains(string(body), "trial store: nothing survives a restart") {
			t.Errorf("%s = %d %s, want 200 and a word of the trial", path, response.StatusCode, body)
		}
	}
	said := func() bool { return strings.Contains(printed.String(), `level=WARN msg="this is a trial`) }
	for deadline := time.Now().Add(10 * time.Second); !said(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not warn of a trial:\n%s", printed)
		}
	}
}

// A trial refuses every setting that only a real service needs, as a flag and in the
// environment: a forgotten NOTED_DEV must not turn a service into a trial.
func TestTrialIsNoProduction(t *testing.T) {
	for flag, value := range map[string]string{
		"redis": "redis://127.0.0.1:1", "tls-cert": "a", "tls-client-ca": "a", "replicas": "1", "epoch": "abc",
		"on-loss": "refuse",
	} {
		for name, c := range map[string]struct {
			env  map[string]string
			args []string
		}{
			"both as flags":           {nil, []string{"-dev", "-" + flag, value}},
			"-dev is forgotten":       {map[string]string{"NOTED_DEV": "1"}, []string{"-" + flag, value}},
			"in the environment":      {map[string]string{variables.Variable(flag): value}, []string{"-dev"}},
			"both in the environment": {map[string]string{"NOTED_DEV": "true", variables.Variable(flag): value}, nil},
		} {
			args := append(
				[]string{"-listen", "127.0.0.1:0", "-http-listen", "off", "-admin-listen", "127.0.0.1:0"},
				c.args...)
			code, stdout, _, err := try(t, c.env, args...)
			if code != 2 || stdout != "" ||
				!strings.Contains(errText(err), "-"+flag+" ("+variables.Variable(flag)+")") &&
					!strings.Contains(errText(err), "-"+flag+" ") {
				t.Errorf("-dev with -%s, %s: exit %d, %v, want 2 and both named", flag, name, code, err)
			}
		}
	}
}
