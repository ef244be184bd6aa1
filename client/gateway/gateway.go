// Package gateway is a receiver of PayPal's messages for organisations that have no
// receiver of their own. It takes IPNs and webhooks, verifies them, asks Noted, and hands
// each donation on once.
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
// operators reach. Command noted-gateway is the gateway as a program. README.md says what
// to enter at PayPal and what the downstream gets.
//
// # How a message travels
//
// receive.go bounds the size, number and duration of messages. Then the message is
// verified (ipn.go and verify_ipn.go, or webhook.go with signature.go or verify_api.go).
// An unverified message never reaches Noted: a forger could suppress a donation by
// telling of it first. client/paypal identifies the donations of a message. work.go notes
// each donation with a hold, hands it on, and settles it. A donation that Noted cannot
// decide goes to a person (person.go).
//
// With an inbox (package inbox) a verified message is on disk before PayPal is answered
// (inbox_take.go). Workers claim it (inbox_work.go), and note, hand on and settle its
// donations (inbox_donate.go), as often as it takes.
//
// # Answers to PayPal
//
//	200   every donation in the message is settled, a duplicate, skipped, or handed on for
//	      a person; with an inbox, the message is kept
//	503   another holds a donation, or a part is away. PayPal comes again; settled
//	      donations are duplicates by then
//	4xx   malformed, not verified, or not ours; nothing is noted. PayPal comes again too,
//	      so a mistake in the configuration loses nothing for days
//
// # Design
//
// Work goes on when PayPal hangs up. PayPal waits 30 seconds or less, and delivering and
// settling may take longer. Stopping halfway would only hand the donation on twice under
// its one id. A timeout bounds each call.
//
// The gateway's only state is two caches (certificates and the API token) and the memory
// of transmissions (transmissions.go). Noted decides who processes a donation, so any
// number of gateways behave as one. Only the gateway that took the first body refuses
// another body under its transmission id. Gateways with an inbox share the work through
// its database.
package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The values of Config.WebhookVerify.
const (
	VerifyBySignature = "signature"
	VerifyByAPI       = "api"
)

// The defaults of Config.
const (
	DefaultWebhookMaxAge  = 73 * time.Hour
	DefaultHold           = client.DefaultHold
	DefaultForwardTimeout = 20 * time.Second
	DefaultMaxBody        = 256 << 10
	DefaultBodyTimeout    = 10 * time.Second
	DefaultVerifyTimeout  = 10 * time.Second

	DefaultInboxKeep       = inbox.DefaultKeep
	DefaultInboxJournal    = inbox.DefaultJournal
	DefaultInboxPatience   = 14 * 24 * time.Hour
	DefaultInboxUnverified = 1000

	DefaultIPNVerifyURL        = "https://ipnpb.paypal.com/cgi-bin/webscr"
	DefaultIPNVerifyURLSandbox = "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr"
	DefaultPayPalAPI           = "https://api-m.paypal.com"
)

// longestHold is the contract's limit.
const longestHold = 15 * time.Minute

// DefaultCertHosts are the hosts that serve PayPal's certificates.
var DefaultCertHosts = []string{
	"api.paypal.com",
	"api-m.paypal.com",
	"api.sandbox.paypal.com",
	"api-m.sandbox.paypal.com",
}

