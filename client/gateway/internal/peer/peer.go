// Package peer makes the HTTP clients with which the gateway calls PayPal's hosts and the
// downstream.
package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/traces"
)

// Client makes a client for one peer. It follows no redirects: a message is for this peer
// alone, and only this peer may answer it. The caller gives every request its deadline.
// roots is nil for the system's certificates.
func Client(roots *x509.CertPool) *http.Client { return client(roots, false) }

// Downstream makes a client for the downstream. It also sends the trace of a request.
func Downstream() *http.Client { return client(nil, true) }

func client(roots *x509.CertPool, hands bool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	transport.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = 5 * time.Second
	transport.MaxIdleConnsPerHost = 16
	transport.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{
		Transport:     traces.Transport{RoundTripper: transport, Hands: hands},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Connect opens a connection to the server of a URL and closes it, without a request.
func Connect(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("its address cannot be read")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "redis": "6379", "rediss": "6379"}[strings.ToLower(u.Scheme)]
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// Host is the host of a URL, without its port.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// ErrUnresolved means that the name of a host has no address.
var ErrUnresolved = errors.New("its name cannot be resolved")

// Resolve looks up the host of an http(s) URL. It does not if a proxy from the
// environment makes the connection: the proxy may know names that this machine does not.
func Resolve(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return err
	}
	if proxy, err := http.ProxyFromEnvironment(request); err != nil || proxy != nil {
		return err
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, request.URL.Hostname()); err != nil {
		return errors.Join(ErrUnresolved, err)
	}
	return nil
}

// Trouble says why a request got no answer, without its URL, which may contain a secret.
func Trouble(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it did not answer in time"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return err.Error()
}

// Confidential reports whether no other party can read or change the traffic to a URL:
// https, or this machine.
func Confidential(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}
