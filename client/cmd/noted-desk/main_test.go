package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/server/servertest"
)

// no is an empty environment.
func no(string) (string, bool) { return "", false }

// buffer is an output that several goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }

func (b *buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// input is a standard input without a terminal.
func input(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// start runs the program until the test ends, and returns its address.
func start(t *testing.T, args ...string) (address string, stdout *buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, stderr := &buffer{}, &buffer{}
	code := make(chan int, 1)
	go func() { code <- run(ctx, append([]string{"noted-desk"}, args...), no, input(t, ""), stdout, stderr) }()
	t.Cleanup(func() {
		cancel()
		if got := <-code; got != 0 {
			t.Errorf("exit code %d: %s", got, stderr)
		}
	})
	listening := regexp.MustCompile(`"msg":"serving the desk","listen":"([^"]+)"`)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := listening.FindStringSubmatch(stderr.String()); found != nil {
			return found[1], stdout
		}
		select {
		case got := <-code:
			code <- got
			t.Fatalf("exit code %d: %s", got, stderr)
		default:
		}
	}
	t.Fatalf("the desk does not start: %s", stderr)
	return "", nil
}

func get(t *testing.T, address string) string {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// -dev shows a week of made-up donations, at every start.
func TestDev(t *testing.T) {
	noted := servertest.New(t)
	for range 2 {
		address, stdout := start(t, "-dev", "-noted", noted.Addr(), "-listen", "127.0.0.1:0")
		if !strings.Contains(stdout.String(), "a trial with made-up donations on http://"+address) {
			t.Errorf("it says %q", stdout)
		}
		page := get(t, "http://"+address+"/")
		example := regexp.MustCompile(`href="/\?q=([A-Z0-9]+)">booked, told on both channels`).FindStringSubmatch(page)
		if example == nil {
			t.Fatalf("no example is shown:\n%s", page)
		}
		if answer := get(t, "http://"+address+"/?q="+example[1]); !strings.Contains(answer, "Yes: received by IPN") {
			t.Errorf("the example is not found:\n%s", answer)
		}
	}
}

// Only a user from passwd can log in.
func TestPasswdAndUsers(t *testing.T) {
	var line, problems bytes.Buffer
	args := []string{"noted-desk", "passwd", "anna", "clerk"}
	if code := run(t.Context(), args, no, input(t, "correct horse battery\n"), &line, &problems); code != 0 {
		t.Fatalf("exit code %d: %s", code, &problems)
	}
	if !strings.HasPrefix(line.String(), "anna:clerk:$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Fatalf("the line is %q", &line)
	}
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, line.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	address, _ := start(t, "-users", users, "-noted", servertest.New(t).Addr(), "-listen", "127.0.0.1:0")
	if page := get(t, "http://"+address+"/waiting"); !strings.Contains(page, "<h1>Log in</h1>") {
		t.Errorf("a stranger sees\n%s", page)
	}
}

// -version prints the version, and -help mentions it.
func TestVersion(t *testing.T) {
	for flag, want := range map[string]string{
		"-version": "noted-desk ",
		"-help":    "noted-desk -version prints the version",
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"noted-desk", flag}, no, input(t, ""), &stdout, &stderr)
		if code != 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("noted-desk %s: exit code %d, %q; want 0 and %q\n%s", flag, code, &stdout, want, &stderr)
		}
	}
}

// Wrong settings get a sentence with the remedy, and the exit code is 2.
func TestUsage(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":                                     "the desk has no users: set -users (DESK_USERS), or -proxy",
		"-dev -listen 0.0.0.0:8082":            "-listen must be on this machine",
		"-dev -inbox sqlite:///tmp/x.db":       "a trial needs no -inbox",
		"-users /nowhere/users":                "reading the users: open /nowhere/users",
		"-proxy 10.0.0.1":                      "it comes together with -proxy-header",
		"-proxy nonsense -proxy-header X-User": "neither an address nor a network",
		"-dev -proxy-role boss":                `"boss" must be one of looker, clerk, admin`,
		"-dev -time-zone Nowhere/Land":         "is not a time zone",
		"-dev -log-level loud":                 "must be one of debug, info, warn, error",
		"-dev -session-key-file " + short:      "it holds 5 bytes; make one with: head -c 64 /dev/urandom",
		"-dev -noted-ca " + short:              "the file holds no PEM certificate",
		"-dev -noted-admin 127.0.0.1:9090":     "is not an address such as http://127.0.0.1:9090",
		"-dev -notify mail.example.org":        "write smtp://USER@HOST:PORT?from=ADDRESS&to=ADDRESS",
		"-dev -notify https://h.example.org":   "needs the address of this desk for its links",
		"-dev -notify-secret-file " + short:    "it comes together with -notify",
		"-users x -notify https://h.example.org -public-url https://d.example.org": "it needs -inbox",
		"-colour":           "there is no flag -colour",
		"serve":             `"serve" is not a flag`,
		"passwd anna":       "needs a name and a role",
		"passwd anna boss":  `"boss" is not a role`,
		"passwd anna clerk": "a password needs 12 characters or more",
	} {
		var stdout, stderr bytes.Buffer
		code := run(
			t.Context(),
			append([]string{"noted-desk"}, strings.Fields(args)...),
			no,
			input(t, "short\n"),
			&stdout,
			&stderr,
		)
		if code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("noted-desk %s: exit code %d, want 2 and %q:\n%s", args, code, want, &stderr)
		}
	}
}

