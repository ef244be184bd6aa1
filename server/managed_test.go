package server_test

import (
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// TestManagedRedis sets a Redis up as providers do: they remove commands, set the
// eviction policy, and have users and TLS. In each row the service either serves, and
// warns of facts that it cannot see, or names the remedy in one sentence. README.md has
// the same table in words.
func TestManagedRedis(t *testing.T) {
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	caFile := pkitest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	without := func(commands ...string) (args []string) {
		for _, command := range commands {
			args = append(args, "--rename-command", command, "")
		}
		return args
	}
	const (
		seeProvider = "check with its provider that it is Redis 6.2 or newer, with maxmemory-policy noeviction and " +
			"its append-only file on"
		turnOn     = "turn its persistence on with its provider, as an append-only file"
		noeviction = "set it with its provider"
		unknown    = "give it back, ask the provider for it, or name another Redis"
		rights     = `give it the rights that server/README.md has under "Redis"`
		restricted = "~noted:* +@all -@admin -@dangerous"
	)
	aof := []string{"--appendonly", "yes"}
	for _, c := range []struct {
		name     string
		args     []string
		user     string // its ACL; empty for the default user
		tls      bool
		replicas int
		warns    string // the warning while it serves; empty for none
		refuses  string // the remedy, if it does not serve; empty if it serves
	}{
		{name: "all is there", args: aof},
		{name: "CONFIG refused, an append-only file", args: append(without("CONFIG"), aof...)},
		{name: "CONFIG refused, no append-only file", args: without("CONFIG"), warns: turnOn},
		{name: "INFO refused", args: append(without("INFO"), aof...), warns: seeProvider},
		{name: "CONFIG and INFO refused", args: without("CONFIG", "INFO"), warns: seeProvider},
		{name: "CLIENT refused", args: append(without("CLIENT"), aof...)},
		{name: "HELLO refused", args: append(without("HELLO"), aof...)},
		{name: "HELLO refused, a user", args: append(without("HELLO"), aof...), user: "~noted:* +@all"},
		{name: "WAIT refused, no -replicas", args: append(without("WAIT"), aof...)},
		{name: "WAIT refused, -replicas", args: append(without("WAIT"), aof...), replicas: 1, refuses: "where a provider refuses it, start without -replicas and ask the provider what a failover loses"},
		{name: "CONFIG, INFO, WAIT, CLIENT and HELLO refused", args: without("CONFIG", "INFO", "WAIT", "CLIENT", "HELLO"), warns: seeProvider},
		{name: "scripts refused", args: without("EVAL", "EVALSHA"), refuses: unknown},
		{name: "a command of scripts refused", args: without("PEXPIREAT", "PERSIST"), refuses: unknown},
		{name: "TIME refused", args: without("TIME"), refuses: unknown},
		{name: "volatile-lru, as several providers start with", args: append([]string{"--maxmemory-policy", "volatile-lru"}, aof...), refuses: noeviction},
		{name: "volatile-lru, CONFIG refused", args: append([]string{"--maxmemory-policy", "volatile-lru"}, without("CONFIG")...), refuses: noeviction},
		{name: "a user without dangerous commands", args: aof, user: restricted, warns: seeProvider},
		{name: "a user without dangerous commands, but INFO and CONFIG GET", args: aof, user: restricted + " +info +config|get"},
		{name: "a user of other keys", args: aof, user: "~app:* +@all", refuses: rights},
		{name: "a user without scripts", args: aof, user: "~noted:* +@all -@scripting", refuses: rights},
		{name: "TLS, a user, CONFIG refused", args: append(without("CONFIG"), aof...), user: "~noted:* +@all", tls: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, scheme, port, ca := c.args, "redis://", "", ""
			if c.tls {
				scheme, port, ca = "rediss://", fmt.Sprint(redistest.FreePort()), caFile
				args = append(tlsArgs(port, cert, key), args...)
			}
			if c.user != "" {
				acl := "user default on nopass ~* +@all\nuser noted on >p " + c.user + "\n"
				args = append(
					[]string{"--aclfile", pkitest.Write(t, filepath.Join(t.TempDir(), "users.acl"), []byte(acl))},
					args...)
			}
			r := redistest.Start(t, args...)
			addr := r.Addr()
			if c.tls {
				addr = "127.0.0.1:" + port
			}
			if c.user != "" {
				addr = "noted:p@" + addr
			}
			log := &lockedBuffer{}
			config := server.Config{
				Listen:      "127.0.0.1:0",
				AdminListen: "127.0.0.1:0",
				Redis:       scheme + addr,
				RedisCA:     ca,
				Replicas:    c.replicas,
				Logger:      slog.New(slog.NewJSONHandler(log, nil)),
			}
			if c.refuses == noeviction { // the server does not start
				_, err := server.New(t.Context(), config)
				if err == nil || !strings.Contains(err.Error(), c.refuses) ||
					!strings.Contains(err.Error(), "noeviction") {
					t.Errorf("New = %v, want an error that says %q", err, c.refuses)
				}
				return
			}
			s := startConfigured(
				t,
				func(to *server.Config) { to.Redis, to.RedisCA, to.Replicas = config.Redis, ca, c.replicas },
			)
			caller := s.as(t, nil, "")
			if c.refuses != "" {
				eventually(t, 20*time.Second, "/readyz says "+c.refuses, func() bool {
					got := get(t, "http://"+s.AdminAddr()+"/readyz")
					return strings.HasPrefix(got, "503\n") && strings.Contains(got, c.refuses)
				})
				if s.logged(`"level":"ERROR"`, strings.ReplaceAll(c.refuses, `"`, `\"`)) == 0 {
					t.Errorf("the log does not say %q:\n%s", c.refuses, s.log)
				}
				return
			}
			eventually(
				t,
				20*time.Second,
				"ready",
				func() bool { return get(t, "http://"+s.AdminAddr()+"/readyz") == "200\nready\n" },
			)
			everyCall(t, caller)
			if got := s.metric(t, "noted_store_replicas"); math.IsNaN(got) != (c.warns == seeProvider) {
				t.Errorf("noted_store_replicas = %v, want a number where the store tells, and only there", got)
			}
			if warned := s.logged(
				`"level":"WARN","msg":"the store`,
			); c.warns == "" && warned > 0 ||
				c.warns != "" && s.logged(`"level":"WARN"`, c.warns) != 1 {
				t.Errorf("the log has %d warnings, want one that says %q:\n%s", warned, c.warns, s.log)
			}
		})
	}
}
