// Package wire brings scripts to Redis and their replies back.
//
// # Design
//
// The only way in is Client.Run. It gives each call its deadline by Redis's clock, lets
// calls share a round trip, waits for replicas, follows the redirections of a cluster,
// and turns each failure into an error that says what the caller may conclude.
//
// A script is never sent again unless it is known that it did not run: after a lost reply
// the caller, who knows the request id, decides.
package wire

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says which Redis to use, and how.
type Config struct {
	// URL is the address, in the form that the client library's parser of the mode reads.
	URL string
	// Mode is "standalone", "sentinel" or "cluster".
	Mode string
	// Replicas is how many replicas must have the basis of an answer; 0 asks for none.
	Replicas int
	// ReplicasTimeout is how long to wait for them. Required with Replicas.
	ReplicasTimeout time.Duration
	// Certificates gives the certificates of TLS connections, anew for each connection.
	// nil means that Noted shows no certificate, and that Redis's must be of a CA of the
	// system.
	Certificates func() Certificates
	// Greet runs on each new connection before any call may use it. An error closes the
	// connection. nil means that connections need no greeting.
	Greet func(context.Context, *redis.Conn) error
	// Logger gets the client library's own lines. Required.
	Logger *slog.Logger
	// Took is told how long each script took, on its way and back; nil for none.
	Took func(script string, took time.Duration)
}

// These bound a call whose caller would wait longer. The caller's own deadline always
// holds.
const (
	dialTimeout = 500 * time.Millisecond
	ioTimeout   = 2 * time.Second
	poolTimeout = 100 * time.Millisecond
	poolSize    = 32
)

// Certificates are for TLS connections to Redis and to sentinels; a zero field is not
// given.
type Certificates struct {
	Own *tls.Certificate // Noted's own, for a Redis that asks for one
	CAs *x509.CertPool   // that may sign Redis's certificate, instead of the system's CAs
}

// Client is the way to Redis. Its methods may be used by many goroutines.
type Client struct {
	redis  redis.UniversalClient
	writes *batcher // nil on a cluster, where one dead node would delay the calls of others
	reads  *batcher // for scripts that only read: no WAIT, but a check of Redis's role around them

	clocks clocks

	replicas        int // how many must have the basis of an answer
	replicasTimeout time.Duration

	took           func(script string, took time.Duration) // nil for none
	unknownScripts atomic.Uint32
	unverified     bool // Redis's certificate is not checked
}

// Open reads the configuration. Redis need not be up.
func Open(c Config) (*Client, error) {
	redis.SetLogger(quiet{c.Logger}) // for the whole process: the last client gets the lines
	if c.Replicas < 0 || c.Replicas > 0 && c.ReplicasTimeout < time.Millisecond {
		return nil, fmt.Errorf(
			"opening the store: %d replicas cannot be waited for in %v",
			c.Replicas,
			c.ReplicasTimeout,
		)
	}
	w := &Client{
		replicas: c.Replicas, replicasTimeout: c.ReplicasTimeout,
		took: c.Took, clocks: clocks{only: newClock()},
	}
	var err error
	switch c.Mode {
	case "standalone":
		w.redis, err = w.openStandalone(c)
	case "sentinel":
		w.redis, err = w.openSentinel(c)
	case "cluster":
		w.redis, err = w.openCluster(c)
	default:
		err = fmt.Errorf("there is no mode %q: it must be standalone, sentinel or cluster", c.Mode)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", explained(c.URL, withoutSecrets(err)))
	}
	if c.Mode != "cluster" {
		w.writes = &batcher{send: w.roundTrip}
		w.reads = &batcher{send: w.roundTrip}
	}
	return w, nil
}

// Close ends the connections.
func (c *Client) Close() error { return c.redis.Close() }

// AddHook adds a hook around every command.
func (c *Client) AddHook(h redis.Hook) { c.redis.AddHook(h) }

// quiet logs the client library's own lines at the level debug. The failures themselves
// come back as errors.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(ctx context.Context, format string, v ...any) {
	if q.log.Enabled(ctx, slog.LevelDebug) {
		q.log.DebugContext(ctx, "the Redis client says", "text", fmt.Sprintf(format, v...))
	}
}

func (w *Client) openStandalone(c Config) (redis.UniversalClient, error) {
	o, err := redis.ParseURL(c.URL)
	if err != nil {
		return nil, err
	}
	o.MaxRetries = -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	err = w.complete(c, common{
		tls: o.TLSConfig, protocol: o.Protocol,
		clientName: &o.ClientName, onConnect: &o.OnConnect, dialer: &o.Dialer,
		contextTimeoutEnabled: &o.ContextTimeoutEnabled, dialerRetries: &o.DialerRetries,
		dialTimeout: &o.DialTimeout, readTimeout: &o.ReadTimeout, writeTimeout: &o.WriteTimeout,
		poolTimeout: &o.PoolTimeout, poolSize: &o.PoolSize, maxActiveConns: &o.MaxActiveConns,
		pipelinePoolSize: &o.PipelinePoolSize,
	})
	if err != nil {
		return nil, err
	}
	return redis.NewClient(o), nil
}

