package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway"
)

// off is the value of -admin-listen for no such listener.
const off = "off"

var (
	ways  = []string{gateway.VerifyBySignature, gateway.VerifyByAPI}
	forms = []string{gateway.ForwardEvent, gateway.ForwardOriginal}
)

// variables are the flags' names in the environment.
const variables = cmdline.Prefix("GATEWAY_")

// flags are all settings, in the order of the help. Each flag also has a variable in the
// environment, and the flag wins. A secret is in a file, or in a URL that the environment
// can give.
func (s *settings) flags(env cmdline.Env) cmdline.Settings {
	return variables.Settings(env, slices.Concat(
		s.networkFlags(), s.paypalFlags(), s.downstreamFlags(), s.inboxFlags(), s.processFlags())...)
}

// networkFlags are the gateway's listeners, and the connection to Noted.
func (s *settings) networkFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.StringFlag{
			Name:        "listen",
			Destination: &s.listen,
			Value:       "127.0.0.1:8081",
			Usage: "`ADDR`The address for PayPal's messages, host:port; port 0 takes a free port. It is plain HTTP: " +
				"put a web server with TLS in front of it.",
		},
		&cli.StringFlag{
			Name:        "trusted-proxy",
			Destination: &s.proxies,
			Validator:   func(text string) error { _, err := readProxies(text); return err },
			Usage: "`LIST`The addresses of the web servers in front of -listen, separated by commas: each an " +
				"address, or a network such as 10.0.0.0/8. The log and the traces then name the address that they " +
				"write into X-Forwarded-For or Forwarded. From elsewhere the headers are ignored.",
		},
		&cli.StringFlag{
			Name:        "admin-listen",
			Destination: &s.adminListen,
			Value:       "127.0.0.1:9091",
			Usage:       "`ADDR`The address of /metrics, /healthz and /readyz, for operators only; off for none.",
		},
		&cli.StringFlag{
			Name:        "noted",
			Destination: &c.Noted,
			Value:       "127.0.0.1:50051",
			Usage: "`ADDR`The Noted server. TLS to another machine, plaintext to this one. dns:///HOST:PORT takes " +
				"all addresses of a name, and addresses separated by commas are several servers: the calls go round " +
				"them.",
		},
		&cli.StringFlag{
			Name:        "noted-token",
			Destination: &s.files.token,
			Usage: "`FILE`The bearer token for Noted. The gateway reads the file at each call, so you can " +
				"renew the token. notectl token makes a token. A gateway needs the verb note in each of its ledgers.",
		},
		&cli.StringFlag{
			Name:        "noted-ca",
			Destination: &s.files.ca,
			Usage:       "`FILE`The CAs of Noted's certificate, PEM, instead of the system's. Turns TLS on.",
		},
		&cli.StringFlag{
			Name:        "noted-cert",
			Destination: &s.files.cert,
			Usage: "`FILE`The certificate that names this gateway to a Noted with -tls-client-ca, PEM. Turns TLS on. " +
				"The gateway reads the file for each connection, so you can renew the certificate.",
		},
		&cli.StringFlag{
			Name:        "noted-key",
			Destination: &s.files.key,
			Usage:       "`FILE`The key of -noted-cert, PEM.",
		},
		&cli.BoolFlag{
			Name:        "noted-plaintext",
			Destination: &c.NotedClient.Plaintext,
			Usage:       "No TLS to Noted, not even to another machine: only in a network that you trust.",
		},
		&cli.StringFlag{
			Name:        "ledger",
			Destination: &c.Ledger,
			Usage:       "`NAME`The ledger of the donations, such as paypal-live; empty is a ledger too.",
		},
		&cli.StringFlag{
			Name:        "ledger-sandbox",
			Destination: &c.SandboxLedger,
			Usage: "`NAME`The ledger of PayPal's tests (IPNs with test_ipn, webhooks that the sandbox signed). " +
				"Empty refuses them.",
		},
	}
}

