package main

import (
	"bytes"
	"context"
	"encoding/base64"
	encodepem "encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/server/servertest"
)

var noEnv = map[string]string{}

// environ is an environment.
func environ(env map[string]string) (all cmdline.Environ) {
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

// try runs the program until it ends by itself.
func try(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, append([]string{"noted-gateway"}, args...), environ(env), &out, &errs)
	if ctx.Err() != nil {
		t.Fatalf("noted-gateway %q did not end by itself\n%s", args, &errs)
	}
	return code, out.String(), errs.String()
}

// The help shows every flag with its variable, and has the flags that other programs use.
func TestHelp(t *testing.T) {
	code, stdout, stderr := try(t, noEnv, "-help")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	for _, flag := range strings.Fields(`listen noted noted-token noted-ca ledger ledger-sandbox accounts
		ipn-verify-url webhook-id webhook-cert-host webhook-cert-roots
		webhook-verify webhook-max-age paypal-client-id paypal-client-secret-file forward-to
		forward-secret-file hold forward-timeout max-body forward-unknown admin-listen`) {
		if !regexp.MustCompile(`(?m)^  -` + flag + `( [A-Z]+)? +` + variables.Variable(flag) + `$`).
			MatchString(stdout) {
			t.Errorf("-help does not show -%s with %s", flag, variables.Variable(flag))
		}
	}
	for _, flag := range new(settings).flags(environ(noEnv).Lookup) {
		if !strings.Contains(stdout, "  -"+flag.Names()[0]+" ") {
			t.Errorf("-help does not show -%s", flag.Names()[0])
		}
	}
	for flag, value := range map[string]string{
		"listen": "127.0.0.1:8081", "webhook-max-age": "73h", "hold": "60s", "forward-timeout": "20s",
		"max-body": "256KiB", "webhook-verify": "signature",
	} {
		_, section, _ := strings.Cut(stdout, "\n  -"+flag+" ")
		section, _, _ = strings.Cut(section, "\n  -")
		if !strings.Contains(strings.Join(strings.Fields(section), " "), "Default "+value+".") {
			t.Errorf("-help does not show the default %s of -%s", value, flag)
		}
	}
	if !strings.Contains(stdout, "noted-gateway -version prints the version") {
		t.Error("-help does not mention -version")
	}
	if code, stdout, stderr := try(t, noEnv, "-version"); code != 0 || !strings.HasPrefix(stdout, "noted-gateway ") {
		t.Errorf("-version: exit %d and %q, %s; want 0 and the version", code, stdout, stderr)
	}
	for i, line := range strings.Split(stdout, "\n") {
		if len([]rune(line)) > 120 {
			t.Errorf("line %d of the help is %d characters wide", i+1, len([]rune(line)))
		}
	}
}

// inbox-key prints another key each time.
func TestInboxKey(t *testing.T) {
	_, one, _ := try(t, noEnv, "inbox-key")
	code, other, stderr := try(t, noEnv, "inbox-key")
	if keys, err := inbox.ReadKeys([]byte(one + other)); code != 0 || stderr != "" || err != nil || len(keys) != 2 {
		t.Errorf("exit %d, %s, %v", code, stderr, err)
	}
}

// An unknown variable that begins with GATEWAY_ is reported with the other mistakes, by the
// gateway and by its check. The gateway ignores NOTED_ variables.
func TestMisspelledVariable(t *testing.T) {
	env := map[string]string{"GATEWAY_ACCOUNT": "a@example.org", "GATEWAY_HOLD": "soon", "NOTED_RETENTOIN": "1d"}
	for _, args := range [][]string{nil, {"check"}} {
		code, _, stderr := try(t, env, args...)
		want := "there is no variable GATEWAY_ACCOUNT; the nearest is GATEWAY_ACCOUNTS\n"
		if code != 2 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "-hold (GATEWAY_HOLD)") ||
			strings.Contains(stderr, "NOTED_") {
			t.Errorf("noted-gateway %q: exit %d and\n%s\nwant 2, %q and the other mistakes", args, code, stderr, want)
		}
	}
}

