package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config says where the store is.
type Config struct {
	// URL is the Redis's, in the form that the client library's parser of the mode reads:
	// redis://user:password@host:6379/0, rediss:// for TLS, and for sentinel and cluster
	// with further ?addr=host:port and, for sentinel, master_name=.
	URL string
	// Mode is "standalone", "sentinel" or "cluster". It is never guessed from the URL:
	// the one address of a cluster is no standalone Redis.
	Mode string
	// Replicas is how many replicas must have what an answer rests on before it is given;
	// 0 leaves it to how Redis is configured.
	Replicas int
	// ReplicasTimeout is how long to wait for them. Required with Replicas.
	ReplicasTimeout time.Duration
	// Certificates gives what TLS connections are made with, anew for each connection.
	// nil means that Noted shows no certificate, and that Redis's must be of a CA of the
	// system.
	Certificates func() Certificates
	// Epoch is the id of the epoch that the store must be in, as Store.Epoch gave it;
	// empty means whichever it is in.
	Epoch string
	// RefuseAfterLoss lets no call reach a store that has gone back, until that is
	// acknowledged. On a cluster calls are answered until a beat has noticed.
	RefuseAfterLoss bool
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
}

// These bound what a call may take when its caller is more patient; the caller's own
// deadline is honoured in any case.
const (
	dialTimeout = 500 * time.Millisecond
	ioTimeout   = 2 * time.Second
	poolTimeout = 100 * time.Millisecond
	poolSize    = 32
)

// Certificates are for TLS connections to Redis and to sentinels; a zero field is not
// given.
type Certificates struct {
	Own *tls.Certificate // what Noted shows when Redis asks for one
	CAs *x509.CertPool   // of Redis's certificate, in the place of the system's
}

// Open reads the configuration. It does not need the store to be up.
func Open(_ context.Context, c Config) (*Store, error) {
	redis.SetLogger(quiet{c.Logger}) // the client's, for the whole process; the last store opened gets it
	s := &Store{
		log:             c.Logger,
		replicas:        c.Replicas,
		replicasTimeout: c.ReplicasTimeout,
		epoch:           newEpoch(c),
		refuseLost:      c.RefuseAfterLoss,
	}
	var err error
	if c.Replicas < 0 || c.Replicas > 0 && c.ReplicasTimeout < time.Millisecond {
		return nil, fmt.Errorf(
			"opening the store: %d replicas cannot be waited for in %v",
			c.Replicas,
			c.ReplicasTimeout,
		)
	}
	reads := ioTimeout + c.ReplicasTimeout // a connection is silent while Redis waits for replicas
	var verify func(context.Context, *redis.Conn) error
	if c.RefuseAfterLoss && c.Mode != "cluster" {
		verify = s.verify
	}
	switch c.Mode {
	case "standalone":
		s.redis, err = s.openStandalone(c, reads, verify)
	case "sentinel":
		s.redis, err = s.openSentinel(c, reads, verify)
	case "cluster":
		s.redis, err = s.openCluster(c, reads)
	default:
		err = fmt.Errorf("%q is none of standalone, sentinel, cluster", c.Mode)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", explained(c.URL, withoutSecrets(err)))
	}
	if c.Mode != "cluster" {
		s.batch = &batcher{send: s.runAll}
		s.looks = &batcher{send: s.runAll}
	}
	return s, nil
}

// quiet writes what the client library would print on its own, where somebody asks for
// it: the failures themselves come back as errors.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(ctx context.Context, format string, v ...any) {
	if q.log.Enabled(ctx, slog.LevelDebug) {
		q.log.DebugContext(ctx, "the Redis client says", "text", fmt.Sprintf(format, v...))
	}
}

func (s *Store) openStandalone(c Config, reads time.Duration, verify greeting) (redis.UniversalClient, error) {
	o, err := redis.ParseURL(c.URL)
	if err != nil {
		return nil, err
	}
	o.MaxRetries = -1
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.PipelinePoolSize = -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	usual(&o.DialTimeout, dialTimeout)
	usual(&o.ReadTimeout, reads)
	usual(&o.WriteTimeout, ioTimeout)
	usual(&o.PoolTimeout, poolTimeout)
	usual(&o.PoolSize, poolSize)
	usual(&o.MaxActiveConns, 2*poolSize)
	o.OnConnect, o.ClientName = greet(o.ClientName, o.Protocol, verify), ""
	if o.Dialer, err = s.dialer(c, o.TLSConfig, o.DialTimeout); err != nil {
		return nil, err
	}
	return redis.NewClient(o), nil
}

func (s *Store) openSentinel(c Config, reads time.Duration, verify greeting) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(c.URL)
	if err != nil {
		return nil, err
	}
	if o.MasterName == "" {
		return nil, errors.New("the URL of sentinels needs ?master_name=")
	}
	o.MaxRetries = -1
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.PipelinePoolSize = -1
	usual(&o.DialTimeout, dialTimeout)
	usual(&o.ReadTimeout, reads)
	usual(&o.WriteTimeout, ioTimeout)
	usual(&o.PoolTimeout, poolTimeout)
	usual(&o.PoolSize, poolSize)
	usual(&o.MaxActiveConns, 2*poolSize)
	o.OnConnect, o.ClientName = greet(o.ClientName, o.Protocol, verify), ""
	if o.Dialer, err = s.dialer(c, o.TLSConfig, o.DialTimeout); err != nil {
		return nil, err
	}
	return redis.NewFailoverClient(o), nil
}

func (s *Store) openCluster(c Config, reads time.Duration) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(c.URL)
	if err != nil {
		return nil, err
	}
	// No MaxRetries here: on a cluster redirections would not be followed either. once
	// keeps a script from being sent twice.
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.PipelinePoolSize = -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	usual(&o.DialTimeout, dialTimeout)
	usual(&o.ReadTimeout, reads)
	usual(&o.WriteTimeout, ioTimeout)
	usual(&o.PoolTimeout, poolTimeout)
	usual(&o.PoolSize, poolSize)
	usual(&o.MaxActiveConns, 2*poolSize)
	o.OnConnect, o.ClientName = greet(o.ClientName, o.Protocol, nil), ""
	if o.Dialer, err = s.dialer(c, o.TLSConfig, o.DialTimeout); err != nil {
		return nil, err
	}
	return redis.NewClusterClient(o), nil
}

// A greeting is what is done on a new connection before any call may use it.
type greeting = func(context.Context, *redis.Conn) error

// greet names the connection for CLIENT LIST, by HELLO, which needs no right where CLIENT
// SETNAME does, and goes on without a name where that is refused. go-redis would give a
// connection up that could not be named, so it is told no name.
func greet(name string, protocol int, then greeting) greeting {
	usual(&name, "noted")
	usual(&protocol, 3)
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

// usual fills in what the URL leaves open.
func usual[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// explained adds what to do about an option that the client library does not know in this
// place.
func explained(u string, err error) error {
	if strings.HasPrefix(u, "redis://") && strings.Contains(err.Error(), "unexpected option: skip_verify") {
		return errors.New("skip_verify is about a certificate, and with redis:// there is no TLS: leave it out, or " +
			"write rediss://")
	}
	return err
}

// withoutSecrets keeps what was wrong with a URL and drops the URL, which may hold a
// password.
func withoutSecrets(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("the URL cannot be read: %w", u.Err)
	}
	return err
}
