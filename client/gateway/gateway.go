// Package gateway is a receiver of PayPal's messages for organisations without their own
// receiver. It takes IPNs and webhooks, verifies them, asks Noted, and delivers each
// donation downstream once.
//
//	g, err := gateway.New(gateway.Config{
//		Noted:          "127.0.0.1:50051",
//		Ledger:         "paypal-live",
//		Accounts:       []string{"donations@example.org"},
//		WebhookID:      "8PT597110X687430LKGECATA",
//		ForwardTo:      "http://127.0.0.1:8000/donations",
//		ForwardSecrets: []string{"whsec_…"},
//	})
//	if err != nil { … }
//	defer g.Close()
//	http.Handle("/paypal/", g)
//
// A Gateway is an http.Handler of POST /paypal/ipn and POST /paypal/webhook, GET /healthz
// and GET /readyz. [Gateway.Metrics] is a second handler, for a listener that only
// operators reach. Command noted-gateway is the gateway as a program. README.md lists the
// settings at PayPal and describes the events for the downstream.
//
// # How a message travels
//
// receive.go limits the size, number and duration of messages. internal/process verifies
// a message (with internal/verify), identifies its donations (with client/paypal), notes
// each donation with a hold, delivers it downstream (internal/downstream), and settles
// it. An unverified message never reaches Noted: a forger could suppress a donation by
// telling of it first. A donation that Noted cannot decide waits for a person.
//
// With an inbox (package inbox) a verified message is on disk before PayPal gets its
// answer. Workers process it afterwards, as often as necessary.
//
// # Answers to PayPal
//
//	200   every donation in the message is settled, a duplicate, skipped, or
//	      delivered for a person; with an inbox, the message is kept
//	503   another holds a donation, or a part is away. PayPal comes again; settled
//	      donations are duplicates by then
//	4xx   malformed, not verified, or not ours; nothing is noted. PayPal comes again too,
//	      so a mistake in the configuration loses nothing for days
//
// # Design
//
// Work goes on when PayPal hangs up. PayPal waits 30 seconds or less, and delivering and
// settling may take longer. Stopping halfway would only deliver the donation twice under
// its one id. Each call has a timeout.
//
// The downstream is a program that knows donation ids, or a listener for PayPal's own
// messages (ForwardOriginal), which knows none. Only the inbox remembers the messages
// that a listener has accepted, so ForwardOriginal requires it.
//
// Several accounts (Config.PayPalAccounts) share the endpoints, the verification and the
// inbox's database. Each has its own ledger, downstream and workers, so a hanging
// downstream delays only its own account. The inbox keeps the account of a message.
//
// The gateway's only state is two caches (certificates and the API token) and the memory
// of transmissions (internal/verify). Noted decides which gateway processes a donation,
// so any number of gateways behave like one. Only the gateway that took the first body
// refuses another body under its transmission id. Gateways with an inbox share the work
// through its database.
package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/metrics"
	"github.com/donation-dedupe/noted/client/gateway/internal/process"
	"github.com/donation-dedupe/noted/client/gateway/internal/traces/ends"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// Gateway takes PayPal's messages.
type Gateway struct {
	config    Config
	noted     *client.Client
	accounts  []openAccount
	webhooks  *verify.Webhook // nil without webhooks
	channels  []*process.Channel
	processor *process.Processor
	metrics   *metrics.Metrics
	log       *metrics.Log
	ready     readiness
	busy      chan struct{} // one element for each message under way
	room      room
	mux       *http.ServeMux
	handler   http.Handler // mux, traced
}

// New makes a gateway. It connects to the inbox's database and to no other machine:
// /readyz reports an unreachable part. An impossible setting is a [ConfigError]; New
// joins all of them.
func New(config Config) (*Gateway, error) { return newGateway(config, false) }

// newGateway makes a gateway. An idle gateway does not process the messages in its inbox.
func newGateway(config Config, idle bool) (*Gateway, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("making a gateway: %w", err)
	}
	g := &Gateway{
		config:  config,
		metrics: metrics.New(),
		log:     metrics.NewLog(config.Logger),
		busy:    make(chan struct{}, maxBusy),
		mux:     http.NewServeMux(),
	}
	g.handler = ends.Handler(config.TracerProvider, g.remote, g.mux)
	g.room.left.Store(maxBusy * config.MaxBody)
	g.ready.rights = make(map[string]rights)
	if err := g.open(idle); err != nil {
		g.Close()
		return nil, fmt.Errorf("making a gateway: %w", err)
	}
	for _, c := range g.channels {
		g.mux.HandleFunc("/paypal/"+c.Name, func(w http.ResponseWriter, r *http.Request) { g.receive(w, r, c) })
	}
	g.mux.HandleFunc("GET /healthz", g.healthz)
	g.mux.HandleFunc("GET /readyz", g.readyz)
	g.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer.Write(w, &answer.Refusal{
			Status: http.StatusNotFound,
			Reason: "not_found",
			Text:   "there is nothing at this path; PayPal posts to /paypal/ipn and /paypal/webhook",
		})
	})
	return g, nil
}

// open makes the parts of the gateway.
func (g *Gateway) open(idle bool) (err error) {
	c := g.config
	noted := c.NotedClient
	noted.Hold = c.Hold
	noted.DialOptions = slices.Concat(ends.Dial(c.TracerProvider), noted.DialOptions)
	if g.noted, err = client.New(c.Noted, noted); err != nil {
		return err
	}
	if g.accounts, err = openAccounts(c.accounts()); err != nil {
		return err
	}
	accounts := make([]*process.Account, len(g.accounts))
	for i, a := range g.accounts {
		accounts[i] = a.Account
	}
	verifying := c.verifying()
	verifying.Metrics = g.metrics
	if takesIPNs(c.accounts()) {
		g.channels = append(g.channels, process.IPNs(verify.NewIPN(verifying), accounts))
	}
	if len(verifying.Webhooks) > 0 {
		if g.webhooks, err = verify.NewWebhook(verifying); err != nil {
			return err
		}
		g.channels = append(g.channels, process.Webhooks(g.webhooks, accounts))
	}
	g.processor, err = process.New(process.Config{
		Accounts: accounts, ForwardTimeout: c.ForwardTimeout, Hold: c.Hold,
		InboxURL: c.InboxURL, InboxKeys: c.InboxKeys, InboxKeep: c.InboxKeep, InboxJournal: c.InboxJournal,
		InboxPatience: c.InboxPatience, InboxUnverified: c.InboxUnverified,
		Noted: g.noted, Channels: g.channels, Metrics: g.metrics, Log: g.log,
		TracerProvider: c.TracerProvider, Now: c.Now, Idle: idle,
	})
	return err
}

// ServeHTTP takes PayPal's messages, and answers /healthz and /readyz.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// Metrics serves the metrics for an operator's Prometheus. Keep it from the public.
func (g *Gateway) Metrics() http.Handler { return g.metrics.Handler() }

// Close closes the connections. First let the messages under way finish, as
// http.Server.Shutdown does.
func (g *Gateway) Close() error {
	var err error
	if g.processor != nil {
		err = g.processor.Close()
	}
	if g.noted != nil {
		err = errors.Join(err, g.noted.Close())
	}
	for _, a := range g.accounts {
		err = errors.Join(err, a.close())
	}
	return err
}
