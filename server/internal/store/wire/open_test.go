package wire

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// reached are the options of a client that every mode must set.
type reached struct {
	ContextTimeoutEnabled                               bool
	DialerRetries                                       int
	DialTimeout, ReadTimeout, WriteTimeout, PoolTimeout time.Duration
	PoolSize, MaxActiveConns, PipelinePoolSize          int
	Named, Greets                                       bool
}

// TestOptionsOfEveryMode opens a client of each mode, which connects only when it is used,
// and looks at its options: the same defaults for all, and whatever the URL says.
func TestOptionsOfEveryMode(t *testing.T) {
	defaults := reached{
		ContextTimeoutEnabled: true, DialerRetries: 1,
		DialTimeout: 500 * time.Millisecond, ReadTimeout: 2300 * time.Millisecond,
		WriteTimeout: 2 * time.Second, PoolTimeout: 100 * time.Millisecond,
		PoolSize: 32, MaxActiveConns: 64, PipelinePoolSize: -1, Greets: true,
	}
	ofURL := defaults
	ofURL.DialTimeout, ofURL.ReadTimeout, ofURL.WriteTimeout = time.Second, 3*time.Second, 4*time.Second
	ofURL.PoolTimeout, ofURL.PoolSize, ofURL.MaxActiveConns = 5*time.Second, 6, 7
	const inURL = "&client_name=other&dial_timeout=1s&read_timeout=3s&write_timeout=4s&pool_timeout=5s&pool_size=6" +
		"&max_active_conns=7"
	for mode, url := range map[string]string{
		"standalone": "redis://127.0.0.1:1/?protocol=3",
		"sentinel":   "redis://127.0.0.1:1/?master_name=noted",
		"cluster":    "redis://127.0.0.1:1/?addr=127.0.0.1:2",
	} {
		for more, want := range map[string]reached{"": defaults, inURL: ofURL} {
			c, err := Open(Config{
				URL: url + more, Mode: mode, Replicas: 1, ReplicasTimeout: 300 * time.Millisecond,
				Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			t.Cleanup(func() { c.Close() })
			var got reached
			switch client := c.redis.(type) {
			case *redis.Client:
				o := client.Options()
				got = reached{
					o.ContextTimeoutEnabled, o.DialerRetries, o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout,
					o.PoolSize, o.MaxActiveConns, o.PipelinePoolSize, o.ClientName != "", o.OnConnect != nil,
				}
			case *redis.ClusterClient:
				o := client.Options()
				got = reached{
					o.ContextTimeoutEnabled, o.DialerRetries, o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout,
					o.PoolSize, o.MaxActiveConns, o.PipelinePoolSize, o.ClientName != "", o.OnConnect != nil,
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, the URL with %q: options (-want +got):\n%s", mode, more, diff)
			}
		}
	}
}
