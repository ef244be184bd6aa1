package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A dialer makes every connection to Redis and to sentinels. It adds two things to the
// client library's own dialer. It uses the current certificates. And it finds out why a
// connection fails if only one side speaks TLS, or if Redis wants a certificate: to the
// client library each of these looks like a Redis that hangs up.
type dialer struct {
	tls          *tls.Config // from the URL; nil for plaintext
	timeout      time.Duration
	certificates func() Certificates
}

type dialing = func(ctx context.Context, network, addr string) (net.Conn, error)

func (w *Client) dialer(c Config, config *tls.Config, timeout time.Duration) (dialing, error) {
	d := dialer{tls: config, timeout: timeout, certificates: c.Certificates}
	if d.certificates == nil {
		d.certificates = func() Certificates { return Certificates{} }
	}
	if given := d.certificates(); config == nil && given != (Certificates{}) {
		return nil, errors.New("-redis-cert, -redis-key and -redis-ca are for TLS, and -redis says redis://: write " +
			"rediss://, or leave them out")
	} else if w.unverified = config != nil && config.InsecureSkipVerify; w.unverified && given.CAs != nil {
		return nil, errors.New("-redis-ca names the CA of Redis's certificate, and skip_verify in -redis says not to " +
			"look at it: leave skip_verify out")
	}
	return d.dial, nil
}

// probeTime is how long a port may take to show its protocol, beyond the time of the
// failed call.
const probeTime = 300 * time.Millisecond

func (d dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	soon, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	keep := net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 5 * time.Second, Count: 9}
	conn, err := (&net.Dialer{KeepAliveConfig: keep}).DialContext(soon, network, addr)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if d.tls == nil {
		if !ok {
			return conn, nil
		}
		return &plainConn{TCPConn: tcp, speaksTLS: func() bool { return speaksTLS(ctx, network, addr) }}, nil
	}
	config, given := d.tls.Clone(), d.certificates()
	config.MinVersion, config.RootCAs = tls.VersionTLS12, given.CAs
	shown := given.Own != nil
	if shown {
		// Always this certificate: Redis lists the CAs that it trusts, and a certificate
		// of another CA would silently not be shown.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return given.Own, nil
		}
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(soon); err != nil {
		conn.Close()
		switch explained := refusedCertificate(err, shown); {
		case explained != nil:
			return nil, explained
		case !badHandshake(err) && speaksPlaintext(ctx, network, addr):
			return nil, &shutOut{by: ByCertificate, text: fmt.Sprintf("no TLS connection to Redis can be made: "+
				"the server at %s speaks plaintext, and -redis says rediss://: name Redis's tls-port, or write "+
				"redis://", addr)}
		}
		// This is the error of a dial: nothing was sent, so nothing was done.
		return nil, &net.OpError{Op: "dial", Net: network, Addr: conn.RemoteAddr(), Err: err}
	}
	return &tlsConn{Conn: secured, shown: shown}, nil
}

// A plainConn tells a port that speaks TLS from a Redis that hangs up, by its reaction to
// the first words.
type plainConn struct {
	*net.TCPConn
	heard     atomic.Bool // Redis has replied
	speaksTLS func() bool
}

func (c *plainConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if c.heard.Load() {
		return n, err
	}
	const alert = 0x15 // a record of TLS can begin with it, a reply of Redis cannot
	if n > 0 && b[0] != alert {
		c.heard.Store(true)
	} else if (n > 0 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && c.speaksTLS() {
		return 0, &shutOut{by: ByCertificate, text: fmt.Sprintf("the server at %s speaks TLS, and -redis says "+
			"redis://: write rediss://, and name a CA of your own with -redis-ca", c.RemoteAddr())}
	}
	return n, err
}

// A tlsConn recognizes a Redis that rejects our certificate, or wants one. With TLS 1.3
// that news arrives after our side of the handshake, in the place of the first reply.
type tlsConn struct {
	*tls.Conn
	heard atomic.Bool
	shown bool
}

func (c *tlsConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.heard.Store(true)
	} else if explained := refusedCertificate(err, c.shown); explained != nil && !c.heard.Load() {
		return 0, explained
	}
	return n, err
}

func (c *tlsConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil && !c.heard.Load() { // Redis has hung up; its last words can still be read
		if _, said := c.Read(make([]byte, 1)); said != nil && asShutOut(said) != nil {
			return n, said
		}
	}
	return n, err
}

// refusedCertificate explains an alert of Redis about our certificate; nil for other
// errors.
func refusedCertificate(err error, shown bool) error {
	_, alert, ok := strings.Cut(err.Error(), "remote error: tls: ")
	switch {
	case !ok || !strings.Contains(alert, "certificate") && alert != "handshake failure" && alert != "access denied":
		return nil
	case !shown:
		return &shutOut{by: ByCertificate, text: fmt.Sprintf("no TLS connection to Redis can be made: it wants "+
			"a certificate of Noted (%v): name one with -redis-cert and -redis-key, or let Redis do without "+
			"(tls-auth-clients no)", err)}
	}
	return &shutOut{by: ByCertificate, text: fmt.Sprintf("no TLS connection to Redis can be made: it does not "+
		"accept the certificate of -redis-cert (%v): that must be valid, for clients, and of a CA that Redis trusts "+
		"(tls-ca-cert-file)", err)}
}

// speaksPlaintext sends a PING without TLS to the port.
func speaksPlaintext(ctx context.Context, network, addr string) bool {
	conn, done, err := probe(ctx, network, addr)
	if err != nil {
		return false
	}
	defer done()
	reply := make([]byte, 1)
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, reply)
	return err == nil && (reply[0] == '+' || reply[0] == '-')
}

// speaksTLS begins a TLS handshake, which need not end.
func speaksTLS(ctx context.Context, network, addr string) bool {
	conn, done, err := probe(ctx, network, addr)
	if err != nil {
		return false
	}
	defer done()
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // nothing is sent over it
	err = tls.Client(conn, config).Handshake()
	return err == nil || strings.Contains(err.Error(), "remote error: tls: ")
}

// probe connects for a moment, which may end after the failed call.
func probe(ctx context.Context, network, addr string) (conn net.Conn, done func(), err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
	defer cancel()
	if conn, err = (&net.Dialer{}).DialContext(ctx, network, addr); err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(probeTime))
	return conn, func() { conn.Close() }, nil
}