// Without a server a trial shows how to start one.
func TestDevWithoutNoted(t *testing.T) {
	var stdout, stderr bytes.Buffer
	args := []string{"noted-desk", "-dev", "-noted", "127.0.0.1:1", "-listen", "127.0.0.1:0"}
	if code := run(t.Context(), args, no, input(t, ""), &stdout, &stderr); code != 1 ||
		!strings.Contains(stderr.String(), "start one with: go run ./server/cmd/noted -dev") {
		t.Errorf("exit code %d:\n%s", code, &stderr)
	}
}

// The README agrees with the help: its table of flags, and its sentence about rights.
func TestReadmeFlags(t *testing.T) {
	readme, err := os.ReadFile("../../desk/README.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	rows := regexp.MustCompile("(?m)^\\| `-([a-z-]+)` \\|([^|]*)\\|")
	for _, row := range rows.FindAllStringSubmatch(string(readme), -1) {
		told[row[1]] = strings.Trim(strings.TrimSpace(row[2]), "`")
	}
	for _, flag := range (&settings{}).flags(no) {
		name := flag.Names()[0]
		value, ok := told[name]
		if !ok {
			t.Errorf("README.md lacks -%s", name)
		}
		if want := cmdline.Default(flag); value != want {
			t.Errorf("README.md says that -%s is %q by default, and it is %q", name, value, want)
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("README.md has -%s, which is not a flag", name)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"noted-desk", "-help"}, no, input(t, ""), &stdout, &stderr); code != 0 ||
		!strings.Contains(
			stdout.String(),
			"-session-key-file FILE",
		) || !strings.Contains(stdout.String(), "DESK_INBOX") {
		t.Errorf("exit code %d: %s%s", code, &stdout, &stderr)
	}
	oneLine := func(text string) string { return strings.Join(strings.Fields(strings.ReplaceAll(text, "`", "")), " ") }
	rights := regexp.MustCompile(`The desk needs the verb [^.:]+`).FindString(oneLine(string(readme)))
	if rights == "" || !strings.Contains(oneLine(stdout.String()), rights+".") {
		t.Errorf("README.md says %q, and the help of -noted-token does not", rights)
	}
}

// With -notify a webhook is called for a message that has waited for a person for more
// than a day. A restarted desk does not call it again.
func TestNotify(t *testing.T) {
	got := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a truncated body is not a wanted body
		got <- string(body)
	}))
	t.Cleanup(hook.Close)
	url := "sqlite://" + filepath.Join(t.TempDir(), "inbox.db")
	yesterday := time.Now().Add(-25 * time.Hour)
	keep(t, url, yesterday, inbox.Arrival{Channel: "ipn", ID: "1", State: inbox.Person})
	noted, users := servertest.New(t), filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("anna:clerk:-\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(cause, page string) {
		t.Run(cause, func(t *testing.T) {
			start(t, "-users", users, "-noted", noted.Addr(), "-listen", "127.0.0.1:0", "-ledger", "live",
				"-inbox", url, "-notify", hook.URL, "-public-url", "https://desk.example.org",
				"-noted-admin", "http://"+noted.AdminAddr())
			select {
			case body := <-got:
				wants := []string{`"cause":"` + cause + `"`, `"state":"begun"`, `"link":"https://desk.example.org` + page + `"`}
				for _, want := range wants {
					if !strings.Contains(body, want) {
						t.Errorf("the webhook got %s, want %s", body, want)
					}
				}
			case <-time.After(time.Minute):
				t.Fatal("nobody is told")
			}
		})
	}
	run("person", "/waiting#person")
	for _, id := range []string{"2", "3", "4"} {
		keep(t, url, time.Now(), inbox.Arrival{Channel: "webhook", ID: id, State: inbox.Done})
	}
	run("silent:ipn", "/alive") // a repeated message would come before this one
}

// keep keeps a message in an inbox at a time.
func keep(t *testing.T, url string, at time.Time, a inbox.Arrival) {
	t.Helper()
	keys, err := inbox.ReadKeys([]byte(inbox.NewKeyLine()))
	if err != nil {
		t.Fatal(err)
	}
	box, err := inbox.Open(t.Context(), inbox.Config{
		URL: url, Account: "live", Keys: keys, Now: func() time.Time { return at },
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Ledger, a.ReceivedAt, a.Cause = "live", at, "a test"
	a.Donations = []inbox.Donation{{SeriesID: "I-1", Event: "EVENT_PAYMENT", Pair: []byte("{}")}}
	if err := errors.Join(box.Keep(t.Context(), a), box.Close()); err != nil {
		t.Fatal(err)
	}
}
