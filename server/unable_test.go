package server_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

var storeUnsuitable = told{code: codes.FailedPrecondition, reason: "noted.v1/STORE_UNSUITABLE"}

// wantUnready checks that health, log and metric say that the store cannot be used, with
// cause and remedy.
func (s configuredServer) wantUnready(t *testing.T, c client, by, says string) {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("/readyz says %s", got)
		}
	}()
	eventually(t, 30*time.Second, "/readyz says "+says, func() bool {
		got = get(t, "http://"+s.AdminAddr()+"/readyz")
		return strings.HasPrefix(got, "503\n") && strings.Contains(got, says)
	})
	if r, err := healthpb.NewHealthClient(c.conn).
		Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil ||
		r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v, want NOT_SERVING", r, err)
	}
	if s.logged(`"level":"ERROR"`, "not fit for use", says) == 0 {
		t.Errorf("the log does not say %q:\n%s", says, s.log)
	}
	if got := s.metric(t, "noted_store_shut_out", `by="`+by+`"`); got != 1 {
		t.Errorf(`noted_store_shut_out{by=%q} = %v, want 1`, by, got)
	}
}

// wantReady checks that health and metric say that the store can be used again, and notes
// a donation.
func (s configuredServer) wantReady(t *testing.T, c client, series *notedv1.NoteDonationRequest) {
	t.Helper()
	eventually(
		t,
		30*time.Second,
		"ready",
		func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200\nready") },
	)
	if r, err := healthpb.NewHealthClient(c.conn).
		Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil ||
		r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v, want SERVING", r, err)
	}
	if got := s.metric(t, "noted_store_shut_out"); got != 0 {
		t.Errorf("noted_store_shut_out = %v, want 0", got)
	}
	// On a busy machine a replica may still need longer for one note than -replicas-timeout.
	var err error
	eventually(t, 20*time.Second, "a donation is noted", func() bool {
		_, err = c.NoteDonation(t.Context(), series)
		return err == nil || toldBy(err).reason != "noted.v1/DURABILITY_NOT_REACHED"
	})
	if err != nil {
		t.Errorf("NoteDonation: %v", err)
	}
}

// TestNothingCanBeNoted checks that a store that answers but cannot note is not healthy:
// at the start, while running, and until it can note again.
func TestNothingCanBeNoted(t *testing.T) {
	t.Run("replicas", func(t *testing.T) {
		primary := redistest.Start(t, "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
		s := startConfigured(t, func(c *server.Config) { c.Redis, c.Replicas = primary.URL(), 1 })
		c := s.as(t, nil, "")
		s.wantUnready(
			t,
			c,
			"replicas",
			"fewer replicas than the 1 of -replicas have what is written, so nothing can be noted",
		)
		eventually( // the metric is NaN after a look that the store did not answer in time
			t,
			10*time.Second,
			"noted_store_replicas is 0",
			func() bool { return s.metric(t, "noted_store_replicas") == 0 },
		)
		_, err := c.NoteDonation(t.Context(), series("I-early"))
		if toldBy(err).reason != "noted.v1/DURABILITY_NOT_REACHED" {
			t.Errorf("NoteDonation: %v, want DURABILITY_NOT_REACHED", err)
		}

		replica := redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(primary.Port()))
		s.wantReady(t, c, series("I-1"))
		eventually(
			t,
			10*time.Second,
			"noted_store_replicas is 1",
			func() bool { return s.metric(t, "noted_store_replicas") == 1 },
		)

		replica.Pause() // it is connected, and acknowledges nothing
		s.wantUnready(t, c, "replicas", "acknowledged it")
		// WAIT counts no replica, or its count comes too late.
		none := regexp.MustCompile(`: (0 have|no replica) acknowledged it`)
		if got := get(t, "http://"+s.AdminAddr()+"/readyz"); !none.MatchString(got) {
			t.Errorf("/readyz says %s, want that no replica has acknowledged", got)
		}
		replica.Resume()
		s.wantReady(t, c, series("I-2"))
	})

	t.Run("WAIT refused by its name", func(t *testing.T) {
		primary := redistest.Start(t, "--rename-command", "WAIT", "")
		redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(primary.Port()))
		s := startConfigured(t, func(c *server.Config) { c.Redis, c.Replicas = primary.URL(), 1 })
		s.wantUnready(
			t,
			s.as(t, nil, ""),
			"wait",
			"redis refuses WAIT, without which -replicas notes nothing (ERR unknown command",
		)

		s = startConfigured(t, func(c *server.Config) { c.Redis = primary.URL() })
		s.wantReady(t, s.as(t, nil, ""), series("I-1"))
	})

	t.Run("WAIT refused by an ACL", func(t *testing.T) {
		r := startOperators(t)
		redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(r.Port()), "--masterauth", operator)
		rule := strings.Replace(readmeRule(t), "PASSWORD", "p", 1)
		r.user(t, rule)
		s := startConfigured(t, func(c *server.Config) { c.Redis, c.Replicas = "redis://noted:p@"+r.Addr(), 1 })
		c := s.as(t, nil, "")
		s.wantReady(t, c, series("I-1"))
		r.user(t, rule+" -wait")
		s.wantUnready(t, c, "wait", "give Noted's user +wait")
		r.user(t, rule)
		s.wantReady(t, c, series("I-2"))
	})

	t.Run("min-replicas-to-write", func(t *testing.T) {
		r := redistest.Start(t)
		s := startConfigured(t, func(c *server.Config) { c.Redis = r.URL() })
		c := s.as(t, nil, "")
		s.wantReady(t, c, series("I-1"))
		r.Do("CONFIG SET min-replicas-to-write 1")
		s.wantUnready(t, c, "min_replicas", "bring its replicas back, or set a lower min-replicas-to-write")
		if _, err := c.NoteDonation(t.Context(), series("I-2")); toldBy(err) != storeUnavailable {
			t.Errorf("NoteDonation: %v, want %+v", err, storeUnavailable)
		}
		r.Do("CONFIG SET min-replicas-to-write 0")
		s.wantReady(t, c, series("I-2"))
	})
}

