package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
)

// serialOf is the serial number of the certificate on a new connection.
func serialOf(t *testing.T, addr string, config *tls.Config) (*big.Int, error) {
	t.Helper()
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber, nil
}

// Both doors show a new certificate within moments. Present connections live on, and a
// broken file changes nothing.
func TestCertificateIsReloaded(t *testing.T) {
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	s := startConfigured(t, func(c *server.Config) { c.TLSCert, c.TLSKey, c.HTTPListen = cert, key, "127.0.0.1:0" })
	trust := &tls.Config{RootCAs: ca.Pool()}
	shown := func(addr string) string {
		serial, err := serialOf(t, addr, trust)
		if err != nil {
			t.Fatal(err)
		}
		return serial.String()
	}
	before := shown(s.Addr())
	old := s.as(t, trust, "")
	if _, err := old.NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Fatal(err)
	}
	if got := s.metric(
		t,
		"noted_tls_cert_not_after_seconds",
	); time.Until(time.Unix(int64(got), 0)) > time.Hour ||
		time.Until(time.Unix(int64(got), 0)) < 50*time.Minute {
		t.Errorf("noted_tls_cert_not_after_seconds = %v, want an hour ahead", got)
	}
	if s.logged("the certificate ends soon") != 1 {
		t.Error("the log does not warn once of a certificate that ends within the hour")
	}

	second := ca.Issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(1000 * time.Hour) })
	second.Files(t, dir)
	eventually(t, 10*time.Second, "the new certificate is shown", func() bool { return shown(s.Addr()) != before })
	after := shown(s.Addr())
	if got := shown(s.HTTPAddr()); got != after {
		t.Errorf("over HTTP certificate %s is shown, want %s", got, after)
	}
	if got := s.metric(t, "noted_tls_cert_not_after_seconds"); time.Until(time.Unix(int64(got), 0)) < 999*time.Hour {
		t.Errorf("noted_tls_cert_not_after_seconds = %v, want 1000 hours ahead", got)
	}
	if _, err := old.NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Errorf("on the connection from before: %v", err)
	}

	expired := ca.Issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	other := ca.Issue(nil)
	refused := 0.0
	for name, write := range map[string]func(){
		"garbage":           func() { pkitest.Write(t, cert, []byte("garbage")) },
		"half a file":       func() { pkitest.Write(t, cert, second.Cert[:len(second.Cert)/2]) },
		"an empty file":     func() { pkitest.Write(t, cert, nil) },
		"no file":           func() { os.Remove(cert) },
		"another's key":     func() { pkitest.Write(t, cert, other.Cert) },
		"an expired one":    func() { expired.Files(t, dir) },
		"the key as a cert": func() { pkitest.Write(t, cert, second.Key); pkitest.Write(t, key, second.Key) },
	} {
		write()
		s.Reload()
		if got := s.metric(t, "noted_reloads_total", `file="tls"`, `outcome="refused"`); got <= refused {
			t.Errorf("%s is not counted as refused", name)
		} else {
			refused = got
		}
		if got := shown(s.Addr()); got != after {
			t.Errorf("with %s certificate %s is shown, want the last good one, %s", name, got, after)
		}
		second.Files(t, dir)
		s.Reload()
	}
	if strings.Contains(s.log.String(), "PRIVATE") {
		t.Error("the log has a key")
	}
}

