package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// settings are the values of flags, environment and files.
type settings struct {
	config              gateway.Config
	listen, adminListen string
	log                 cmdline.Log

	// These are read into the others.
	accounts, certHosts, proxies string
	files                        struct {
		token, ca, cert, key, certRoots, clientSecret, forwardSecrets, inboxKeys, accounts string
	}
}

// parse reads arguments and environment. Its settings are nil if it has printed the help.
func parse(
	ctx context.Context, args []string, environ cmdline.Environ, stdout io.Writer,
) (found *settings, err error) {
	s := &settings{}
	flags := s.flags(environ.Lookup)
	err = cmdline.Run(ctx, "noted-gateway", help(flags), flags, args, stdout,
		func(_ context.Context, c *cli.Command) error {
			if err := cmdline.NoArguments(c); err != nil {
				return err
			}
			found = s
			return errors.Join(slices.Concat(variables.Unknown(environ, flags), flags.Mistakes(), s.finish())...)
		})
	return found, err
}

// finish reads the files and derives the other settings. It reports every missing setting
// and every conflict between flags.
func (s *settings) finish() (wrong []error) {
	c := &s.config
	read := func(flag, name string) []byte {
		content, err := readFile(flag, name)
		if err != nil {
			wrong = append(wrong, err)
		}
		return content
	}
	c.Accounts, c.CertHosts = list(s.accounts), list(s.certHosts)
	c.TrustedProxies, _ = readProxies(s.proxies) // the flag's validator reports a mistake
	c.CertRoots = read("webhook-cert-roots", s.files.certRoots)
	c.PayPalClientSecret = strings.TrimSpace(string(read("paypal-client-secret-file", s.files.clientSecret)))
	c.ForwardSecrets = strings.Fields(string(read("forward-secret-file", s.files.forwardSecrets)))
	if c.InboxUnverified == 0 {
		c.InboxUnverified = -1 // here 0 means no messages, in gateway.Config the default
	}
	wrong = append(wrong, s.reachNoted()...)
	if c.InboxURL != "" {
		if err := s.readInboxKeys(); err != nil {
			wrong = append(wrong, err)
		}
	}
	if s.files.accounts != "" {
		if wrong = append(wrong, s.readAccounts()...); len(c.PayPalAccounts) > 0 {
			wrong = append(wrong, s.wrongAccounts()...)
		}
		return wrong
	}
	if c.ForwardTo == "" && c.ForwardAs == gateway.ForwardEvent {
		wrong = append(wrong, cmdline.Usagef("%s: name the downstream of donations: an http(s) URL, or "+
			"redis://host:port/0?stream=NAME", variables.Both("forward-to")))
	}
	if len(c.Accounts) == 0 && c.WebhookID == "" {
		wrong = append(wrong, cmdline.Usagef("there are no messages to take: give -accounts (%s) for IPNs, "+
			"-webhook-id (%s) for webhooks, or both", variables.Variable("accounts"), variables.Variable("webhook-id")))
	}
	return wrong
}

// reachNoted completes the settings of the connection to Noted.
func (s *settings) reachNoted() (wrong []error) {
	to := &s.config.NotedClient
	var err error
	if to.CA, err = readFile("noted-ca", s.files.ca); err != nil {
		wrong = append(wrong, err)
	} else if to.CA != nil && !x509.NewCertPool().AppendCertsFromPEM(to.CA) {
		wrong = append(wrong, cmdline.Usagef("%s: the file has no PEM certificate", variables.Both("noted-ca")))
	} else if to.CA != nil && to.Plaintext {
		wrong = append(wrong, cmdline.Usagef("%s: -noted-ca turns TLS on and this turns it off; choose one",
			variables.Both("noted-plaintext")))
	}
	if s.files.cert != "" || s.files.key != "" {
		if err := s.presentCertificate(); err != nil {
			wrong = append(wrong, err)
		}
	}
	if token := s.files.token; token != "" {
		if _, err := readFile("noted-token", token); err != nil { // checked now, not at the first donation
			wrong = append(wrong, err)
		}
		to.Token = func(context.Context) (string, error) {
			content, err := os.ReadFile(token)
			return strings.TrimSpace(string(content)), err
		}
	}
	return wrong
}

