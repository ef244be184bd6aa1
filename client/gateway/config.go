package gateway

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// The values of Config.WebhookVerify.
const (
	VerifyBySignature = "signature"
	VerifyByAPI       = "api"
)

// The values of Config.ForwardAs.
const (
	ForwardEvent    = "event"
	ForwardOriginal = "original"
)

// NoListener is the value of Config.ForwardIPNTo and Config.ForwardWebhookTo for a
// channel whose messages are journalled, but neither noted nor delivered.
const NoListener = "off"

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

	DefaultIPNVerifyURL        = verify.IPNURL
	DefaultIPNVerifyURLSandbox = verify.IPNURLSandbox
	DefaultPayPalAPI           = verify.API
)

// longestHold is the contract's limit.
const longestHold = 15 * time.Minute

// DefaultCertHosts are the hosts that serve PayPal's certificates.
var DefaultCertHosts = verify.CertHosts

// Config holds every setting of a gateway. A zero field means its default.
type Config struct {
	// Noted is the address of the server, such as "127.0.0.1:50051". Required.
	Noted string
	// NotedClient has the certificates and the token for it. The gateway sets its Hold to
	// the Hold of this Config.
	NotedClient client.Config

	// Ledger is the ledger of the donations; the empty name is a ledger too.
	Ledger string
	// SandboxLedger is the ledger of PayPal's tests: IPNs with test_ipn, and messages
	// that the sandbox signed. Empty refuses them.
	SandboxLedger string

	// PayPalAccounts are several accounts in one gateway. The first also takes messages
	// without an account: it journals foreign messages, and a donation without a named
	// receiver waits for a person there. With PayPalAccounts the fields that Account has
	// too stay empty here.
	PayPalAccounts []Account

	// Accounts are our receiver ids and e-mail addresses. An IPN to another account is
	// refused. Without accounts the gateway has no endpoint for IPNs.
	Accounts []string
	// IPNVerifyURL is the address for the post-back of IPNs. Default PayPal's, or the
	// sandbox's for an IPN with test_ipn.
	IPNVerifyURL string

	// WebhookID is the webhook's id from PayPal's dashboard; the signature covers it.
	// Without it the gateway has no endpoint for webhooks.
	WebhookID string
	// WebhookVerify is VerifyBySignature (the default; it needs only the certificate) or
	// VerifyByAPI (it asks PayPal about every message).
	WebhookVerify string
	// WebhookMaxAge is the greatest age of a transmission. The gateway remembers the body
	// under each transmission id for the same time, because the holder of a delivery can
	// make another body with the same checksum. Default 73h: PayPal redelivers for three
	// days.
	WebhookMaxAge time.Duration
	// CertHosts are the allowed hosts of certificates, as host or host:port. Default
	// DefaultCertHosts.
	CertHosts []string
	// CertRoots has PEM certificates of the CAs that may issue the signing certificate,
	// directly or through an intermediate issuer. The host that serves it may use them
	// too. Default the system's.
	CertRoots []byte

	// PayPalAPI is the API for VerifyByAPI. Default DefaultPayPalAPI; sandbox messages
	// need https://api-m.sandbox.paypal.com.
	PayPalAPI string
	// PayPalClientID and PayPalClientSecret belong to the REST app of the webhook;
	// VerifyByAPI needs them.
	PayPalClientID     string
	PayPalClientSecret string

	// ForwardAs is ForwardEvent or ForwardOriginal. With ForwardEvent, the default, the
	// downstream gets an event for each donation. With ForwardOriginal your listener gets
	// PayPal's own message, byte for byte and with PayPal's headers, if every donation in
	// it is FIRST. ForwardOriginal needs an inbox, which remembers the messages that the
	// listener has accepted. The inbox also keeps, for a person, each message that the
	// listener cannot get.
	ForwardAs string
	// ForwardIPNTo and ForwardWebhookTo are the http(s) URLs of the listeners for
	// ForwardOriginal, or NoListener. Required for each channel that the gateway takes.
	// They may contain a password and are never logged.
	ForwardIPNTo     string
	ForwardWebhookTo string
	// ForwardTo is the downstream for ForwardEvent: an http(s) URL, or
	// redis://host:port/0?stream=donations (rediss:// for TLS). Required. It may contain
	// a password and is never logged.
	ForwardTo string
	// ForwardSecrets sign the events over HTTP, each as whsec_ and 24 to 64 bytes in
	// base64. Required for HTTP. Give two while the new secret replaces the old secret.
	ForwardSecrets []string
	// ForwardTimeout is the downstream's time to accept a donation. Default 20s. Must be
	// shorter than Hold.
	ForwardTimeout time.Duration
	// ForwardUnknown delivers messages of unknown types, as noted.unknown. The gateway
	// counts and logs them in any case.
	ForwardUnknown bool

	// InboxURL names the database that keeps messages before PayPal gets its answer:
	// sqlite:///path/inbox.db, or postgres://… for several gateways. Empty: no inbox. A
	// message that cannot be processed then gets 503, and PayPal comes again. The URL may
	// contain a password, and is never logged.
	InboxURL string
	// InboxKeys seal the bodies in the inbox. Required with an inbox. Give two while the
	// first key replaces the second.
	InboxKeys []inbox.Key
	// InboxKeep is the time for which a body is kept after its message is done. Default
	// 14 days.
	InboxKeep time.Duration
	// InboxJournal is the time for which the row of a message is kept, without its body,
	// after the message is done. Default 400 days.
	InboxJournal time.Duration
	// InboxPatience is the time for which the gateway tries a message before it waits for
	// a person. Default 14 days.
	InboxPatience time.Duration
	// InboxUnverified is the number of messages that are kept while PayPal cannot verify
	// them, with 16 KiB of body each on average. Default 1000. With a negative number
	// these messages get 503.
	InboxUnverified int

	// Hold is the length of a donation's hold. After a crash of the gateway the donation
	// waits for this long. Default 60s, up to 15m.
	Hold time.Duration
	// TrustedProxies are the proxies whose X-Forwarded-For or Forwarded header names the
	// sender of a message, for the log and the traces. From other addresses the headers
	// are ignored.
	TrustedProxies []netip.Prefix

	// MaxBody is the largest size of a message in bytes. Default 256 KiB.
	MaxBody int64
	// BodyTimeout is the time in which a message must arrive. Default 10s.
	BodyTimeout time.Duration
	// VerifyTimeout is PayPal's time to answer one call: the post-back of an IPN, a
	// certificate, the API. Default 10s.
	VerifyTimeout time.Duration

	// TracerProvider gets a span for each of PayPal's posts, and for each step up to the
	// downstream's answer, as one trace. The downstream gets its traceparent. Default
	// nil: no traces.
	TracerProvider trace.TracerProvider

	// Logger gets types, channels, donation ids and reasons, never the contents of a
	// message. Default slog.Default().
	Logger *slog.Logger
	// Now is the clock for ages, certificates and readiness. Default time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.WebhookVerify = cmp.Or(c.WebhookVerify, VerifyBySignature)
	c.WebhookMaxAge = cmp.Or(c.WebhookMaxAge, DefaultWebhookMaxAge)
	c.PayPalAPI = cmp.Or(c.PayPalAPI, DefaultPayPalAPI)
	c.ForwardAs = cmp.Or(c.ForwardAs, ForwardEvent)
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

// verifying are the settings of verification.
func (c Config) verifying() verify.Config {
	var webhooks []verify.Subscription
	for _, a := range c.accounts() {
		webhooks = append(webhooks, a.subscriptions()...)
	}
	return verify.Config{
		IPNVerifyURL: c.IPNVerifyURL, Webhooks: webhooks,
		ByAPI: c.WebhookVerify == VerifyByAPI, WebhookMaxAge: c.WebhookMaxAge,
		CertHosts: c.CertHosts, CertRoots: c.CertRoots,
		Timeout: c.VerifyTimeout, Now: c.Now,
	}
}

// A ConfigError is a mistake in one field of Config. New joins all mistakes.
type ConfigError = setting.Error

// Validate returns all impossible settings, as New does, and makes no connection.
func (c Config) Validate() error {
	c = c.withDefaults()
	open, err := openAccounts(c.accounts())
	for _, a := range open {
		_ = a.close()
	}
	return errors.Join(c.check(), err)
}

// check returns all impossible settings.
func (c Config) check() error {
	var wrong []error
	unless := func(ok bool, field, format string, args ...any) {
		if !ok {
			wrong = append(wrong, setting.Wrong(field, format, args...))
		}
	}
	unless(c.Noted != "", "Noted", "is missing: the address of the server, such as 127.0.0.1:50051")
	wrong = append(wrong, c.checkAccounts()...)
	unless(
		c.InboxURL != "" || !slices.ContainsFunc(c.accounts(), func(a listed) bool { return a.ForwardAs == ForwardOriginal }),
		"InboxURL",
		"is missing: only the inbox remembers the messages that a listener has accepted, and keeps the others for a person",
	)
	unless(
		c.Hold > c.ForwardTimeout,
		"Hold",
		"is %v, but the downstream may take %v: the hold must outlast it, or another gateway delivers "+
			"the donation meanwhile",
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
		c.IPNVerifyURL == "" || peer.Confidential(c.IPNVerifyURL),
		"IPNVerifyURL",
		"must be an https URL: otherwise a machine in between could confirm a forged IPN",
	)
	switch c.WebhookVerify {
	case VerifyBySignature, VerifyByAPI:
	default:
		unless(false, "WebhookVerify", "is %q; it must be %s or %s", c.WebhookVerify, VerifyBySignature, VerifyByAPI)
	}
	return errors.Join(wrong...)
}
