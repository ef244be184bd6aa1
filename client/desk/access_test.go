package desk_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/crypto/argon2"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/server/servertest"
)

const password = "correct horse battery"

// lines makes each user's line once. The looker's line is in the form of passwd. The other
// lines have the cheapest accepted hash, because a hash from passwd takes 64 MiB and a while.
var lines = sync.OnceValues(func() (map[desk.Role]string, error) {
	looker, err := desk.UserLine("looker1", desk.Looker, password)
	salt := []byte("sixteen letters!")
	encode := base64.RawStdEncoding.EncodeToString
	cheap := fmt.Sprintf("$argon2id$v=19$m=8192,t=1,p=1$%s$%s",
		encode(salt), encode(argon2.IDKey([]byte(password), salt, 1, 8<<10, 1, 32)))
	return map[desk.Role]string{
		desk.Looker: looker, desk.Clerk: "clerk1:clerk:" + cheap, desk.Admin: "admin1:admin:" + cheap,
	}, err
})

// usersFile writes a file of users.
func usersFile(t *testing.T, more ...string) string {
	t.Helper()
	all, err := lines()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "users")
	content := strings.Join(
		append([]string{"# people", all[desk.Looker], all[desk.Clerk], all[desk.Admin]}, more...),
		"\n",
	)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func withUsers(path string) func(*desk.Config) {
	return func(c *desk.Config) { c.Open, c.UsersFile = false, path }
}

// login logs a visitor in, and returns the page that it leads to.
func (v *visitor) login(name, password, next string) (status int, page string) {
	v.h.t.Helper()
	_, page = v.get("/login?next=" + url.QueryEscape(next))
	return v.do(http.MethodPost, "/login", fill(page, "name", name, "password", password))
}