// Config holds every setting of a gateway. A zero field means its default.
type Config struct {
	// Noted is the address of the server, such as "127.0.0.1:50051". Required.
	Noted string
	// NotedClient is how to reach it: certificates, token. Its Hold is that of this
	// Config.
	NotedClient client.Config

	// Ledger is the book that the donations belong to; empty is a ledger too.
	Ledger string
	// SandboxLedger is the book that PayPal's tests belong to: IPNs with test_ipn, and
	// messages that the sandbox signed. Empty refuses them.
	SandboxLedger string

	// Accounts are our receiver ids and e-mail addresses; an IPN to another account is
	// refused. Without accounts the gateway has no endpoint for IPNs.
	Accounts []string
	// IPNVerifyURL is where IPNs are posted back to. Default PayPal's, or the sandbox's
	// for an IPN with test_ipn.
	IPNVerifyURL string

	// WebhookID is the webhook's id from PayPal's dashboard; the signature covers it.
	// Without it the gateway has no endpoint for webhooks.
	WebhookID string
	// WebhookVerify is VerifyBySignature (the default; it needs only the certificate) or
	// VerifyByAPI (it asks PayPal about every message).
	WebhookVerify string
	// WebhookMaxAge is the greatest age of a transmission. For as long the gateway
	// remembers the body under each transmission id, since the holder of a delivery can
	// make another body of the same checksum. Default 73h: PayPal redelivers for three
	// days.
	WebhookMaxAge time.Duration
	// CertHosts are the hosts that certificates may be fetched from, as host or
	// host:port. Default DefaultCertHosts.
	CertHosts []string
	// CertRoots holds PEM certificates: those that may issue the signing certificate,
	// directly or through an intermediate issuer. The host that serves it may use them
	// too. Default the system's.
	CertRoots []byte

	// PayPalAPI is the API that VerifyByAPI asks. Default DefaultPayPalAPI; sandbox
	// messages need https://api-m.sandbox.paypal.com.
	PayPalAPI string
	// PayPalClientID and PayPalClientSecret belong to the REST app of the webhook;
	// VerifyByAPI needs them.
	PayPalClientID     string
	PayPalClientSecret string

	// ForwardTo is the downstream: an http(s) URL, or
	// redis://host:port/0?stream=donations (rediss:// for TLS). Required. It may hold a
	// password and is never logged.
	ForwardTo string
	// ForwardSecrets sign the events that go out over HTTP, each as whsec_ and 24 to 64
	// bytes in base64. Required for HTTP; give two while the new secret replaces the old.
	ForwardSecrets []string
	// ForwardTimeout is how long the downstream may take to accept a donation. Default
	// 20s. Must be shorter than Hold.
	ForwardTimeout time.Duration
	// ForwardUnknown hands on messages of unknown types, as noted.unknown. They are
	// counted and logged in any case.
	ForwardUnknown bool

	// InboxURL names the database in which messages are kept before PayPal is answered:
	// sqlite:///path/inbox.db, or postgres://… for several gateways. Empty for no inbox: a
	// message that cannot be processed is answered 503, and PayPal comes again. It may hold
	// a password, and is never logged.
	InboxURL string
	// InboxKeys seal the bodies in the inbox. Required with an inbox; give two while the
	// first replaces the second.
	InboxKeys []inbox.Key
	// InboxKeep is how long a body is kept after its message is done. Default 14 days.
	InboxKeep time.Duration
	// InboxJournal is how long the row of a message is kept, without its body, after the
	// message is done. Default 400 days.
	InboxJournal time.Duration
	// InboxPatience is how long a message is tried before it is left to a person. Default
	// 14 days.
	InboxPatience time.Duration
	// InboxUnverified is how many unverified messages are kept while PayPal cannot be asked
	// about them, with 16 KiB of body each on average. Default 1000. Negative for none:
	// they are answered 503.
	InboxUnverified int

	// Hold is how long a donation is held at a time. After a crash of the gateway the
	// donation waits for this long. Default 60s, up to 15m.
	Hold time.Duration
	// MaxBody is how many bytes a message may have. Default 256 KiB.
	MaxBody int64
	// BodyTimeout is how long a message may take to arrive. Default 10s.
	BodyTimeout time.Duration
	// VerifyTimeout is how long PayPal may take to answer one question: the post-back of
	// an IPN, a certificate, the API. Default 10s.
	VerifyTimeout time.Duration

	// Logger gets types, channels, donation ids and reasons, never the contents of a
	// message. Default slog.Default().
	Logger *slog.Logger
	// Now is the clock for ages, certificates and readiness. Default time.Now.
	Now func() time.Time
}