// A client without a certificate of the CA does not get past the handshake. Each failure
// is counted by its reason, at both doors, and honest callers are served. A new CA counts
// without a restart.
func TestMutualTLS(t *testing.T) {
	ca, strangers, dir := pkitest.New(t, "CA"), pkitest.New(t, "strangers"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	caFile := pkitest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	s := startConfigured(t, func(c *server.Config) {
		c.TLSCert, c.TLSKey, c.TLSClientCA, c.HTTPListen = cert, key, caFile, "127.0.0.1:0"
	})
	with := func(pairs ...pkitest.Pair) *tls.Config {
		config := &tls.Config{RootCAs: ca.Pool()}
		for _, pair := range pairs {
			// Shown even if the server does not ask for a certificate of its authority.
			certificate := pair.TLS(t)
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &certificate, nil
			}
		}
		return config
	}
	honest := with(ca.Named("gateway.example.org"))
	try := func(config *tls.Config) codes.Code {
		_, err := s.as(t, config, "").NoteDonation(within(t, 10*time.Second), series("I-1"))
		return status.Code(err)
	}
	tryHTTP := func(config *tls.Config) bool {
		transport := &http.Transport{TLSClientConfig: config.Clone()}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Post(
			"https://"+s.HTTPAddr()+"/noted.v1.DedupeService/NoteDonation",
			"application/json",
			strings.NewReader(`{"donation":{"series_id":"I-1"}}`),
		)
		if err != nil {
			return false
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode == 200
	}
	for _, c := range []struct {
		name   string
		config *tls.Config
		reason string
	}{
		{"an honest caller", honest, ""},
		{"no certificate", with(), "no_certificate"},
		{"one of strangers", with(strangers.Named("gateway.example.org")), "unknown_ca"},
		{"an expired one", with(ca.Issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), "expired"},
		{"one for servers only", with(ca.Issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), "bad_certificate"},
		{"no TLS at all", nil, "not_tls"},
		{"an honest caller still", honest, ""},
	} {
		before := s.metric(t, "noted_tls_handshake_failures_total", `reason="`+c.reason+`"`)
		want := codes.OK
		if c.reason != "" {
			want = codes.Unavailable
		}
		if got := try(c.config); got != want {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
		if c.config != nil {
			if got := tryHTTP(c.config); got != (c.reason == "") {
				t.Errorf("%s, over HTTP: answered = %v", c.name, got)
			}
		} else if response, err := http.Get("http://" + s.HTTPAddr() + "/"); err == nil {
			response.Body.Close()
			if response.StatusCode != 400 {
				t.Errorf("plain HTTP where TLS is spoken: %d", response.StatusCode)
			}
		}
		if c.reason == "" {
			continue
		}
		eventually(t, 5*time.Second, c.name+" is counted as "+c.reason+" at both doors", func() bool {
			return s.metric(t, "noted_tls_handshake_failures_total", `reason="`+c.reason+`"`) >= before+2
		})
	}
	if s.logged("a TLS handshake failed", `"reason":"unknown_ca"`, `"peer":"127.0.0.1:`) == 0 {
		t.Error("the log has no line about the strangers' handshakes")
	}

	// The CA is replaced; for a time both count.
	next := pkitest.New(t, "next CA")
	newcomer := with(next.Named("gateway.example.org"))
	pkitest.Write(t, caFile, append(ca.PEM(), next.PEM()...))
	s.Reload()
	if old, new := try(honest), try(newcomer); old != codes.OK || new != codes.OK {
		t.Errorf("with both CAs: %v, %v, want both answered", old, new)
	}
	pkitest.Write(t, caFile, next.PEM())
	s.Reload()
	if old, new := try(honest), try(newcomer); old != codes.Unavailable || new != codes.OK {
		t.Errorf("with the new CA alone: %v, %v, want the new one alone answered", old, new)
	}
	for _, bad := range []string{
		"", "garbage", string(next.PEM()) + string(next.Issue(nil).Key),
		strings.Replace(string(next.PEM()), "MII", "AAA", 1),
	} {
		pkitest.Write(t, caFile, []byte(bad))
		s.Reload()
		if got := try(newcomer); got != codes.OK {
			t.Errorf("with the CA file %.20q: %v, want the last good one to count", bad, got)
		}
	}
	if got := s.metric(t, "noted_reloads_total", `file="tls"`, `outcome="refused"`); got != 4 {
		t.Errorf("%v bad files are refused, want 4", got)
	}
}

// A server whose files are bad at the start does not start, and says which.
func TestBadFilesAtStart(t *testing.T) {
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	empty := pkitest.Write(t, filepath.Join(dir, "empty"), nil)
	for name, change := range map[string]func(*server.Config){
		"empty with -tls-key":            func(c *server.Config) { c.TLSCert, c.TLSKey = empty, key },
		"-tls-client-ca":                 func(c *server.Config) { c.TLSCert, c.TLSKey, c.TLSClientCA = cert, key, empty },
		"-callers: " + empty + " line 1": func(c *server.Config) { c.Callers = empty },
		"no such file":                   func(c *server.Config) { c.Callers = filepath.Join(dir, "none") },
		"-tls-cert and -tls-key belong":  func(c *server.Config) { c.TLSCert = cert },
		"-tls-client-ca needs -tls-cert": func(c *server.Config) { c.TLSClientCA = cert },
	} {
		config := quiet("redis://127.0.0.1:1")
		change(&config)
		if _, err := server.New(t.Context(), config); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New = %v, want an error with %q", err, name)
		}
	}
}

// The doors stay closed if unknown clients could call, or if others could read the calls.
func TestDoorsStayShut(t *testing.T) {
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	caFile := pkitest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	callers := callersFile(t, filepath.Join(dir, "callers.json"), byToken("a", "a", `"*"`, `"note"`))
	secure := func(c *server.Config) { c.TLSCert, c.TLSKey = cert, key }
	for _, c := range []struct {
		name   string
		change func(*server.Config)
		says   string
	}{
		{"nothing", func(c *server.Config) {}, "there is no TLS (-tls-cert, -tls-key), and callers are not identified"},
		{"callers alone", func(c *server.Config) { c.Callers = callers }, "tokens and donations could be read on the " +
			"way"},
		{"TLS alone", secure, "callers are not identified"},
		{"TLS and callers", func(c *server.Config) { secure(c); c.Callers = callers }, ""},
		{"mutual TLS", func(c *server.Config) { secure(c); c.TLSClientCA = caFile }, ""},
		{"nothing, and that accepted", func(c *server.Config) { c.Insecure = true }, ""},
	} {
		for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0"} {
			for _, door := range []string{"-listen", "-http-listen"} {
				config := quiet("redis://127.0.0.1:1")
				c.change(&config)
				if config.HTTPListen = address; door == "-listen" {
					config.Listen, config.HTTPListen = address, server.Off
				}
				s, err := server.New(t.Context(), config)
				if s != nil {
					stop(t, s)
				}
				if c.says == "" && err != nil ||
					c.says != "" &&
						(err == nil || !strings.Contains(err.Error(), c.says) ||
							!strings.Contains(err.Error(), "-insecure") || !strings.Contains(err.Error(), door+" "+address)) {
					t.Errorf("%s at %s %s: %v, want %q", c.name, door, address, err, c.says)
				}
			}
		}
	}
}