// A person logs in and out, sees the pages of the role, and loses access as soon as the
// file of users says so.
func TestLogin(t *testing.T) {
	path := usersFile(t)
	h := newHarness(t, withUsers(path))
	v := h.visitor()
	for _, page := range []string{"/", "/waiting", "/act?do=redo&row=1"} {
		if _, content := v.get(page); !strings.Contains(content, "<h1>Log in</h1>") {
			t.Errorf("%s is shown to a stranger", page)
		}
	}
	for _, c := range []struct{ name, password string }{{"looker1", "wrong"}, {"nobody", password}, {"", ""}} {
		if status, page := v.login(
			c.name,
			c.password,
			"/",
		); status != http.StatusUnauthorized ||
			!strings.Contains(page, "Name or password is wrong.") {
			t.Errorf("%q, %q: status %d", c.name, c.password, status)
		}
	}
	if log := h.log.String(); strings.Contains(log, "nobody\"") || strings.Contains(log, password) {
		t.Errorf("the log has what a stranger typed: %s", log)
	}

	status, page := v.login("looker1", password, "/?q="+h.cases[week.Booked])
	if status != http.StatusOK || !strings.Contains(text(page), "Yes: received by IPN") {
		t.Fatalf("status %d: %s", status, text(page))
	}
	if strings.Contains(page, "/act?") || strings.Contains(page, "What waits?") {
		t.Error("a looker is offered what a clerk may do")
	}
	for _, path := range []string{"/waiting", "/act?do=redo&row=" + h.rowOf(week.Waiting)} {
		if status, _ := v.get(path); status != http.StatusForbidden {
			t.Errorf("a looker gets status %d for %s", status, path)
		}
	}
	clerk := h.visitor()
	if status, page := clerk.login(
		"clerk1",
		password,
		"/waiting",
	); status != http.StatusOK ||
		!strings.Contains(text(page), "For a person: 2") {
		t.Fatalf("a clerk gets status %d: %s", status, text(page))
	}
	_, page = clerk.get("/act?do=redo&row=" + h.rowOf(week.Waiting))
	form := fill(page, "reason", "mine")
	if status, _ := v.do(http.MethodPost, "/act", form); status != http.StatusForbidden {
		t.Errorf("a looker who posts a clerk's form gets status %d", status)
	}
	if status, page := clerk.do(http.MethodPost, "/act", form); status != http.StatusOK {
		t.Errorf("a clerk gets status %d: %s", status, text(page))
	}
	h.wantAct(h.rowOf(week.Waiting), "redo", "clerk1", "mine")
	if status, _ := clerk.get("/audit"); status != http.StatusForbidden {
		t.Errorf("a clerk gets status %d for the audit", status)
	}
	acknowledge := "/act?do=acknowledge&id=e1"
	if status, _ := clerk.get(acknowledge); status != http.StatusForbidden {
		t.Errorf("a clerk gets status %d for %s", status, acknowledge)
	}
	h.wantDenials("looker1 was denied a page /waiting needs the role clerk none",
		"looker1 was denied a page /act (redo) needs the role clerk none",
		"clerk1 was denied a page /audit needs the role admin none",
		"clerk1 was denied a page /act (acknowledge) needs the role admin none")

	_, page = v.get("/")
	_, form2, _ := strings.Cut(page, `action="/logout"`)
	v.do(http.MethodPost, "/logout", fill("<main"+form2))
	if _, page := v.get("/"); !strings.Contains(page, "<h1>Log in</h1>") {
		t.Error("a looker who logged out is still in")
	}
	all, _ := lines()
	if err := os.WriteFile(path, []byte(all[desk.Looker]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, page := clerk.get("/waiting"); !strings.Contains(page, "<h1>Log in</h1>") {
		t.Error("a clerk who is no longer in the file is still in")
	}
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _ := clerk.get("/waiting"); status != http.StatusInternalServerError {
		t.Errorf("with a broken file of users the status is %d", status)
	}
}

// wantDenials checks that an admin sees each denied person and page, once even if the
// person has asked often, and that the log has them.
func (h *harness) wantDenials(wants ...string) {
	h.t.Helper()
	admin := h.visitor()
	if status, page := admin.login("admin1", password, "/audit"); status != http.StatusOK {
		h.t.Fatalf("an admin gets status %d: %s", status, text(page))
	}
	_, page := admin.get("/audit")
	wantAll(h.t, "the audit", text(page), wants...)
	if got := strings.Count(text(page), "was denied"); got != len(wants) {
		h.t.Errorf("the audit has %d denials, want %d:\n%s", got, len(wants), text(page))
	}
	wantAll(
		h.t,
		"the log",
		h.log.String(),
		`"msg":"audit","act":"deny","actor":"looker1","page":"/waiting","needs":"clerk"`,
	)
}

// A person logs in by keyboard, without scripts.
func TestLoginByKeyboardWithoutScript(t *testing.T) {
	h := newHarness(t, withUsers(usersFile(t)))
	b := h.tab()
	b.withoutScript()
	b.open("/waiting")
	b.onEveryDevice("login")
	b.withoutScript()
	b.tabTo("the name", "#name")
	b.typed("clerk1")
	b.do(chromedp.KeyEvent(kb.Tab))
	b.typed("wrong password")
	b.press(kb.Enter)
	b.want("Name or password is wrong.")
	b.tabTo("the password", "#password")
	b.typed(password)
	b.press(kb.Enter)
	b.want("What waits for somebody?", "clerk1, clerk", "Log out")
	b.onEveryDevice("waiting-of-a-clerk")
	b.withoutScript()
	b.tabTo("the way out", ".who button")
	b.press(kb.Enter)
	b.want("Log in")
}

// A made-up session gives no access.
func TestForgedSession(t *testing.T) {
	h := newEmptyHarness(t, servertest.Options{}).open(withUsers(usersFile(t)))
	other := newEmptyHarness(t, servertest.Options{}).open(withUsers(usersFile(t))) // signs with its own key
	v := other.visitor()
	if status, _ := v.login("clerk1", password, "/waiting"); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	there, _ := url.Parse(other.desk.URL)
	here, _ := url.Parse(h.desk.URL)
	stolen := h.visitor()
	stolen.client.Jar.SetCookies(here, v.client.Jar.Cookies(there))
	if _, page := stolen.get("/waiting"); !strings.Contains(page, "<h1>Log in</h1>") {
		t.Error("a session of another key is taken")
	}
}

// Tries are limited, and after too many tries even the right password fails.
func TestLoginsAreBounded(t *testing.T) {
	h := newEmptyHarness(t, servertest.Options{}).open(withUsers(usersFile(t)))
	v := h.visitor()
	slow := false
	for range 8 {
		status, _ := v.login("clerk1", "wrong", "/")
		if slow = status == http.StatusTooManyRequests; slow {
			break
		}
	}
	if !slow {
		t.Fatal("eight wrong passwords are tried")
	}
	if status, _ := v.login("clerk1", password, "/"); status != http.StatusTooManyRequests {
		t.Errorf("status %d", status)
	}
	if status, _ := h.visitor().login("looker1", password, "/"); status != http.StatusOK {
		t.Errorf("another person gets status %d", status)
	}
}

// The header of an authenticating proxy counts only from the proxy's own address.
func TestProxy(t *testing.T) {
	behind := func(network string) func(*desk.Config) {
		return func(c *desk.Config) {
			c.Open, c.UsersFile = false, usersFile(t, "anna@example.org:clerk:-")
			c.Proxies, c.ProxyHeader, c.ProxyRole = []netip.Prefix{
				netip.MustParsePrefix(network),
			}, "X-Forwarded-User", desk.Looker
		}
	}
	h := newEmptyHarness(t, servertest.Options{}).open(behind("127.0.0.1/32"))
	anna := h.visitor()
	anna.header.Set("X-Forwarded-User", "anna@example.org")
	if status, page := anna.get(
		"/waiting",
	); status != http.StatusOK ||
		!strings.Contains(page, "anna@example.org, clerk") {
		t.Errorf("status %d", status)
	}
	ben := h.visitor()
	ben.header.Set("X-Forwarded-User", "ben@example.org")
	if status, page := ben.get("/"); status != http.StatusOK || !strings.Contains(page, "ben@example.org, looker") {
		t.Errorf("status %d", status)
	}
	if status, _ := ben.get("/waiting"); status != http.StatusForbidden {
		t.Errorf("a looker gets status %d", status)
	}
	two := h.visitor()
	two.header["X-Forwarded-User"] = []string{"anna@example.org", "ben@example.org"}
	if _, page := two.get("/waiting"); !strings.Contains(page, "<h1>Log in</h1>") {
		t.Error("a request with two names is let in")
	}
	if status, _ := h.visitor().login("anna@example.org", "-", "/waiting"); status != http.StatusUnauthorized {
		t.Errorf("a person of the proxy's logs in with status %d", status)
	}

	far := newEmptyHarness(t, servertest.Options{}).open(behind("10.1.2.3/32"))
	forger := far.visitor()
	forger.header.Set("X-Forwarded-User", "anna@example.org")
	if _, page := forger.get("/waiting"); !strings.Contains(page, "<h1>Log in</h1>") {
		t.Error("the header of a stranger is believed")
	}
}

// Every answer tells the browser to run nothing and to keep nothing. A desk without
// logins answers only under this machine's names.
func TestHeaders(t *testing.T) {
	h := newEmptyHarness(t, servertest.Options{}).open()
	response, err := http.Get(h.desk.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; " +
			"base-uri 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options": "nosniff",
		"Cache-Control":          "no-store",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, cookie := range response.Cookies() {
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
			t.Errorf("the cookie is %v", cookie)
		}
	}
	request, _ := http.NewRequest(http.MethodGet, h.desk.URL+"/", nil)
	request.Host = "rebound.example.org"
	if response, err = http.DefaultClient.Do(request); err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("under another name the status is %d", response.StatusCode)
	}
}

// A link after the login stays on this desk.
func TestNextStaysHere(t *testing.T) {
	h := newEmptyHarness(t, servertest.Options{}).open(withUsers(usersFile(t)))
	for _, next := range []string{"https://example.org/", "//example.org/", `/\example.org`} {
		_, page := h.visitor().get("/login?next=" + url.QueryEscape(next))
		if got := fill(page).Get("next"); got != "/" {
			t.Errorf("after %q the login leads to %q", next, got)
		}
	}
}

// The desk does not start half open.
func TestNew(t *testing.T) {
	noted, err := client.New("127.0.0.1:1", client.Config{}) // it connects at the first call
	if err != nil {
		t.Fatal(err)
	}
	defer noted.Close()
	for name, config := range map[string]desk.Config{
		"without Noted":      {Open: true},
		"without users":      {Noted: noted},
		"with a short key":   {Noted: noted, Open: true, SessionKey: []byte("short")},
		"with half a proxy":  {Noted: noted, ProxyHeader: "X-Forwarded-User"},
		"with no such users": {Noted: noted, UsersFile: filepath.Join(t.TempDir(), "users")},
	} {
		if _, err := desk.New(config); err == nil {
			t.Errorf("a desk opens %s", name)
		}
	}
	for content, want := range map[string]string{
		"anna:clerk":                  "line 1",
		"anna:boss:-":                 "role",
		"anna:clerk:-\nanna:looker:-": "second time",
		"anna:clerk:$argon2id$v=19$m=9999999,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA": "hash",
	} {
		path := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := desk.New(
			desk.Config{Noted: noted, UsersFile: path},
		); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}