// presentCertificate lets the gateway present a certificate to Noted. It checks the file
// now, not at the first connection.
func (s *settings) presentCertificate() error {
	to, cert, key := &s.config.NotedClient, s.files.cert, s.files.key
	read := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		return &pair, err
	}
	switch _, err := read(nil); {
	case cert == "" || key == "":
		return cmdline.Usagef("%s and %s go together; give both",
			variables.Both("noted-cert"), variables.Both("noted-key"))
	case err != nil:
		return cmdline.Usagef("%s: cannot be used with -noted-key: %w", variables.Both("noted-cert"), err)
	case to.Plaintext:
		return cmdline.Usagef("%s: -noted-cert turns TLS on and this turns it off; choose one",
			variables.Both("noted-plaintext"))
	}
	to.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: read}
	return nil
}

// readInboxKeys reads the keys that seal the inbox.
func (s *settings) readInboxKeys() error {
	content, err := readFile("inbox-key-file", s.files.inboxKeys)
	if err != nil || content == nil {
		return err
	}
	if s.config.InboxKeys, err = inbox.ReadKeys(content); err != nil {
		return cmdline.Usagef("%s: %w", variables.Both("inbox-key-file"), err)
	}
	return nil
}

// readFile reads the file of a flag; empty if the flag names no file.
func readFile(flag, name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	content, err := os.ReadFile(name)
	if err == nil && strings.TrimSpace(string(content)) == "" {
		err = fmt.Errorf("the file %s is empty", name)
	}
	if err != nil {
		return nil, cmdline.Usagef("%s: %w", variables.Both(flag), err)
	}
	return content, nil
}

// fieldFlags maps fields of gateway.Config to their flags.
var fieldFlags = map[string]string{
	"Noted":              "noted",
	"Ledger":             "ledger",
	"SandboxLedger":      "ledger-sandbox",
	"Accounts":           "accounts",
	"WebhookID":          "webhook-id",
	"IPNVerifyURL":       "ipn-verify-url",
	"WebhookVerify":      "webhook-verify",
	"WebhookMaxAge":      "webhook-max-age",
	"CertRoots":          "webhook-cert-roots",
	"PayPalAPI":          "paypal-api",
	"PayPalClientID":     "paypal-client-id",
	"PayPalClientSecret": "paypal-client-secret-file",
	"ForwardAs":          "forward-as",
	"ForwardIPNTo":       "forward-ipn-to",
	"ForwardWebhookTo":   "forward-webhook-to",
	"ForwardUnknown":     "forward-unknown",
	"ForwardTo":          "forward-to",
	"ForwardSecrets":     "forward-secret-file",
	"ForwardTimeout":     "forward-timeout",
	"Hold":               "hold",
	"MaxBody":            "max-body",
	"InboxURL":           "inbox",
	"InboxKeys":          "inbox-key-file",
	"InboxKeep":          "inbox-keep",
	"InboxJournal":       "inbox-journal",
	"InboxPatience":      "inbox-patience",
}

// inFlags rewrites an error of gateway.New in the words of the command line, whose user
// knows no Config.
func inFlags(err error) error {
	switch e := err.(type) { //nolint:errorlint // it walks the tree of wrapped errors itself
	case *gateway.ConfigError:
		if accountField.MatchString(e.Field) {
			return cmdline.Usagef("%s: %s", variables.Both("accounts-file"), inAccountsFile(e.Field+" "+e.Problem))
		}
		flag, ok := fieldFlags[e.Field]
		if !ok {
			return cmdline.Usagef("%w", e)
		}
		return cmdline.Usagef("%s %s", variables.Both(flag), e.Problem)
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, inFlags(one))
		}
		return errors.Join(all...)
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inFlags(inner)
	}
	return cmdline.Usagef("%w", err)
}

// readProxies reads addresses and networks of proxies.
func readProxies(text string) (proxies []netip.Prefix, err error) {
	for _, name := range list(text) {
		network, err := netip.ParsePrefix(name)
		if address, alone := netip.ParseAddr(name); alone == nil {
			network, err = address.Prefix(address.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network, such as 10.0.0.7 or 10.0.0.0/8", name)
		}
		proxies = append(proxies, network.Masked())
	}
	return proxies, nil
}

// list splits at commas and spaces.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
