package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// written writes a file and returns its path.
func written(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const accountsSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfgxx3NJZE="

// All mistakes in the accounts file are told at once, each with its path and without its
// value.
func TestAccountsFileMistakes(t *testing.T) {
	secret, empty := written(t, "secret", accountsSecret), written(t, "empty", "\n")
	const good = `{"receivers": ["a@example.org"], "ledger": "a", "forward": {"to": "redis://127.0.0.1:1/0?stream=s"}}`
	in := func(account string) string { return `{"accounts": [` + good + `, ` + account + `]}` }
	for name, c := range map[string]struct {
		file string
		args []string
		want []string // all of them at once
	}{
		"no JSON":        {`{"accounts": [` + "\n" + `{"hush" "x"}]}`, nil, []string{"line 2: invalid character"}},
		"it ends early":  {`{"accounts": [` + "\n" + good, nil, []string{"line 2: the file ends too early"}},
		"more":           {in(good) + "\n{}", nil, []string{"line 2: there is more after the end"}},
		"no object":      {`["hush"]`, nil, []string{"must be an object"}},
		"no accounts":    {`{}`, nil, []string{"accounts is missing"}},
		"a misspelling":  {`{"acounts": []}`, nil, []string{"acounts is not a field; the nearest is accounts", "accounts is missing"}},
		"empty accounts": {`{"accounts": []}`, nil, []string{"accounts is empty"}},
		"no list":        {`{"accounts": {}}`, nil, []string{"accounts must be a list"}},
		"names": {
			in(`{"recievers": ["hush@x"], "ledger": "b", "ledger": "hush", "forward": {"secretfile": "hush"}, "sandbox": {"webhook_id": "hush"}}`),
			nil,
			[]string{
				"accounts[1].recievers is not a field; the nearest is receivers, of api, forward, ledger",
				"accounts[1].ledger is there twice", "accounts[1].forward.secretfile is not a field; the nearest is secret_file,",
				"accounts[1].sandbox.webhook_id is not a field; the nearest is webhook_ids",
				"accounts[1].forward.to is missing", "accounts[1].receivers is missing",
			},
		},
		"kinds": {
			in(`{"receivers": "hush", "ledger": 7, "webhook_ids": ["w", null], "forward": {"unknown": "hush", "to": []}, "api": "hush"}`),
			nil,
			[]string{
				"accounts[1].receivers must be a list of receivers", "accounts[1].ledger must be a text",
				"accounts[1].webhook_ids[1] must be a text", "accounts[1].forward.unknown must be true or false",
				"accounts[1].forward.to must be a text", "accounts[1].api must be an object", "accounts[1].ledger is missing",
			},
		},
		"values": {
			in(`{"receivers": ["A@example.org"], "ledger": "a", "sandbox": {"ledger": "a", "webhook_ids": ["W"]},
				"webhook_ids": ["W"], "forward": {"as": "original", "to": "http://hush", "webhook_to": "ftp://hush"}}`),
			nil,
			[]string{
				`accounts[1].receivers[0] is "a@example.org", which accounts[0].receivers[0] has already; `,
				`accounts[1].ledger is "a", which accounts[0].ledger has already; accounts that share`,
				"accounts[1].sandbox.ledger is", "accounts[1].sandbox.webhook_ids[0] is", "accounts[1].webhook_ids[0] has already",
				"accounts[1].forward.to names a downstream", "accounts[1].forward.ipn_to is missing",
				"accounts[1].forward.webhook_to must be", "-inbox (GATEWAY_INBOX) is missing",
			},
		},
		"secrets": {
			in(`{"receivers": ["b"], "ledger": "b", "forward": {"to": "https://h/", "secret_file": "` + empty + `"},
				"api": {"client_id": "c", "client_secret_file": "/nowhere/at/all"}}`),
			nil,
			[]string{
				"accounts[1].forward.secret_file cannot be used: the file", "accounts[1].api.client_secret_file cannot be read",
				"accounts[1].forward.secret_file is missing",
			},
		},
		"by the API": {
			in(`{"webhook_ids": ["W"], "ledger": "b", "forward": {"to": "https://h/", "secret_file": "` + secret + `"},
				"sandbox": {"ledger": "s", "webhook_ids": ["V"], "api": {"url": "http://h", "client_id": "c"}}}`),
			[]string{"-webhook-verify", "api"},
			[]string{
				"accounts[1].api.client_id is missing", "accounts[1].api.client_secret_file is missing",
				"accounts[1].sandbox.api.client_secret_file is missing", "accounts[1].sandbox.api.url must be an https URL",
			},
		},
		"beside flags": {
			in(`{"receivers": ["b"], "ledger": "b", "forward": {"to": "redis://127.0.0.1:1/0?stream=s"}}`),
			strings.Fields("-accounts x -webhook-id x -ledger x -ledger-sandbox y -forward-to http://hush -forward-ipn-to " +
				"http://hush -forward-webhook-to off -forward-as original -forward-unknown -paypal-api https://x " +
				"-paypal-client-id x -forward-secret-file " + secret + " -paypal-client-secret-file " + secret),
			[]string{
				"-accounts (GATEWAY_ACCOUNTS) is for one account", "-webhook-id (", "-ledger (", "-ledger-sandbox (",
				"-forward-to (", "-forward-ipn-to (", "-forward-webhook-to (", "-forward-as (", "-forward-unknown (",
				"-paypal-api (", "-paypal-client-id (", "-forward-secret-file (", "-paypal-client-secret-file (",
			},
		},
		"beside mistakes in flags": {
			in(`{"ledger": "b"}`),
			[]string{"-hold", "soon", "-trusted-proxy", "10.0.0.0/8,nowhere"},
			[]string{"-hold (GATEWAY_HOLD)", "-trusted-proxy (GATEWAY_TRUSTED_PROXY)", `"nowhere" is neither`, "accounts[1].forward.to is missing"},
		},
	} {
		for _, command := range [][]string{nil, {"check"}} {
			args := slices.Concat(command, []string{"-accounts-file", written(t, "accounts.json", c.file)}, c.args)
			code, stdout, stderr := try(t, noEnv, args...)
			if code != 2 || stdout != "" {
				t.Errorf("%s: exit %d, printed %q, want 2 and nothing\n%s", name, code, stdout, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%s: got\n%s\nwant %q in it", name, stderr, want)
				}
			}
			if strings.Contains(stderr, "hush") || strings.Contains(stderr, "PayPalAccounts") {
				t.Errorf("%s: a value is told, or a name of the code:\n%s", name, stderr)
			}
		}
	}
	code, _, stderr := try(t, noEnv, "-accounts-file", "/nowhere/at/all")
	if code != 2 || !strings.Contains(stderr, "-accounts-file (GATEWAY_ACCOUNTS_FILE): open /nowhere") {
		t.Errorf("no file: exit %d, %s", code, stderr)
	}
}

// Each field of an account has its place in the file, and the file has no other.
func TestAccountFields(t *testing.T) {
	var fields []string
	var walk func(prefix string, of reflect.Type)
	walk = func(prefix string, of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			if f.Type.Kind() == reflect.Struct {
				walk(prefix+f.Name+".", f.Type)
				continue
			}
			fields = append(fields, prefix+f.Name)
			if accountFields[prefix+f.Name] == "" {
				t.Errorf("%s has no place in the accounts file", prefix+f.Name)
			}
		}
	}
	walk("", reflect.TypeFor[gateway.Account]())
	readme, err := os.ReadFile("../../gateway/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Several accounts\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for field, place := range accountFields {
		if !slices.Contains(fields, field) {
			t.Errorf("%s is not a field of an account", field)
		}
		if outer, inner, _ := strings.Cut(place, "sandbox.api."); !strings.Contains(section, "`"+place+"`") &&
			(outer != "" || !strings.Contains(section, "`api."+inner+"`")) {
			t.Errorf("README.md does not tell of %s", place)
		}
	}
}

