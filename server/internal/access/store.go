package access

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// StoreConfig is what StoreCertificates need. Any of the files may be empty.
type StoreConfig struct {
	Cert, Key, CA string
	Logger        *slog.Logger
}

// StoreCertificates are the certificates for connections to Redis, as of the last good
// content of the files. The store asks for them at each new connection.
type StoreCertificates struct {
	StoreConfig
	file     *File // nil without files
	taken    atomic.Pointer[store.Certificates]
	notAfter atomic.Int64 // of the certificate that Redis sees, in seconds of Unix time
	warned   atomic.Int64 // notAfter of the last certificate that the log warned of
}

// NewStoreCertificates reads the files for the first time, and fails unless their content
// is good.
func NewStoreCertificates(config StoreConfig) (*StoreCertificates, error) {
	c := &StoreCertificates{StoreConfig: config}
	c.taken.Store(&store.Certificates{})
	var paths []string
	if c.Cert != "" {
		paths = append(paths, c.Cert, c.Key)
	}
	if c.CA != "" {
		paths = append(paths, c.CA)
	}
	if paths == nil {
		return c, nil
	}
	c.file = &File{name: "redis_tls", paths: paths, apply: c.load}
	if _, err := c.file.look(); err != nil {
		return nil, fmt.Errorf("TLS to Redis: %w", err)
	}
	return c, nil
}

// Current is what the store asks for.
func (c *StoreCertificates) Current() store.Certificates { return *c.taken.Load() }

// load takes up new contents, or refuses them and keeps the old ones.
func (c *StoreCertificates) load(contents [][]byte) (err error) {
	var given store.Certificates
	if c.Cert != "" {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return fmt.Errorf("-redis-cert %s with -redis-key %s: %w", c.Cert, c.Key, err)
		}
		if pair.Leaf.NotAfter.Before(time.Now()) {
			return fmt.Errorf(
				"-redis-cert %s: the certificate has expired at %s; get a new one",
				c.Cert,
				pair.Leaf.NotAfter.UTC().Format(time.RFC3339),
			)
		}
		given.Own = &pair
	}
	if c.CA != "" {
		if given.CAs, err = authorities(contents[len(contents)-1]); err != nil {
			return fmt.Errorf("-redis-ca %s: %w", c.CA, err)
		}
	}
	if given.Own != nil {
		c.notAfter.Store(given.Own.Leaf.NotAfter.Unix())
	}
	c.taken.Store(&given)
	c.warn()
	return nil
}

// Files adds the files, if there are any, to a Reloader.
func (c *StoreCertificates) Files(r *Reloader) error {
	if c.file == nil {
		return nil
	}
	return r.Add(c.file, c.warn)
}

func (c *StoreCertificates) warn() {
	if c.Cert != "" {
		warnOfEnd(c.Logger, c.Cert, c.notAfter.Load(), &c.warned)
	}
}
