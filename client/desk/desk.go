// Package desk is a web page for a person without a shell who is asked "where is my
// donation?"
//
//	page, err := desk.New(desk.Config{Noted: noted, Inbox: box, Ledger: "paypal-live", UsersFile: "users"})
//	…
//	http.ListenAndServe("127.0.0.1:8082", page)
//
// It answers in a sentence, shows a timeline of both channels, lists everything that
// waits for a person, and lets permitted people redo, close and forget. README.md is its
// manual.
//
// # Design
//
// Two sources answer. The inbox's journal has every message, even a message without a
// note. Noted has every note, even from receivers without an inbox. If a source does not
// answer, the page says so and never shows "not there". A ledger may be large: walk/
// searches it in the background, and a page shows the results so far.
//
//	question.go   the typed question
//	find.go       asks both sources, and groups their answers by donation
//	answer.go     puts the result into sentences
//	timeline.go   shows the history of a donation
//	waiting.go    everything that waits for a person
//	agree.go      compares with PayPal's report; reconcile/ does the work
//	alive.go      the state of the channels and the store; alive/ does the work
//	shadow.go     counts how code without Noted would book the payments; shadow/ does the work
//	act.go        shows the plan of an act, and does the act; the audit
//	plans.go      what an act changes: redo, forget, and "I have booked it"
//	access.go     roles and sessions: users.go
//
// html/template makes the pages. They need no script, and the content security policy
// allows none. Every change is a form with the session's token.
package desk

import (
	"bytes"
	"crypto/rand"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/desk/reconcile"
	"github.com/donation-dedupe/noted/client/desk/walk"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// Config holds the settings of a desk.
type Config struct {
	// Noted is asked about donations. Required.
	Noted *client.Client
	// Inbox is the gateway's inbox: the desk reads its journal, and people act on its
	// messages. If nil, the desk knows only Noted's notes.
	Inbox *inbox.Inbox
	// Ledger is the ledger of the donations, the same as the gateway's.
	Ledger string

	// Open gives every visitor the role admin, under the name "dev". It is for a trial on
	// this machine only: the desk refuses requests to any name except the loopback's.
	Open bool
	// UsersFile names the file of users; see users.go for its format. The desk reads it
	// at each request, so that a removed user loses access at once.
	UsersFile string
	// Proxies are the addresses of an authenticating proxy, and ProxyHeader is the header
	// in which it names the visitor. The desk ignores the header from any other address.
	Proxies     []netip.Prefix
	ProxyHeader string
	// ProxyRole is the role of a person whom the proxy names and the file of users does
	// not. Empty: no role.
	ProxyRole Role
	// SessionKey signs sessions: 32 bytes or more. Empty: the desk makes a key, and a
	// restart ends all sessions.
	SessionKey []byte

	// Admins are the admin listeners of Noted's servers, which report a loss of notes.
	// Without them the desk says that it does not know.
	Admins []*alive.Admin
	// NotedCertificate returns the end of Noted's certificate, from the last handshake;
	// zero before the first. Nil without TLS.
	NotedCertificate func() time.Time
	// SilentAfter is the shortest time without a message after which a channel can count
	// as silent. Default DefaultSilentAfter.
	SilentAfter time.Duration

	// Zone is the time zone of the people at the desk. Default time.Local.
	Zone *time.Location
	// Patience limits a person's wait for a walk through a ledger. The walk goes on
	// afterwards. Default 700ms.
	Patience time.Duration
	// Logger gets the audit and all failures. Default: no log.
	Logger *slog.Logger
	// Examples are ids to try, shown below the question. For -dev.
	Examples []Example
}

// An Example is an id to try.
type Example struct{ Name, ID string }

// A Desk serves the page.
type Desk struct {
	config Config
	noted  *client.Client
	box    *inbox.Inbox
	log    *slog.Logger
	pages  map[string]*template.Template
	access *access
	mux    *http.ServeMux

	counter   *alive.Counter
	walks     *walk.Walks
	comparing chan struct{}
}

// New makes a desk. It calls neither Noted nor the inbox yet.
func New(config Config) (*Desk, error) {
	if config.Zone == nil {
		config.Zone = time.Local
	}
	if config.Patience == 0 {
		config.Patience = 700 * time.Millisecond
	}
	if config.SilentAfter == 0 {
		config.SilentAfter = DefaultSilentAfter
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if len(config.SessionKey) == 0 {
		config.SessionKey = make([]byte, 64)
		_, _ = rand.Read(config.SessionKey) // never fails
	}
	switch {
	case config.Noted == nil:
		return nil, errors.New("desk: Noted is required")
	case len(config.SessionKey) < 32:
		return nil, errors.New("desk: SessionKey is shorter than 32 bytes")
	case !config.Open && config.UsersFile == "" && config.ProxyHeader == "":
		return nil, errors.New("desk: set UsersFile, or Proxies with ProxyHeader, to name the people who may log in")
	case (config.ProxyHeader == "") != (len(config.Proxies) == 0):
		return nil, errors.New("desk: Proxies and ProxyHeader come together")
	}
	if config.UsersFile != "" {
		if _, err := readUsers(config.UsersFile); err != nil {
			return nil, err
		}
	}
	d := &Desk{config: config, noted: config.Noted, box: config.Inbox, log: config.Logger, access: newAccess(config)}
	d.counter = &alive.Counter{
		Noted: d.noted, Inbox: d.box, Ledger: config.Ledger, Zone: config.Zone, Log: config.Logger,
	}
	d.walks = walk.New(d.noted)
	d.comparing = make(chan struct{}, comparisons)
	d.pages = d.templates()
	d.mux = d.routes()
	return d, nil
}

func (d *Desk) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.guard(Looker, d.findPage))
	mux.HandleFunc("GET /waiting", d.guard(Clerk, d.waitingPage))
	mux.HandleFunc("GET /audit", d.guard(Admin, d.auditPage))
	mux.HandleFunc("GET /agree", d.guard(Looker, d.agreePage))
	mux.HandleFunc("POST /agree", d.guardUpload(Looker, d.compare))
	mux.HandleFunc("GET /alive", d.guard(Looker, d.alivePage))
	mux.HandleFunc("GET /shadow", d.guard(Looker, d.shadowPage))
	mux.HandleFunc("GET /act", d.guard(Clerk, d.planPage))
	mux.HandleFunc("POST /act", d.guard(Clerk, d.actPage))
	mux.HandleFunc("GET /done", d.guard(Clerk, d.donePage))
	mux.HandleFunc("GET /login", d.loginPage)
	mux.HandleFunc("POST /login", d.login)
	mux.HandleFunc("POST /logout", d.logout)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /desk.css", style)
	mux.HandleFunc("GET /", d.guard(Looker, func(w http.ResponseWriter, r *http.Request) {
		d.fail(w, r, http.StatusNotFound, "There is no such page.", "Use the links above.")
	}))
	return mux
}