// Gateway takes PayPal's messages.
type Gateway struct {
	config   Config
	noted    *client.Client
	downs    downstream
	channels []*channel
	metrics  *metrics
	log      *gatewayLog
	ready    readiness
	seen     *transmissions // nil without webhooks
	inbox    *inboxWorkers  // nil without an inbox
	busy     chan struct{}  // holds one element for each message that is being worked on
	room     room
	workTime time.Duration
	mux      *http.ServeMux
}

// New makes a gateway. It connects to no other machine yet, except to
// the inbox: /readyz tells of a part that
// is away, and PayPal comes again. An impossible setting is a [ConfigError]; New joins
// all it finds.
func New(config Config) (*Gateway, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("making a gateway: %w", err)
	}
	g := &Gateway{
		config:   config,
		metrics:  newMetrics(),
		log:      newLog(config.Logger),
		busy:     make(chan struct{}, maxBusy),
		workTime: workTime,
		mux:      http.NewServeMux(),
	}
	g.room.left.Store(maxBusy * config.MaxBody)
	g.ready.rights = make(map[string]rights)
	if err := g.open(); err != nil {
		g.Close()
		return nil, fmt.Errorf("making a gateway: %w", err)
	}
	if g.inbox != nil {
		g.inbox.start()
	}
	for _, c := range g.channels {
		g.mux.HandleFunc("/paypal/"+c.name, func(w http.ResponseWriter, r *http.Request) { g.receive(w, r, c) })
	}
	g.mux.HandleFunc("GET /healthz", g.healthz)
	g.mux.HandleFunc("GET /readyz", g.readyz)
	g.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(
			w,
			&refusal{
				status: http.StatusNotFound,
				reason: "not_found",
				text:   "there is nothing at this path; PayPal posts to /paypal/ipn and /paypal/webhook",
			},
		)
	})
	return g, nil
}

// open makes the parts of the gateway.
func (g *Gateway) open() (err error) {
	noted := g.config.NotedClient
	noted.Hold = g.config.Hold
	if g.noted, err = client.New(g.config.Noted, noted); err != nil {
		return err
	}
	if g.downs, err = openDownstream(g.config); err != nil {
		return err
	}
	if len(g.config.Accounts) > 0 {
		g.channels = append(g.channels, newIPN(g.config, g.metrics))
	}
	if g.config.WebhookID != "" {
		g.seen = newTransmissions(g.metrics)
		webhook, err := newWebhook(g.config, g.metrics, g.seen)
		if err != nil {
			return err
		}
		g.channels = append(g.channels, webhook)
	}
	if g.config.InboxURL != "" {
		g.inbox, err = openInbox(g)
	}
	return err
}

// ServeHTTP takes PayPal's messages, and answers /healthz and /readyz.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.mux.ServeHTTP(w, r) }

// Close closes the connections. Let the messages under way finish first, as
// http.Server.Shutdown does.
func (g *Gateway) Close() error {
	var err error
	if g.inbox != nil {
		err = g.inbox.stop()
	}
	if g.noted != nil {
		err = errors.Join(err, g.noted.Close())
	}
	if g.downs != nil {
		err = errors.Join(err, g.downs.close())
	}
	return err
}

