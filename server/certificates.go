package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// expirySoon is how long before its end a certificate is warned of.
const expirySoon = 14 * 24 * time.Hour

// certificates are the server's own certificate and the CAs of its callers', as the files had them when they were last good. Both doors ask for them
// at each handshake, so a new one counts from the next connection on; connections that are there live on for their age at most.
type certificates struct {
	certFile, keyFile, clientCAFile string

	required bool // a caller without a certificate of these CAs does not get past the handshake
	logger   *slog.Logger
	current  atomic.Pointer[tls.Config]
	notAfter atomic.Int64 // of the server's certificate, seconds of Unix time
	warned   atomic.Int64 // notAfter of the last certificate that was warned of

	failures *prometheus.CounterVec // reason
	floods   *metrics.Floods
}

func newCertificates(config Config, m *metrics.Metrics) *certificates {
	c := &certificates{
		certFile:     config.TLSCert,
		keyFile:      config.TLSKey,
		clientCAFile: config.TLSClientCA,
		required:     config.TLSClientCA != "" && config.Callers == "",
		logger:       config.Logger,
		failures:     m.CounterVec("noted_tls_handshake_failures_total"),
		floods:       m.Floods,
	}
	for _, reason := range []string{"expired", "unknown_ca", "no_certificate", "bad_certificate", "not_tls", "gone", "other"} {
		c.failures.WithLabelValues(reason)
	}
	m.GaugeFunc("noted_tls_cert_not_after_seconds", func() float64 { return float64(c.notAfter.Load()) })
	return c
}

// file is what a reloader needs to know.
func (c *certificates) file() *reloaded {
	paths := []string{c.certFile, c.keyFile}
	if c.clientCAFile != "" {
		paths = append(paths, c.clientCAFile)
	}
	return &reloaded{name: "tls", paths: paths, apply: c.load}
}

// load takes new contents, or refuses them and leaves the old as they are.
func (c *certificates) load(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return fmt.Errorf("-tls-cert %s with -tls-key %s: %w", c.certFile, c.keyFile, err)
	}
	if pair.Leaf.NotAfter.Before(time.Now()) {
		return fmt.Errorf("-tls-cert %s: the certificate has expired at %s", c.certFile, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.clientCAFile != "" {
		if config.ClientCAs, err = authorities(contents[2]); err != nil {
			return fmt.Errorf("-tls-client-ca %s: %w", c.clientCAFile, err)
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
		if c.required {
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	c.notAfter.Store(pair.Leaf.NotAfter.Unix())
	c.current.Store(config)
	c.warn()
	return nil
}

func (c *certificates) warn() { warnOfEnd(c.logger, c.certFile, c.notAfter.Load(), &c.warned) }

// warnOfEnd tells once of a certificate that ends soon.
func warnOfEnd(logger *slog.Logger, file string, notAfter int64, warned *atomic.Int64) {
	if ends := time.Unix(notAfter, 0); time.Until(ends) < expirySoon && warned.Swap(notAfter) != notAfter {
		logger.Warn(
			"the certificate ends soon; a new one in the same file is taken up by itself",
			"file",
			file,
			"not_after",
			ends.UTC().Format(time.RFC3339),
		)
	}
}

// authorities reads PEM more strictly than x509.CertPool, which leaves out what it cannot read.
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

// config makes a door's configuration, with the protocols that it speaks. It is made anew only when the files are, so that sessions can be resumed.
func (c *certificates) config(protocols ...string) *tls.Config {
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

// failed counts a handshake that did not come off, and tells of some.
func (c *certificates) failed(peer, trouble string) {
	reason := handshakeReason(trouble)
	c.failures.WithLabelValues(reason).Inc()
	if reason == "gone" {
		return // a load balancer that looks whether somebody listens
	}
	c.floods.Log(context.Background(), "a TLS handshake failed "+reason, slog.LevelWarn, "a TLS handshake failed", "peer", peer, "reason", reason, "error", trouble)
}

// handshakeReason reads the text of a trouble: crypto/tls has values for some only, and net/http tells of all in text.
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

// handshakes are the transport credentials of the first door, with failures counted.
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

// serverErrors is what net/http tells of its connections: handshakes that failed are counted, the rest is logged.
type serverErrors struct {
	certificates *certificates // nil where there is no TLS
	floods       *metrics.Floods
}

// Write is of io.Writer; a line at a time.
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
