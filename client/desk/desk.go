// Package desk is a web page for the person who is asked "where is my donation?" and has
// no shell.
//
//	page, err := desk.New(desk.Config{Noted: noted, Inbox: box, Ledger: "paypal-live", UsersFile: "users"})
//	…
//	http.ListenAndServe("127.0.0.1:8082", page)
//
// It answers in a sentence, shows a timeline of both channels below, lists what waits for
// a person, and lets those who may redo, close and forget. README.md is its manual.
//
// # Design
//
// Two sources answer: the inbox's journal knows every message, also those that never
// became a note; Noted knows what is noted, also by receivers without an inbox. Neither
// is taken for the other: what one of them cannot be asked is said, and never shown as
// "not there".
//
//	question.go   what somebody typed
//	find.go       asks both sources, and groups their answers by donation
//	answer.go     says it in sentences
//	timeline.go   shows how it came about
//	waiting.go    what waits for a person
//	agree.go      compares with PayPal's report; reconcile/ does the work
//	act.go        plans what a person asks for, shows the plan, and does it
//	audit.go      who did what
//	access.go     who may: session.go, users.go
//
// Pages are made by html/template and need no script, so there is none, and the content
// security policy allows none. Every change is a form with a token of the session.
package desk

import (
	"crypto/rand"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// Config holds the settings of a desk.
type Config struct {
	// Noted is asked about donations. Required.
	Noted *client.Client
	// Inbox is the gateway's inbox, whose journal is read and on which people act. Nil where
	// there is none: the desk then knows what is noted and nothing else.
	Inbox *inbox.Inbox
	// Ledger is the book that the donations belong to, as the gateway has it.
	Ledger string

	// Open lets everybody in as admin, under the name "dev". Only for a trial on this
	// machine: requests under another name than the loopback's are refused.
	Open bool
	// UsersFile names the file of users; users.go says what is in it. It is read at each
	// request, so that a user who is taken out of it is out.
	UsersFile string
	// Proxies are the addresses of a proxy that authenticates people, and ProxyHeader is the
	// header in which it names them. The header of any other address counts for nothing.
	Proxies     []netip.Prefix
	ProxyHeader string
	// ProxyRole is the role of people whom the proxy names and the file of users does not.
	// Empty: they may do nothing.
	ProxyRole Role
	// SessionKey signs sessions: 32 bytes or more. Empty: one is made, and a restart ends
	// all sessions.
	SessionKey []byte

	// Zone is the time zone of the people at the desk. Default time.Local.
	Zone *time.Location
	// Patience bounds how long a question may walk through a ledger. Default 2s.
	Patience time.Duration
	// Logger gets the audit, and what went wrong. Default: nothing is logged.
	Logger *slog.Logger
	// Examples are ids to try, shown below the box: for -dev.
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

	comparing chan struct{}
}

// New makes a desk. It asks nobody yet.
func New(config Config) (*Desk, error) {
	if config.Zone == nil {
		config.Zone = time.Local
	}
	if config.Patience == 0 {
		config.Patience = 2 * time.Second
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
		return nil, errors.New("desk: say who may come in: UsersFile, or Proxies with ProxyHeader")
	case (config.ProxyHeader == "") != (len(config.Proxies) == 0):
		return nil, errors.New("desk: Proxies and ProxyHeader come together")
	}
	if config.UsersFile != "" {
		if _, err := readUsers(config.UsersFile); err != nil {
			return nil, err
		}
	}
	d := &Desk{config: config, noted: config.Noted, box: config.Inbox, log: config.Logger, access: newAccess(config)}
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
	mux.HandleFunc("GET /act", d.guard(Clerk, d.planPage))
	mux.HandleFunc("POST /act", d.guard(Clerk, d.actPage))
	mux.HandleFunc("GET /done", d.guard(Clerk, d.donePage))
	mux.HandleFunc("GET /login", d.loginPage)
	mux.HandleFunc("POST /login", d.login)
	mux.HandleFunc("POST /logout", d.logout)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /desk.css", style)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		d.fail(w, r, http.StatusNotFound, "There is no such page.", "Use the links above.")
	})
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
	header.Set("Cache-Control", "no-store") // a page shows what donors did
	if d.config.Open && !isLoopback(r.Host) {
		http.Error(w, "a desk without logins answers under localhost only", http.StatusMisdirectedRequest)
		return
	}
	if r.URL.Path != "/agree" { // its report has a bound of its own
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	}
	d.mux.ServeHTTP(w, r)
}