func (c Config) withDefaults() Config {
	c.WebhookVerify = cmp.Or(c.WebhookVerify, VerifyBySignature)
	c.WebhookMaxAge = cmp.Or(c.WebhookMaxAge, DefaultWebhookMaxAge)
	c.PayPalAPI = cmp.Or(c.PayPalAPI, DefaultPayPalAPI)
	c.ForwardTimeout = cmp.Or(c.ForwardTimeout, DefaultForwardTimeout)
	c.Hold = cmp.Or(c.Hold, DefaultHold)
	c.MaxBody = cmp.Or(c.MaxBody, DefaultMaxBody)
	c.BodyTimeout = cmp.Or(c.BodyTimeout, DefaultBodyTimeout)
	c.VerifyTimeout = cmp.Or(c.VerifyTimeout, DefaultVerifyTimeout)
	c.InboxKeep = cmp.Or(c.InboxKeep, DefaultInboxKeep)
	c.InboxJournal = cmp.Or(c.InboxJournal, DefaultInboxJournal)
	c.InboxPatience = cmp.Or(c.InboxPatience, DefaultInboxPatience)
	c.InboxUnverified = cmp.Or(c.InboxUnverified, DefaultInboxUnverified)
	if len(c.CertHosts) == 0 {
		c.CertHosts = DefaultCertHosts
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// A ConfigError says what is wrong with one field of Config. New joins all it finds.
type ConfigError struct {
	Field   string // its name, such as "ForwardTo"
	Problem string // continues the sentence after the name; names no other field and no secret
}

func (e *ConfigError) Error() string { return e.Field + " " + e.Problem }

func wrongField(field, format string, args ...any) error {
	return &ConfigError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// check finds all impossible settings at once.
func (c Config) check() error {
	var wrong []error
	unless := func(ok bool, field, format string, args ...any) {
		if !ok {
			wrong = append(wrong, wrongField(field, format, args...))
		}
	}
	unless(c.Noted != "", "Noted", "is missing: the address of the server, such as 127.0.0.1:50051")
	unless(
		c.ForwardTo != "",
		"ForwardTo",
		"is missing: where to hand donations on, an http(s) URL or redis://host:port/0?stream=NAME",
	)
	unless(
		len(c.Accounts) > 0 || c.WebhookID != "",
		"Accounts",
		"is missing, and no webhook's id is given: without accounts no IPN is ours, and without its id no "+
			"webhook can be verified",
	)
	unless(
		c.SandboxLedger == "" || c.SandboxLedger != c.Ledger,
		"SandboxLedger",
		"is %q, and so is the ledger of donations: PayPal's tests would count as donations",
		c.SandboxLedger,
	)
	unless(
		c.Hold > c.ForwardTimeout,
		"Hold",
		"is %v, and the downstream may take %v: the hold must outlast it, or another gateway hands the "+
			"donation on meanwhile",
		c.Hold,
		c.ForwardTimeout,
	)
	unless(c.Hold <= longestHold, "Hold", "is %v; Noted holds a donation for %v at most", c.Hold, longestHold)
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"ForwardTimeout", c.ForwardTimeout},
		{"WebhookMaxAge", c.WebhookMaxAge},
		{"BodyTimeout", c.BodyTimeout},
		{"VerifyTimeout", c.VerifyTimeout},
		{"InboxKeep", c.InboxKeep},
		{"InboxJournal", c.InboxJournal},
		{"InboxPatience", c.InboxPatience},
	} {
		unless(d.value > 0, d.field, "is %v; it must be positive", d.value)
	}
	unless(c.InboxURL == "" || len(c.InboxKeys) > 0, "InboxKeys",
		"is missing: the inbox seals every body; make a key with noted-gateway inbox-key")
	unless(c.InboxJournal >= c.InboxKeep, "InboxJournal", "is %v, shorter than the %v for which bodies are kept",
		c.InboxJournal, c.InboxKeep)
	unless(c.MaxBody > 0, "MaxBody", "is %d; it must be positive", c.MaxBody)
	unless(
		c.IPNVerifyURL == "" || confidential(c.IPNVerifyURL),
		"IPNVerifyURL",
		"must be an https URL: whoever is between could call a forged IPN verified",
	)
	switch c.WebhookVerify {
	case VerifyBySignature:
	case VerifyByAPI:
		unless(
			c.PayPalClientID != "",
			"PayPalClientID",
			"is missing: PayPal's API wants that of the REST app that the webhook belongs to",
		)
		unless(
			c.PayPalClientSecret != "",
			"PayPalClientSecret",
			"is missing: PayPal's API wants that of the REST app that the webhook belongs to",
		)
		unless(confidential(c.PayPalAPI), "PayPalAPI", "must be an https URL: the secret of the app is sent to it")
	default:
		unless(false, "WebhookVerify", "is %q; it must be %s or %s", c.WebhookVerify, VerifyBySignature, VerifyByAPI)
	}
	return errors.Join(wrong...)
}
