package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/alert"
	"github.com/donation-dedupe/noted/client/desk/alive"
	"github.com/donation-dedupe/noted/client/desk/week"
)

// settings are the values of flags, environment and files.
type settings struct {
	config               desk.Config
	noted, inbox, listen string
	notedClient          client.Config
	log                  cmdline.Log

	// These are read into the others.
	proxies, proxyRole, zone  string
	admins, notify, publicURL string
	files                     struct{ token, ca, sessionKey, notifySecret string }

	sender alert.Sender // nil without -notify
}

// parse reads arguments and environment. Its settings are nil if it has printed the help.
func parse(ctx context.Context, args []string, env cmdline.Env, stdout io.Writer) (found *settings, err error) {
	s := &settings{}
	flags := s.flags(env)
	err = cmdline.Run(ctx, "noted-desk", help(flags), flags, args, stdout,
		func(_ context.Context, c *cli.Command) error {
			if err := cmdline.NoArguments(c); err != nil {
				return err
			}
			found = s
			return errors.Join(append(flags.Mistakes(), s.finish()...)...)
		})
	return found, err
}

// finish reads the files and derives the other settings. It reports every missing setting
// and every conflict between flags.
func (s *settings) finish() (wrong []error) {
	bad := func(flag, format string, args ...any) {
		wrong = append(wrong, cmdline.Usagef("%s: %w", variables.Both(flag), fmt.Errorf(format, args...)))
	}
	read := func(flag, name string) []byte {
		if name == "" {
			return nil
		}
		content, err := os.ReadFile(name)
		if err == nil && len(content) == 0 {
			err = fmt.Errorf("the file %s is empty", name)
		}
		if err != nil {
			bad(flag, "%w", err)
		}
		return content
	}
	c := &s.config
	s.notedClient.CA, c.SessionKey = read("noted-ca", s.files.ca), read("session-key-file", s.files.sessionKey)
	if ca := s.notedClient.CA; ca != nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		bad("noted-ca", "the file holds no PEM certificate")
	}
	if token := s.files.token; token != "" {
		read("noted-token", token) // checked now, not at the first page
		s.notedClient.Token = func(context.Context) (string, error) {
			content, err := os.ReadFile(token)
			return strings.TrimSpace(string(content)), err
		}
	}
	if key := c.SessionKey; key != nil && len(key) < 32 {
		bad("session-key-file", "it holds %d bytes; make one with: head -c 64 /dev/urandom", len(key))
	}
	for each := range strings.FieldsFuncSeq(s.proxies, func(r rune) bool { return r == ',' || r == ' ' }) {
		network, err := network(each)
		if err != nil {
			bad("proxy", "%q is neither an address nor a network such as 10.0.0.0/24", each)
		}
		c.Proxies = append(c.Proxies, network)
	}
	if (s.proxies == "") != (c.ProxyHeader == "") {
		bad("proxy", "it comes together with %s", variables.Both("proxy-header"))
	}
	c.ProxyRole, _ = desk.ParseRole(s.proxyRole) // the flag's validator has checked the name
	s.watchCertificate()
	wrong = append(wrong, s.finishNotify(string(read("notify-secret-file", s.files.notifySecret)))...)
	var err error
	if c.Zone, err = time.LoadLocation(s.zone); err != nil {
		bad("time-zone", "%q is not a time zone; write a name such as Europe/Berlin", s.zone)
	}
	if c.Open {
		return append(wrong, s.finishTrial()...)
	}
	if c.UsersFile == "" && s.proxies == "" {
		wrong = append(
			wrong,
			cmdline.Usagef("the desk has no users: set %s, or %s with -proxy-header; for a trial set -dev",
				variables.Both("users"), variables.Both("proxy")),
		)
	}
	return wrong
}

// watchCertificate keeps the end of Noted's certificate, from each handshake.
func (s *settings) watchCertificate() {
	far := !strings.ContainsAny(s.noted, ",/") && !strings.HasPrefix(s.noted, "unix:") && !isLocal(s.noted)
	if s.notedClient.Plaintext || s.notedClient.CA == nil && !far {
		return // no TLS
	}
	var ends atomic.Pointer[time.Time]
	s.notedClient.TLS = &tls.Config{VerifyConnection: func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) > 0 {
			ends.Store(&state.PeerCertificates[0].NotAfter)
		}
		return nil
	}}
	s.config.NotedCertificate = func() time.Time {
		if at := ends.Load(); at != nil {
			return *at
		}
		return time.Time{}
	}
}

// finishNotify reads the recipients of alerts, and the admin listeners of Noted's
// servers.
func (s *settings) finishNotify(secret string) (wrong []error) {
	bad := func(flag string, err error) {
		wrong = append(wrong, cmdline.Usagef("%s: %w", variables.Both(flag), err))
	}
	for each := range strings.FieldsFuncSeq(s.admins, func(r rune) bool { return r == ',' || r == ' ' }) {
		admin, err := alive.NewAdmin(each)
		if err != nil {
			bad("noted-admin", err)
			continue
		}
		s.config.Admins = append(s.config.Admins, admin)
	}
	if s.notify == "" {
		if secret != "" {
			bad("notify-secret-file", errors.New("it comes together with "+variables.Both("notify")))
		}
		return wrong
	}
	var err error
	if s.sender, err = alert.NewSender(s.notify, strings.TrimSpace(secret)); err != nil {
		bad("notify", err)
	}
	if u, err := url.Parse(s.publicURL); err != nil || u.Host == "" {
		bad("public-url", fmt.Errorf("-notify needs the address of this desk for its links, such as %q",
			"https://desk.example.org"))
	}
	if s.inbox == "" && !s.config.Open {
		bad("notify", errors.New("it needs "+variables.Both("inbox")+", which keeps the alerts"))
	}
	return wrong
}

// finishTrial reports flags that a trial does not use.
func (s *settings) finishTrial() (wrong []error) {
	for flag, value := range map[string]string{
		"users": s.config.UsersFile, "proxy": s.proxies, "inbox": s.inbox, "ledger": s.config.Ledger,
	} {
		if value != "" {
			wrong = append(wrong, cmdline.Usagef("%s: a trial needs no -%s; remove one of them",
				variables.Both("dev"), flag))
		}
	}
	s.config.Ledger = week.Ledger
	if !isLocal(s.listen) {
		wrong = append(wrong, cmdline.Usagef("%s: a trial has no logins, so -listen must be on this machine, such as "+
			"127.0.0.1:8082", variables.Both("dev")))
	}
	return wrong
}

func network(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Prefix(address.BitLen())
	}
	return netip.ParsePrefix(text)
}

// isLocal reports whether an address is certainly on this machine.
func isLocal(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip, parseErr := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || parseErr == nil && ip.IsLoopback())
}
