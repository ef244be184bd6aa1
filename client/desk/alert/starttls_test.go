package alert_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/donation-dedupe/noted/client/desk/alert"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
)

// authority is a CA that this process trusts like the system's CAs.
var authority = paypaltest.NewAuthority()

func TestMain(m *testing.M) { os.Exit(trusting(m)) }

// trusting runs the tests with authority as the only trusted CA: Go reads the system's
// certificates once, at the first connection.
func trusting(m *testing.M) int {
	dir, err := os.MkdirTemp("", "noted-alert-")
	if err == nil {
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "ca.pem")
		err = os.WriteFile(file, authority.PEM(), 0o600)
		os.Setenv("SSL_CERT_FILE", file)
		os.Setenv("SSL_CERT_DIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A wrapping changes a mail server before it opens.
type wrapping func(*smtp.Server, net.Listener) net.Listener

// certified is a server's setting with a certificate for a host.
func certified(by *paypaltest.Authority, host string) *tls.Config {
	der := by.Signer(host, -time.Hour, time.Hour)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: paypaltest.SigningKey()}},
	}
}

// startTLS lets a mail server change to TLS when it is asked to.
func startTLS(by *paypaltest.Authority, host string) wrapping {
	return func(s *smtp.Server, l net.Listener) net.Listener { s.TLSConfig = certified(by, host); return l }
}

// Mail goes to another machine over TLS only, and so does the password: smtp changes to TLS
// before anything else, and smtps begins with it. The certificate must be good. Linux
// takes 0.0.0.0 for this machine, and the desk takes it for another.
func TestMailOverTLS(t *testing.T) {
	const elsewhere = "0.0.0.0"
	stranger := paypaltest.NewAuthority()
	begins := func(_ *smtp.Server, l net.Listener) net.Listener {
		return tls.NewListener(l, certified(authority, "localhost"))
	}
	plain := func(_ *smtp.Server, l net.Listener) net.Listener { return l }
	for name, c := range map[string]struct {
		scheme, host string
		change       wrapping
		refused      string // empty: the mail is sent
	}{
		"smtp":                        {"smtp", elsewhere, startTLS(authority, elsewhere), ""},
		"smtp on this machine":        {"smtp", "localhost", startTLS(authority, "localhost"), ""},
		"smtp with LOGIN alone":       {"smtp", elsewhere, startTLS(authority, elsewhere), ""},
		"smtps":                       {"smtps", "localhost", begins, ""},
		"smtp without STARTTLS":       {"smtp", elsewhere, plain, "STARTTLS"},
		"smtp, a strange certificate": {"smtp", elsewhere, startTLS(stranger, elsewhere), "certificate"},
		"smtp, another's certificate": {"smtp", elsewhere, startTLS(authority, "127.0.0.1"), "certificate"},
		"smtps without TLS":           {"smtps", "localhost", plain, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			office := newMailServer(t, "127.0.0.1:0", c.change)
			office.login = strings.HasSuffix(name, "LOGIN alone")
			_, port, err := net.SplitHostPort(office.addr)
			if err != nil {
				t.Fatal(err)
			}
			to, err := alert.NewSender(c.scheme+"://desk@"+net.JoinHostPort(c.host, port)+
				"?from=desk@example.org&to=anna@example.org", "mail secret")
			if err != nil {
				t.Fatal(err)
			}
			err = to.Send(t.Context(), alert.Message{ID: "x", Subject: "x", Text: "x", At: time.Now()})
			mails := office.take()
			office.mu.Lock()
			defer office.mu.Unlock()
			if office.clear > 0 {
				t.Errorf("%d passwords and mails came without TLS", office.clear)
			}
			switch {
			case c.refused == "" && (err != nil || len(mails) != 1 || len(office.users) != 1 || office.users[0] != "desk"):
				t.Errorf("%v: %d mails came, and %q have logged in", err, len(mails), office.users)
			case c.refused != "" && (err == nil || !strings.Contains(strings.ToUpper(err.Error()), strings.ToUpper(c.refused)) ||
				len(mails) > 0 || len(office.users) > 0):
				t.Errorf(
					"%v, want it to tell of %s; %d mails came, and %q have logged in",
					err,
					c.refused,
					len(mails),
					office.users,
				)
			}
		})
	}
}