// The accounts file of README.md is taken as it stands there, but for the path of its
// secret.
func TestReadmeAccounts(t *testing.T) {
	readme, err := os.ReadFile("../../gateway/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```jsonc\n(.*?)```").FindSubmatch(readme)
	if found == nil {
		t.Fatal("README.md shows no accounts file")
	}
	file := strings.Replace(string(found[1]), "/etc/noted/forward.secret", written(t, "secret", accountsSecret), 1)
	if !json.Valid([]byte(file)) {
		t.Fatal("README.md's accounts file is no JSON")
	}
	url := "sqlite://" + filepath.Join(t.TempDir(), "inbox.db")
	args := []string{
		"noted-gateway", "-accounts-file", written(t, "accounts.json", file), "-inbox", url,
		"-inbox-key-file", written(t, "key", inbox.NewKeyLine()),
	}
	s, err := parse(t.Context(), args, environ(noEnv), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := []gateway.Account{
		{
			Receivers:  []string{"donations@example.org", "6RECEIVERID", "sandbox@example.org"},
			WebhookIDs: []string{"8PT597110X687430L"}, SandboxWebhookIDs: []string{"4JH86294D6297924G"},
			Ledger: "paypal-live", SandboxLedger: "paypal-sandbox",
			ForwardTo: "http://127.0.0.1:8000/donations", ForwardSecrets: []string{accountsSecret},
		},
		{
			Receivers: []string{"school@example.org", "7RECEIVERID"}, Ledger: "paypal-school",
			ForwardAs: gateway.ForwardOriginal, ForwardIPNTo: "http://127.0.0.1:8080/?my-listener=paypal",
		},
	}
	if !reflect.DeepEqual(s.config.PayPalAccounts, want) {
		t.Errorf("read %+v, want %+v", s.config.PayPalAccounts, want)
	}
	g, err := gateway.New(s.config)
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
}

// noted-gateway inbox is about every account with an accounts file, and of one with
// -account. redo says where no gateway has an account any more.
func TestInboxOfAccounts(t *testing.T) {
	d := newDesk(t)
	live := d.keep("LIVE", time.Now(), inbox.Person, "x")
	all := d.box
	d.box = all.Of("school")
	school := d.keep("SCHOOL", time.Now(), inbox.Person, "y")
	if stdout, _ := d.run(0, "list"); !strings.Contains(stdout, live) || strings.Contains(stdout, school) ||
		strings.Contains(stdout, "ACCOUNT") {
		t.Errorf("without an accounts file list prints\n%s", stdout)
	}
	d.env["GATEWAY_ACCOUNTS_FILE"] = "/not/read/here"
	if stdout, _ := d.run(0, "list"); !regexp.MustCompile(`(?m)^ACCOUNT +ROW`).MatchString(stdout) ||
		!regexp.MustCompile(`(?m)^live +`+live).MatchString(stdout) ||
		!regexp.MustCompile(`(?m)^school +`+school).MatchString(stdout) {
		t.Errorf("list prints\n%s", stdout)
	}
	if stdout, _ := d.run(0, "list", "-account", "school"); strings.Contains(stdout, live) || !strings.Contains(stdout, school) {
		t.Errorf("list -account prints\n%s", stdout)
	}
	if stdout, _ := d.run(0, "show", school); !strings.Contains(stdout, `"account": "school"`) {
		t.Errorf("show prints\n%s", stdout)
	}
	if stdout, _ := d.run(0, "redo", school); strings.Contains(stdout, "no gateway") {
		t.Errorf("of an account that no gateway has had yet, redo prints\n%s", stdout)
	}
	before := inbox.Config{
		URL: d.env["GATEWAY_INBOX"], Account: "school", Now: func() time.Time { return time.Now().Add(-2 * time.Hour) },
	}
	old, err := inbox.Open(t.Context(), before)
	if err == nil {
		err = old.Serve(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	old.Close()
	if stdout, _ := d.run(0, "redo", school, live); strings.Count(stdout, `no gateway has had its account "school" since`) != 1 ||
		strings.Contains(stdout, `account "live"`) {
		t.Errorf("redo prints\n%s", stdout)
	}
	d.box = all
	if stdout, _ := d.run(0, "close", school, "-reason", "booked by hand"); !strings.Contains(stdout, school+": closed") {
		t.Errorf("close prints\n%s", stdout)
	}
	if _, stderr := d.run(0, "unknown", "-since", "2026-01-01"); stderr != "" {
		t.Error(stderr)
	}
	delete(d.env, "GATEWAY_LEDGER")
	_, stderr := d.run(2, "unknown", "-since", "2026-01-01")
	if !strings.Contains(stderr, "-ledger (GATEWAY_LEDGER): name the ledger") {
		t.Error(stderr)
	}
}