// policy allows a page its own style sheet and forms, and nothing else.
const policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers a request.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cache-Control", "no-store") // a page shows donors' payments
	if d.config.Open && !isLoopback(r.Host) {
		http.Error(w, "a desk without logins answers under localhost only", http.StatusMisdirectedRequest)
		return
	}
	if r.URL.Path != "/agree" { // its report has its own limit
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	}
	d.mux.ServeHTTP(w, r)
}

//go:embed pages
var files embed.FS

// pageNames are the templates, each with the layout around it.
var pageNames = []string{"find", "waiting", "agree", "alive", "shadow", "audit", "plan", "done", "login", "failed"}

func (d *Desk) templates() map[string]*template.Template {
	pages := map[string]*template.Template{}
	funcs := template.FuncMap{
		"decimal": reconcile.Decimal,
		"day":     func(t time.Time) string { return t.Format("Mon 2 Jan") },
		"when":    func(t time.Time) string { return d.when(t) },
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
	for _, name := range pageNames {
		pages[name] = template.Must(template.New("layout.html").Funcs(funcs).
			ParseFS(files, "pages/layout.html", "pages/"+name+".html"))
	}
	return pages
}

// when writes a time in a person's words, in the desk's zone.
func (d *Desk) when(t time.Time) string {
	return t.In(d.config.Zone).Format("Mon 2 Jan 2006, 15:04:05")
}

// A frame is the part that all pages share.
type frame struct {
	Title  string
	Page   string
	Person person
	Token  string
	Dev    bool
	Ledger string
	Zone   string
	View   any
}

// show writes a page.
func (d *Desk) show(w http.ResponseWriter, r *http.Request, status int, page, title string, view any) {
	f := frame{
		Title: title, Page: page, Person: personOf(r), Token: sessionOf(r).Token, Dev: d.config.Open,
		Ledger: d.config.Ledger, Zone: time.Now().In(d.config.Zone).Format("MST"), View: view,
	}
	var b bytes.Buffer
	if err := d.pages[page].Execute(&b, f); err != nil {
		d.log.Error("a page cannot be shown", "page", page, "cause", err.Error())
		http.Error(w, "This page cannot be shown. Tell the person who runs this desk.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error means the visitor has left
}

type failedView struct{ Problem, Advice string }

// fail says what is wrong and what to do.
func (d *Desk) fail(w http.ResponseWriter, r *http.Request, status int, problem, advice string) {
	d.show(w, r, status, "failed", problem, failedView{problem, advice})
}

func style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=300")
	http.ServeFileFS(w, r, files, "pages/desk.css")
}
