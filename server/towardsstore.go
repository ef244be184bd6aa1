package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// towardsStore holds the certificates for connections to Redis, as the files had them
// when they were last good. The store asks for them at each new connection.
type towardsStore struct {
	certFile, keyFile, caFile string

	file     *reloaded // nil where no file is given
	logger   *slog.Logger
	taken    atomic.Pointer[store.Certificates]
	notAfter atomic.Int64 // of our certificate, seconds of Unix time
	warned   atomic.Int64 // notAfter of the last certificate that was warned of
}

// newTowardsStore reads the files for the first time; then they must be good.
func newTowardsStore(config Config) (*towardsStore, error) {
	t := &towardsStore{
		certFile: config.RedisCert,
		keyFile:  config.RedisKey,
		caFile:   config.RedisCA,
		logger:   config.Logger,
	}
	t.taken.Store(&store.Certificates{})
	var paths []string
	if t.certFile != "" {
		paths = append(paths, t.certFile, t.keyFile)
	}
	if t.caFile != "" {
		paths = append(paths, t.caFile)
	}
	if paths == nil {
		return t, nil
	}
	t.file = &reloaded{name: "redis_tls", paths: paths, apply: t.load}
	if _, err := t.file.look(); err != nil {
		return nil, fmt.Errorf("TLS to Redis: %w", err)
	}
	return t, nil
}

func (t *towardsStore) current() store.Certificates { return *t.taken.Load() }

// load takes new contents, or refuses them and leaves the old as they are.
func (t *towardsStore) load(contents [][]byte) (err error) {
	var given store.Certificates
	if t.certFile != "" {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return fmt.Errorf("-redis-cert %s with -redis-key %s: %w", t.certFile, t.keyFile, err)
		}
		if pair.Leaf.NotAfter.Before(time.Now()) {
			return fmt.Errorf(
				"-redis-cert %s: the certificate has expired at %s; get a new one",
				t.certFile,
				pair.Leaf.NotAfter.UTC().Format(time.RFC3339),
			)
		}
		given.Own = &pair
	}
	if t.caFile != "" {
		if given.CAs, err = authorities(contents[len(contents)-1]); err != nil {
			return fmt.Errorf("-redis-ca %s: %w", t.caFile, err)
		}
	}
	if given.Own != nil {
		t.notAfter.Store(given.Own.Leaf.NotAfter.Unix())
	}
	t.taken.Store(&given)
	t.warn()
	return nil
}

func (t *towardsStore) warn() {
	if t.certFile != "" {
		warnOfEnd(t.logger, t.certFile, t.notAfter.Load(), &t.warned)
	}
}