// paypalFlags choose our messages, and their verification.
func (s *settings) paypalFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.StringFlag{
			Name:        "accounts-file",
			Destination: &s.files.accounts,
			Usage: "`FILE`Several PayPal accounts, as JSON: for each its receivers, webhooks, ledgers and " +
				"downstream. The gateway's README.md shows an example. Instead of -accounts, -webhook-id, -ledger, " +
				"-ledger-sandbox, -paypal-api, -paypal-client-id, -paypal-client-secret-file and the -forward flags " +
				"but -forward-timeout.",
		},
		&cli.StringFlag{
			Name:        "accounts",
			Destination: &s.accounts,
			Usage: "`LIST`Your receiver ids and e-mail addresses, separated by commas. An IPN to another receiver is " +
				"refused. Empty: every IPN is refused.",
		},
		&cli.StringFlag{
			Name:        "ipn-verify-url",
			Destination: &c.IPNVerifyURL,
			Usage: "`URL`The address to which IPNs are posted back. Empty: " + gateway.DefaultIPNVerifyURL + ", and " +
				"the sandbox's for IPNs with test_ipn.",
		},
		&cli.StringFlag{
			Name:        "webhook-id",
			Destination: &c.WebhookID,
			Usage:       "`ID`The webhook's id as PayPal's dashboard shows it. Empty: every webhook is refused.",
		},
		&cli.StringFlag{
			Name:        "webhook-verify",
			Destination: &c.WebhookVerify,
			Value:       gateway.VerifyBySignature,
			Validator:   cmdline.OneOf(ways...),
			Usage: "`HOW`How webhooks are verified: " +
				strings.Join(ways, ", by PayPal's certificate, or ") + ", by asking PayPal each time.",
		},
		lasting("webhook-max-age", &c.WebhookMaxAge, gateway.DefaultWebhookMaxAge,
			"`TIME`The greatest age of a transmission. PayPal repeats a webhook for three days. The gateway "+
				"remembers its id for as long, and refuses another body under the same id."),
		&cli.StringFlag{
			Name:        "webhook-cert-host",
			Destination: &s.certHosts,
			Value:       strings.Join(gateway.DefaultCertHosts, ","),
			Usage:       "`LIST`The allowed hosts of PayPal's certificate, separated by commas.",
		},
		&cli.StringFlag{
			Name:        "webhook-cert-roots",
			Destination: &s.files.certRoots,
			Usage: "`FILE`The CAs of PayPal's certificate, PEM, instead of the system's. Add the intermediate " +
				"issuer if PayPal's host omits it.",
		},
		&cli.StringFlag{
			Name:        "paypal-api",
			Destination: &c.PayPalAPI,
			Value:       gateway.DefaultPayPalAPI,
			Usage:       "`URL`The API for -webhook-verify=api; https://api-m.sandbox.paypal.com for the sandbox.",
		},
		&cli.StringFlag{
			Name:        "paypal-client-id",
			Destination: &c.PayPalClientID,
			Usage:       "`ID`The client id of the webhook's REST app, for -webhook-verify=api.",
		},
		&cli.StringFlag{
			Name:        "paypal-client-secret-file",
			Destination: &s.files.clientSecret,
			Usage:       "`FILE`The secret of -paypal-client-id.",
		},
	}
}