// TestOnePrimaryWithoutReplicas checks that a cluster stays ready while part of its
// series can be noted, and tells of the other part.
func TestOnePrimaryWithoutReplicas(t *testing.T) {
	cluster := redistest.StartCluster(t, "--cluster-node-timeout", "15000")
	s := startConfigured(t, func(c *server.Config) { c.Redis, c.RedisMode, c.Replicas = cluster.URL, "cluster", 1 })
	c := s.as(t, nil, "")
	s.wantReady(t, c, series("I-1"))
	replica := cluster.ReplicaOf(cluster.Primaries()[0])
	replica.Pause()
	eventually(t, 30*time.Second, "/readyz tells", func() bool {
		got := get(t, "http://"+s.AdminAddr()+"/readyz")
		return strings.HasPrefix(got, "200\nready (new donations may be refused: fewer replicas than the 1")
	})
	replica.Resume()
	eventually(
		t,
		30*time.Second,
		"all is well",
		func() bool { return get(t, "http://"+s.AdminAddr()+"/readyz") == "200\nready\n" },
	)
}

// TestOtherMode checks that a server whose store is of another kind than its mode says
// so, and answers no call, above all with no partial listing.
func TestOtherMode(t *testing.T) {
	cluster, alone := redistest.StartCluster(t), redistest.Start(t)
	for _, c := range []struct{ name, mode, url, says string }{
		{"a cluster's node", "standalone", cluster.Nodes[0].URL(), "a cluster's node, which has only some of the " +
			"series: start with -redis-mode cluster"},
		{"no cluster", "cluster", alone.URL(), "not in a cluster: start with -redis-mode standalone"},
		{"no sentinel", "sentinel", alone.URL() + "?master_name=noted", "no sentinel: start with -redis-mode " +
			"standalone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startConfigured(t, func(config *server.Config) { config.Redis, config.RedisMode = c.url, c.mode })
			caller := s.as(t, nil, "")
			s.wantUnready(t, caller, "mode", c.says)
			for _, id := range []string{"I-1", "I-2", "I-3"} {
				if _, err := caller.NoteDonation(t.Context(), series(id)); toldBy(err) != storeUnsuitable {
					t.Errorf("NoteDonation(%s): %v, want %+v", id, err, storeUnsuitable)
				}
			}
			if page, err := caller.ListDonations(
				t.Context(),
				&notedv1.ListDonationsRequest{},
			); toldBy(
				err,
			) != storeUnsuitable {
				t.Errorf("ListDonations: %v, %v, want %+v", page, err, storeUnsuitable)
			}
			if got := s.logged(`"level":"ERROR"`, "not fit for use"); got != 1 {
				t.Errorf("the log tells of it %d times, want once:\n%s", got, s.log)
			}
		})
	}
}
