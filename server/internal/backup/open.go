package backup

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/donation-dedupe/noted/server/internal/access"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// Config says where the store is. The fields are those of server.Config.
type Config struct {
	Redis, RedisMode             string
	RedisCert, RedisKey, RedisCA string

	// Replicas is how many replicas must have each part of an import before the next; 0
	// asks for none.
	Replicas        int
	ReplicasTimeout time.Duration

	Logger *slog.Logger
}

// Backup exports and imports the notes of a store.
type Backup struct{ store *store.Store }

// Open reads the configuration, and asks nothing of the store yet. No epoch is checked or
// begun: an import is for a store that has lost notes.
func Open(ctx context.Context, config Config) (*Backup, error) {
	certificates, err := access.NewStoreCertificates(access.StoreConfig{
		Cert: config.RedisCert, Key: config.RedisKey, CA: config.RedisCA, Logger: config.Logger,
	})
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, store.Config{
		URL:             config.Redis,
		Mode:            config.RedisMode,
		Logger:          config.Logger,
		Certificates:    certificates.Current,
		Replicas:        config.Replicas,
		ReplicasTimeout: config.ReplicasTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("-redis: %w", err)
	}
	return &Backup{store: s}, nil
}

// Close ends the connections.
func (b *Backup) Close() error { return b.store.Close() }