func (w *Client) openSentinel(c Config) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(c.URL)
	if err != nil {
		return nil, err
	}
	if o.MasterName == "" {
		return nil, errors.New("the URL of sentinels needs ?master_name=")
	}
	o.MaxRetries = -1
	err = w.complete(c, common{
		tls: o.TLSConfig, protocol: o.Protocol,
		clientName: &o.ClientName, onConnect: &o.OnConnect, dialer: &o.Dialer,
		contextTimeoutEnabled: &o.ContextTimeoutEnabled, dialerRetries: &o.DialerRetries,
		dialTimeout: &o.DialTimeout, readTimeout: &o.ReadTimeout, writeTimeout: &o.WriteTimeout,
		poolTimeout: &o.PoolTimeout, poolSize: &o.PoolSize, maxActiveConns: &o.MaxActiveConns,
		pipelinePoolSize: &o.PipelinePoolSize,
	})
	if err != nil {
		return nil, err
	}
	return redis.NewFailoverClient(o), nil
}

func (w *Client) openCluster(c Config) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(c.URL)
	if err != nil {
		return nil, err
	}
	// No MaxRetries here: on a cluster redirections would not be followed either. once
	// keeps a script from being sent twice.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	err = w.complete(c, common{
		tls: o.TLSConfig, protocol: o.Protocol,
		clientName: &o.ClientName, onConnect: &o.OnConnect, dialer: &o.Dialer,
		contextTimeoutEnabled: &o.ContextTimeoutEnabled, dialerRetries: &o.DialerRetries,
		dialTimeout: &o.DialTimeout, readTimeout: &o.ReadTimeout, writeTimeout: &o.WriteTimeout,
		poolTimeout: &o.PoolTimeout, poolSize: &o.PoolSize, maxActiveConns: &o.MaxActiveConns,
		pipelinePoolSize: &o.PipelinePoolSize,
	})
	if err != nil {
		return nil, err
	}
	return redis.NewClusterClient(o), nil
}

// common points into the options of one kind of client, at the fields that all kinds have.
// The URL has set some of them.
type common struct {
	tls      *tls.Config
	protocol int

	clientName *string
	onConnect  *greeting
	dialer     *dialing

	contextTimeoutEnabled *bool
	dialerRetries         *int

	dialTimeout, readTimeout, writeTimeout, poolTimeout *time.Duration
	poolSize, maxActiveConns, pipelinePoolSize          *int
}

// complete sets the options that are the same for every kind of client. Timeouts and sizes
// in the URL win.
func (w *Client) complete(c Config, o common) (err error) {
	*o.contextTimeoutEnabled = true
	*o.dialerRetries = 1
	*o.pipelinePoolSize = -1
	*o.dialTimeout = cmp.Or(*o.dialTimeout, dialTimeout)
	*o.readTimeout = cmp.Or(*o.readTimeout, ioTimeout+c.ReplicasTimeout) // silent while Redis waits for replicas
	*o.writeTimeout = cmp.Or(*o.writeTimeout, ioTimeout)
	*o.poolTimeout = cmp.Or(*o.poolTimeout, poolTimeout)
	*o.poolSize = cmp.Or(*o.poolSize, poolSize)
	*o.maxActiveConns = cmp.Or(*o.maxActiveConns, 2*poolSize)
	*o.onConnect, *o.clientName = greet(*o.clientName, o.protocol, c.Greet), ""
	*o.dialer, err = w.dialer(c, o.tls, *o.dialTimeout)
	return err
}

// A greeting runs on a new connection before any call may use it.
type greeting = func(context.Context, *redis.Conn) error

// greet names the connection for CLIENT LIST, and goes on without a name where that is
// refused. It does so by HELLO: unlike CLIENT SETNAME, that needs no right. go-redis
// would close a connection that it could not name, so it is told no name.
func greet(name string, protocol int, then greeting) greeting {
	name, protocol = cmp.Or(name, "noted"), cmp.Or(protocol, 3)
	return func(ctx context.Context, conn *redis.Conn) error {
		var refused redis.Error
		err := conn.Hello(ctx, protocol, "", "", name).Err()
		if err != nil && (badLogin(err) || !errors.As(err, &refused)) {
			return err
		}
		if then == nil {
			return nil
		}
		return then(ctx, conn)
	}
}

// explained adds what to do about an option that the client library rejects here.
func explained(u string, err error) error {
	if strings.HasPrefix(u, "redis://") && strings.Contains(err.Error(), "unexpected option: skip_verify") {
		return errors.New("skip_verify is about a certificate, and with redis:// there is no TLS: leave it out, or " +
			"write rediss://")
	}
	return err
}

// withoutSecrets keeps the fault of a URL and drops the URL, which may hold a password.
func withoutSecrets(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("the URL cannot be read: %w", u.Err)
	}
	return err
}
