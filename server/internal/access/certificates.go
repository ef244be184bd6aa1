package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// expirySoon is how long before the end of a certificate the log warns.
const expirySoon = 14 * 24 * time.Hour

// CertificatesConfig is what Certificates need.
type CertificatesConfig struct {
	Cert, Key, ClientCA string // files; ClientCA may be empty
	// Required refuses in the handshake a client without a certificate of ClientCA.
	Required bool
	Logger   *slog.Logger
	Metrics  *metrics.Metrics
}

// Certificates are the server's own certificate and the CAs of its callers' certificates,
// as of the last good content of the files. Both doors ask for them at each handshake, so
// a new certificate counts from the next connection on. Existing connections live on
// until they are too old.
type Certificates struct {
	CertificatesConfig
	current  atomic.Pointer[tls.Config]
	notAfter atomic.Int64 // of the server's certificate, seconds of Unix time
	warned   atomic.Int64 // notAfter of the last certificate that the log warned of

	failures *prometheus.CounterVec
}

// NewCertificates makes Certificates that have not read their files yet.
func NewCertificates(config CertificatesConfig) *Certificates {
	c := &Certificates{
		CertificatesConfig: config,
		failures:           config.Metrics.CounterVec("noted_tls_handshake_failures_total"),
	}
	for _, reason := range []string{
		"expired", "unknown_ca", "no_certificate", "bad_certificate", "not_tls", "gone", "other",
	} {
		c.failures.WithLabelValues(reason)
	}
	config.Metrics.GaugeFunc("noted_tls_cert_not_after_seconds", func() float64 { return float64(c.notAfter.Load()) })
	return c
}

// File is the files of the certificates, for a Reloader.
func (c *Certificates) File() *File {
	paths := []string{c.Cert, c.Key}
	if c.ClientCA != "" {
		paths = append(paths, c.ClientCA)
	}
	return &File{name: "tls", paths: paths, apply: c.load}
}

// load takes up new contents, or refuses them and keeps the old ones.
func (c *Certificates) load(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return fmt.Errorf("-tls-cert %s with -tls-key %s: %w", c.Cert, c.Key, err)
	}
	if pair.Leaf.NotAfter.Before(time.Now()) {
		return fmt.Errorf(
			"-tls-cert %s: the certificate has expired at %s",
			c.Cert,
			pair.Leaf.NotAfter.UTC().Format(time.RFC3339),
		)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.ClientCA != "" {
		if config.ClientCAs, err = authorities(contents[2]); err != nil {
			return fmt.Errorf("-tls-client-ca %s: %w", c.ClientCA, err)
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
		if c.Required {
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	c.notAfter.Store(pair.Leaf.NotAfter.Unix())
	c.current.Store(config)
	c.Warn()
	return nil
}

// Warn logs once that the certificate ends soon.
func (c *Certificates) Warn() { warnOfEnd(c.Logger, c.Cert, c.notAfter.Load(), &c.warned) }

// warnOfEnd logs once for each certificate that it ends soon.
func warnOfEnd(logger *slog.Logger, file string, notAfter int64, warned *atomic.Int64) {
	if ends := time.Unix(notAfter, 0); time.Until(ends) < expirySoon && warned.Swap(notAfter) != notAfter {
		logger.Warn(
			"the certificate ends soon; a new one in the same file is taken up by itself",
			"file", file,
			"not_after", ends.UTC().Format(time.RFC3339),
		)
	}
}

// authorities reads PEM more strictly than x509.CertPool, which skips blocks that it
// cannot read.
func authorities(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	found := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s; only certificates belong there", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(certificate)
		found++
	}
	if found == 0 {
		return nil, errors.New("there is no PEM certificate in it")
	}
	return pool, nil
}

// config makes the configuration of one door, with the protocols that it speaks. The
// inner configuration is made again only for new files, so that sessions can be resumed.
func (c *Certificates) config(protocols ...string) *tls.Config {
	type made struct{ from, config *tls.Config }
	var last atomic.Pointer[made]
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			current := c.current.Load()
			if m := last.Load(); m != nil && m.from == current {
				return m.config, nil
			}
			config := current.Clone()
			config.NextProtos = protocols
			last.Store(&made{from: current, config: config})
			return config, nil
		},
	}
}

// failed counts a handshake that failed, and logs some of them.
func (c *Certificates) failed(peer, trouble string) {
	reason := handshakeReason(trouble)
	c.failures.WithLabelValues(reason).Inc()
	if reason == "gone" {
		return // a load balancer that checks whether the port is open
	}
	c.Metrics.Floods.Log(
		context.Background(),
		"a TLS handshake failed "+reason,
		slog.LevelWarn,
		"a TLS handshake failed",
		"peer", peer,
		"reason", reason,
		"error", trouble,
	)
}

// handshakeReason reads the text of an error: crypto/tls has values for some errors only,
// and net/http passes all of them on as text.
func handshakeReason(trouble string) string {
	for _, known := range []struct{ part, reason string }{
		{"certificate has expired or is not yet valid", "expired"},
		{"certificate signed by unknown authority", "unknown_ca"},
		{"client didn't provide a certificate", "no_certificate"},
		{"failed to verify certificate", "bad_certificate"},
		{"does not look like a TLS handshake", "not_tls"},
		{"HTTP request to an HTTPS server", "not_tls"},
		{"EOF", "gone"},
		{"timeout", "gone"},
		{"connection reset", "gone"},
		{"closed", "gone"},
	} {
		if strings.Contains(trouble, known.part) {
			return known.reason
		}
	}
	return "other"
}

// Credentials are the transport credentials of the gRPC door; a nil *Certificates means
// plaintext.
func (c *Certificates) Credentials() credentials.TransportCredentials {
	if c == nil {
		return insecure.NewCredentials()
	}
	return handshakes{TransportCredentials: credentials.NewTLS(c.config("h2")), failed: c.failed}
}

// Listener makes a TLS listener for the door that has no credentials of its own; a nil
// *Certificates leaves the listener as it is.
func (c *Certificates) Listener(listener net.Listener) net.Listener {
	if c == nil {
		return listener
	}
	return tls.NewListener(listener, c.config("h2", "http/1.1"))
}

// handshakes are the transport credentials of the gRPC door, with failures counted.
type handshakes struct {
	credentials.TransportCredentials
	failed func(peer, trouble string)
}

// ServerHandshake is of credentials.TransportCredentials.
func (h handshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := h.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		h.failed(conn.RemoteAddr().String(), err.Error())
	}
	return secured, info, err
}

// Clone is of credentials.TransportCredentials.
func (h handshakes) Clone() credentials.TransportCredentials {
	return handshakes{TransportCredentials: h.TransportCredentials.Clone(), failed: h.failed}
}

// ErrorLog is where net/http reports errors of its connections. Certificates may be nil.
func ErrorLog(c *Certificates, floods *metrics.Floods) *log.Logger {
	return log.New(serverErrors{c, floods}, "", 0)
}

// serverErrors takes net/http's reports of its connections: it counts failed handshakes
// and logs the rest.
type serverErrors struct {
	certificates *Certificates // nil without TLS
	floods       *metrics.Floods
}

// Write is of io.Writer; each call is one line.
func (e serverErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if of, ok := strings.CutPrefix(text, "http: TLS handshake error from "); ok && e.certificates != nil {
		peer, trouble, _ := strings.Cut(of, ": ")
		e.certificates.failed(peer, trouble)
	} else {
		e.floods.Log(context.Background(), "serving HTTP", slog.LevelWarn, "serving HTTP", "error", text)
	}
	return len(line), nil
}