func TestBadUsage(t *testing.T) {
	dir := t.TempDir()
	empty, short := filepath.Join(dir, "empty"), filepath.Join(dir, "short")
	os.WriteFile(empty, []byte("\n"), 0o600)
	os.WriteFile(short, []byte("whsec_hush"), 0o600)
	key := filepath.Join(dir, "key")
	os.WriteFile(key, []byte(inbox.NewKeyLine()), 0o600)
	authority := httptest.NewTLSServer(nil)
	authority.Close()
	pem := filepath.Join(dir, "pem")
	os.WriteFile(
		pem,
		encodepem.EncodeToMemory(&encodepem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}),
		0o600,
	)
	good := []string{"-accounts", "a@example.org", "-forward-to", "redis://:hush@127.0.0.1:1/0?stream=s"}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"-forward-to (GATEWAY_FORWARD_TO)", "-accounts", "-webhook-id"}},
		{[]string{"-nonsense"}, []string{"there is no flag -nonsense", "-help"}},
		{append(good, "more"), []string{`"more" is not a flag`}},
		{
			append(good, "-hold", "soon", "-max-body", "big", "-webhook-verify", "maybe"),
			[]string{"-hold", "-max-body", "-webhook-verify", "signature, api"},
		},
		{append(good, "-noted-token", dir+"/none"), []string{"-noted-token", "no such file"}},
		{append(good, "-noted-ca", empty), []string{"-noted-ca", "is empty"}},
		{append(good, "-noted-ca", short), []string{"-noted-ca", "no PEM certificate"}},
		{append(good, "-noted-ca", pem, "-noted-plaintext"), []string{"-noted-plaintext", "choose one"}},
		{
			append(good, "-noted", "10.0.0.1:1", "-noted-token", short, "-noted-plaintext"),
			[]string{"plaintext over a network"},
		},
		{
			append(good, "-hold", "10s", "-ipn-verify-url", "http://example.org/"),
			[]string{"-hold (GATEWAY_HOLD)", "must outlast", "-ipn-verify-url (GATEWAY_IPN_VERIFY_URL)"},
		},
		{append(good, "-hold", "16m"), []string{"-hold", "15m0s at most"}},
		{append(good, "-ledger", "a", "-ledger-sandbox", "a"), []string{"-ledger-sandbox"}},
		{append(good, "-webhook-id", "x", "-webhook-cert-roots", short), []string{"-webhook-cert-roots"}},
		{append(good, "-max-body", "-1"), []string{"is not a size"}},
		{append(good, "-max-body", "0KiB"), []string{"is not a size"}},
		{
			append(good, "-forward-to", "http://127.0.0.1:1/?token=hush"),
			[]string{"-forward-secret-file (GATEWAY_FORWARD_SECRET_FILE) is missing"},
		},
		{
			append(good, "-forward-to", "http://127.0.0.1:1/", "-forward-secret-file", short),
			[]string{"-forward-secret-file", "24 to 64 bytes"},
		},
		{append(good, "-forward-to", "redis://:hush@127.0.0.1:1/db?stream=s"), []string{"-forward-to"}},
		{append(good, "-forward-to", "redis://:hush%@127.0.0.1:1/0?stream=s"), []string{"-forward-to"}},
		{append(good, "-forward-to", "redis://se/cret-hush@127.0.0.1:1/0?stream=s"), []string{"-forward-to"}},
		{append(good, "-forward-to", "redis://:x@127.0.0.1:1/0?stream=s&pass-hush=1"), []string{"-forward-to"}},
		{append(good, "-forward-to", "hush:6379/0?stream=s"), []string{"-forward-to"}},
		{append(good, "-forward-to", "redis://127.0.0.1:1/0"), []string{"-forward-to", "stream"}},
		{
			[]string{"-accounts", "a@example.org", "-forward-as", "original", "-forward-unknown"},
			[]string{
				"-inbox (GATEWAY_INBOX) is missing", "-forward-ipn-to (GATEWAY_FORWARD_IPN_TO) is missing",
				"-forward-unknown",
			},
		},
		{append(good, "-forward-as", "original"), []string{"-forward-to (GATEWAY_FORWARD_TO) names", "choose one"}},
		{append(good, "-forward-as", "mail"), []string{"-forward-as", "event, original"}},
		{append(good, "-forward-ipn-to", "http://127.0.0.1/?hush"), []string{"-forward-ipn-to", "choose one"}},
		{append(good, "-noted-key", short), []string{"-noted-cert", "give both"}},
		{append(good, "-noted-cert", pem, "-noted-key", short), []string{"-noted-cert", "cannot be used"}},
		{append(good, "-inbox", "sqlite:///tmp/none.db"), []string{"-inbox-key-file", "is missing", "inbox-key"}},
		{
			append(good, "-inbox", "sqlite:///tmp/none.db", "-inbox-key-file", short),
			[]string{"-inbox-key-file", "key 1"},
		},
		{
			append(good, "-inbox", "mysql://hush@h/d", "-inbox-key-file", key),
			[]string{"-inbox (GATEWAY_INBOX)", "postgres"},
		},
		{append(good, "-inbox-unverified", "-1"), []string{"-inbox-unverified", "too small"}},
		{append(good, "-inbox-journal", "1h"), []string{"-inbox-journal", "shorter"}},
		{append(good, "-webhook-verify", "api"), []string{"-paypal-client-id", "-paypal-client-secret-file"}},
	} {
		code, stdout, stderr := try(t, noEnv, c.args...)
		if code != 2 || stdout != "" {
			t.Errorf("%q: exit %d, printed %q, want 2 and nothing", c.args, code, stdout)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q: got %q, want %q in it", c.args, stderr, want)
			}
		}
		for i := range reflect.TypeFor[gateway.Config]().NumField() {
			name := reflect.TypeFor[gateway.Config]().Field(i).Name
			if name != "Noted" && regexp.MustCompile(`\b`+name+`\b`).MatchString(stderr) { // Noted is also a word
				t.Errorf("%q: %s is a name of the code: %s", c.args, name, stderr)
			}
		}
		if strings.Contains(stderr, "hush") {
			t.Errorf("%q: the error shows a secret: %s", c.args, stderr)
		}
	}
	code, _, stderr := try(t, noEnv, append(good, "-listen", "256.0.0.1:1")...)
	if code != 1 || !strings.Contains(stderr, "listening for PayPal") {
		t.Errorf("a wrong address: exit %d, %s", code, stderr)
	}
}