// downstreamFlags are the downstream of donations.
func (s *settings) downstreamFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.StringFlag{
			Name:        "forward-as",
			Destination: &c.ForwardAs,
			Value:       gateway.ForwardEvent,
			Validator:   cmdline.OneOf(forms...),
			Usage: "`FORM`The form of a delivery downstream: " + gateway.ForwardEvent + ", for each donation; or " +
				gateway.ForwardOriginal + ", PayPal's own message for your existing listener, if every donation in " +
				"it is FIRST. " + gateway.ForwardOriginal + " needs -inbox.",
		},
		&cli.StringFlag{
			Name:        "forward-ipn-to",
			Destination: &c.ForwardIPNTo,
			Usage: "`URL`The listener that gets PayPal's IPNs with -forward-as=original; off for no listener: IPNs " +
				"are then journalled but not noted.",
		},
		&cli.StringFlag{
			Name:        "forward-webhook-to",
			Destination: &c.ForwardWebhookTo,
			Usage: "`URL`The listener that gets PayPal's webhooks with -forward-as=original; off for no " +
				"listener.",
		},
		&cli.StringFlag{
			Name:        "forward-to",
			Destination: &c.ForwardTo,
			Usage: "`URL`The downstream, which gets each donation: an http(s) URL for a signed POST, or " +
				"redis://host:port/0?stream=NAME (rediss:// for TLS). Required with -forward-as=event. Give a " +
				"password in the environment, where no list of processes shows it.",
		},
		&cli.StringFlag{
			Name:        "forward-secret-file",
			Destination: &s.files.forwardSecrets,
			Usage: "`FILE`The secret of the POST's signature: a line whsec_…, or two while one replaces the other. " +
				"Make it with: echo whsec_$(openssl rand -base64 32). Required for an http(s) URL.",
		},
		lasting("forward-timeout", &c.ForwardTimeout, gateway.DefaultForwardTimeout,
			"`TIME`The downstream's time to accept a donation. Less than -hold."),
		&cli.BoolFlag{
			Name:        "forward-unknown",
			Destination: &c.ForwardUnknown,
			Usage: "Also send messages of unknown types downstream, as noted.unknown. They are counted and logged in " +
				"any case.",
		},
		lasting("hold", &c.Hold, gateway.DefaultHold,
			"`TIME`The length of a donation's hold, up to 15m. After a crash of this program the donation "+
				"waits until its hold has run out."),
	}
}

// inboxFlags are the inbox that keeps messages.
func (s *settings) inboxFlags() []cli.Flag {
	c := &s.config
	return []cli.Flag{
		&cli.StringFlag{
			Name:        "inbox",
			Destination: &c.InboxURL,
			Usage: "`URL`The database that keeps messages before PayPal gets its answer: sqlite:///path/inbox.db for " +
				"one machine, or postgres://user:password@host/database for several gateways. Empty: no inbox. A " +
				"message that cannot be processed then gets 503, and PayPal comes again. Give a password in the " +
				"environment.",
		},
		&cli.StringFlag{
			Name:        "inbox-key-file",
			Destination: &s.files.inboxKeys,
			Usage: "`FILE`The key that seals the messages in the inbox: a line that noted-gateway inbox-key prints, " +
				"or two while the first replaces the second. Required with -inbox.",
		},
		lasting("inbox-keep", &c.InboxKeep, gateway.DefaultInboxKeep,
			"`TIME`The time for which the body of a message is kept after the message is done."),
		lasting("inbox-journal", &c.InboxJournal, gateway.DefaultInboxJournal,
			"`TIME`The time for which the row of a message, without its body, is kept after the message is done."),
		lasting("inbox-patience", &c.InboxPatience, gateway.DefaultInboxPatience,
			"`TIME`The time for which a message is tried, with growing pauses, before it waits for a person."),
		&cli.IntFlag{
			Name:        "inbox-unverified",
			Destination: &c.InboxUnverified,
			Value:       gateway.DefaultInboxUnverified,
			Validator:   cmdline.AtLeast(0),
			Usage: "`NUMBER`The number of messages that are kept while PayPal cannot verify them, with 16 " +
				"KiB each on average. They are verified later, and not noted before. 0 for none: they are answered " +
				"503.",
		},
	}
}

// processFlags are about the process.
func (s *settings) processFlags() []cli.Flag {
	c := &s.config
	return append([]cli.Flag{
		&cmdline.SizeFlag{
			Name:        "max-body",
			Destination: &c.MaxBody,
			Value:       gateway.DefaultMaxBody,
			Usage:       "`SIZE`The largest size of a message, in bytes, or with KiB or MiB after the number.",
		},
	}, s.log.Flags("The contents of a message are never logged.")...)
}

// lasting is a flag for a time. The help shows its default in one unit.
func lasting(name string, to *time.Duration, value time.Duration, usage string) cli.Flag {
	text := fmt.Sprintf("%gs", value.Seconds())
	if value >= time.Hour {
		text = fmt.Sprintf("%gh", value.Hours())
	}
	return &cli.DurationFlag{
		Name: name, Destination: to, Value: value, DefaultText: text, Usage: usage,
		Validator: cmdline.Lasting(time.Millisecond),
	}
}