// fieldFlags names only fields and flags that exist, and each field that a gateway may
// refuse. Without it an operator reads the name of a field.
func TestFieldsHaveFlags(t *testing.T) {
	known := map[string]bool{}
	for _, flag := range new(settings).flags(environ(noEnv).Lookup) {
		known[flag.Names()[0]] = true
	}
	for field, flag := range fieldFlags {
		if _, ok := reflect.TypeFor[gateway.Config]().FieldByName(field); !ok || !known[flag] {
			t.Errorf("%s: -%s is not both a field and a flag", field, flag)
		}
	}
	source, err := os.ReadFile("../../gateway/config.go")
	if err != nil {
		t.Fatal(err)
	}
	_, check, _ := strings.Cut(string(source), ") check() error {")
	refused := 0
	for _, m := range regexp.MustCompile(`"([A-Z]\w+)",`).FindAllStringSubmatch(check, -1) {
		refused++
		if _, ok := fieldFlags[m[1]]; !ok && m[1] != "BodyTimeout" && m[1] != "VerifyTimeout" { // these have no flag
			t.Errorf("fieldFlags does not have %s, which config.go refuses", m[1])
		}
	}
	if refused < 10 {
		t.Errorf("config.go refuses %d fields, want at least 10", refused)
	}
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// An operator's gateway, with settings from the environment and one flag, from its start to
// its end with a message under way.
func TestServe(t *testing.T) {
	noted := servertest.New(t)
	verifier := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "VERIFIED") }),
	)
	defer verifier.Close()
	entered, leave := make(chan struct{}), make(chan struct{})
	var delivered syncBuffer
	downstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(&delivered, r.Body)
		close(entered)
		<-leave
	}))
	defer downstream.Close()
	dir := t.TempDir()
	secretText := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 32))
	secretFile, tokenFile := filepath.Join(dir, "secret"), filepath.Join(dir, "token")
	os.WriteFile(secretFile, []byte(secretText+"\n"), 0o600)
	os.WriteFile(tokenFile, []byte("token-hush\n"), 0o600)

	env := map[string]string{
		"GATEWAY_LISTEN":              "127.0.0.1:0",
		"GATEWAY_ADMIN_LISTEN":        "127.0.0.1:0",
		"GATEWAY_NOTED":               noted.Addr(),
		"GATEWAY_NOTED_TOKEN":         tokenFile,
		"GATEWAY_ACCOUNTS":            "a@example.org, B@example.org",
		"GATEWAY_IPN_VERIFY_URL":      verifier.URL,
		"GATEWAY_FORWARD_TO":          "http://wrong.invalid/",
		"GATEWAY_FORWARD_SECRET_FILE": secretFile,
		"GATEWAY_WEBHOOK_ID":          "",
		"GATEWAY_LEDGER":              "live",
		"GATEWAY_LOG_LEVEL":           "debug",
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stderr syncBuffer
	ended := make(chan int, 1)
	go func() {
		args := []string{"noted-gateway", "-forward-to=" + downstream.URL + "/?token=url-hush"}
		ended <- run(ctx, args, environ(env), io.Discard, &stderr)
	}()
	addresses := regexp.MustCompile(`"listen":"([^"]+)","admin_listen":"([^"]+)"`)
	for deadline := time.Now().Add(10 * time.Second); !addresses.MatchString(stderr.String()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not start: %s", &stderr)
		}
	}
	found := addresses.FindStringSubmatch(stderr.String())
	public, admin := "http://"+found[1], "http://"+found[2]

	get := func(url string) (int, string) {
		t.Helper()
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	for path, want := range map[string]int{
		public + "/healthz": 200, public + "/readyz": 200, public + "/metrics": 404, public + "/paypal/ipn": 405,
		public + "/paypal/webhook": 404,
		admin + "/healthz":         200, admin + "/readyz": 200, admin + "/metrics": 200, admin + "/paypal/ipn": 404,
	} {
		if got, body := get(path); got != want {
			t.Errorf("GET %s = %d %s, want %d", path, got, body, want)
		}
	}

	answered := make(chan int, 1)
	go func() {
		response, err := http.PostForm(
			public+"/paypal/ipn",
			url.Values{
				"txn_type":       {"web_accept"},
				"payment_status": {"Completed"},
				"txn_id":         {"9X"},
				"receiver_email": {"b@example.org"},
			},
		)
		if err != nil {
			answered <- 0
			return
		}
		response.Body.Close()
		answered <- response.StatusCode
	}()
	<-entered
	if _, metrics := get(
		admin + "/metrics",
	); !strings.Contains(
		metrics,
		`noted_gateway_verify_seconds_count{channel="ipn",outcome="verified"} 1`,
	) {
		t.Errorf("the metrics do not count the message:\n%s", metrics)
	}
	stop() // with a delivery under way
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(stderr.String(), `"msg":"stopping`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not stop")
		}
	}
	close(leave)
	if status := <-answered; status != 200 {
		t.Errorf("the message under way was answered %d, want 200", status)
	}
	if code := <-ended; code != 0 {
		t.Errorf("exit %d, want 0\n%s", code, &stderr)
	}
	if !strings.Contains(delivered.String(), `"ledger":"live"`) {
		t.Errorf("the downstream got %s", &delivered)
	}
	for _, hush := range []string{"url-hush", "token-hush", secretText[6:], "wrong.invalid"} {
		if strings.Contains(stderr.String(), hush) {
			t.Errorf("the log shows the secret %s:\n%s", hush, &stderr)
		}
	}
}
