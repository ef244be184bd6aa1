package server_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

const operator = "operators0password" // the password of Redis's default user, which sets up the others

// An operatorsRedis is a Redis with a password, and its operator's connection.
type operatorsRedis struct {
	*redistest.Server
	*redis.Client
}

func startOperators(t *testing.T) operatorsRedis {
	t.Helper()
	r := redistest.Start(t, "--requirepass", operator)
	c := redis.NewClient(&redis.Options{Addr: r.Addr(), Password: operator})
	t.Cleanup(func() { c.Close() })
	return operatorsRedis{Server: r, Client: c}
}

func (r operatorsRedis) must(t *testing.T, command ...any) string {
	t.Helper()
	reply, err := r.Client.Do(t.Context(), command...).Result()
	if err != nil {
		t.Fatalf("redis: %v: %v", command, err)
	}
	s, _ := reply.(string)
	return s
}

// user sets a user by a rule such as server/README.md gives.
func (r operatorsRedis) user(t *testing.T, rule string) {
	t.Helper()
	var command []any
	for _, word := range strings.Fields(rule) {
		command = append(command, word)
	}
	r.must(t, command...)
}

// rejected counts the attempts to get in that Redis has refused.
func (r operatorsRedis) rejected(t *testing.T) (n int) {
	t.Helper()
	failures := regexp.MustCompile(`cmdstat_(?:auth|hello):.*failed_calls=(\d+)`)
	for _, m := range failures.FindAllStringSubmatch(r.must(t, "INFO", "commandstats"), -1) {
		failed, _ := strconv.Atoi(m[1])
		n += failed
	}
	return n
}

// readmeRule is the rule of server/README.md with the least rights that Noted's user
// needs.
func readmeRule(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`(ACL SETUSER noted on >PASSWORD [^`]+)`").FindSubmatch(text)
	if found == nil {
		t.Fatal("server/README.md has no ACL SETUSER noted")
	}
	return string(found[1])
}

// Log, health and metric tell of a Redis that rejects the password, with the remedy.
// Callers do not learn the cause, and Redis is asked only now and then, even if callers
// ask often. Once the password is right, the service is ready by itself.
func TestWrongPassword(t *testing.T) {
	for name, login := range map[string]string{"WRONGPASS": "noted:wrong0canary@", "NOAUTH": ""} {
		t.Run(name, func(t *testing.T) {
			r := startOperators(t)
			s := startConfigured(t, func(c *server.Config) { c.Redis = "redis://" + login + r.Addr() })
			c := s.as(t, nil, "")
			eventually(t, 10*time.Second, "/readyz says what to do", func() bool {
				got := get(t, "http://"+s.AdminAddr()+"/readyz")
				return strings.HasPrefix(got, "503\n") && strings.Contains(got, name) &&
					strings.Contains(got, "mend the user and the password of -redis")
			})
			if got := s.metric(t, "noted_store_shut_out", `by="password"`); got != 1 {
				t.Errorf("noted_store_shut_out = %v, want 1", got)
			}
			before, began := r.rejected(t), time.Now()
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					for range 50 {
						if _, err := c.NoteDonation(
							within(t, 5*time.Second),
							series("I-1"),
						); toldBy(err) != storeUnavailable ||
							strings.Contains(err.Error(), name) {
							t.Errorf("a caller got %v, want STORE_UNAVAILABLE without details", err)
						}
					}
				})
			}
			all.Wait()
			// Each attempt is HELLO and AUTH. Five in a row open the breaker, three of
			// which may share each time; then a trial now and then, and the watch's look.
			if got, most := r.rejected(t)-before, 60+int(10*time.Since(began)/time.Second); got > most {
				t.Errorf("1000 calls knocked %d times at Redis in %v, want at most %d", got, time.Since(began), most)
			}
			if got := s.logged(`"level":"ERROR"`, "not fit for use", name); got != 1 {
				t.Errorf("the log tells of it %d times, want once:\n%s", got, s.log)
			}
			if strings.Contains(s.log.String(), "wrong0canary") {
				t.Error("the log has the password")
			}
			if name == "NOAUTH" {
				r.must(t, "CONFIG", "SET", "requirepass", "")
			} else {
				r.user(t, strings.Replace(readmeRule(t), "PASSWORD", "wrong0canary", 1))
			}
			eventually(t, 20*time.Second, "a donation is noted once it lets us in", func() bool {
				_, err := c.NoteDonation(t.Context(), series("I-1"))
				return err == nil
			})
			eventually(
				t,
				10*time.Second,
				"ready",
				func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200\n") },
			)
			if got := s.metric(t, "noted_store_shut_out"); got != 0 {
				t.Errorf("noted_store_shut_out = %v when it is ready, want 0", got)
			}
		})
	}
}

// If Noted's user lacks a right to scripts, to a command in them or to the keys, the
// service is not ready and names the remedy.
func TestMissingRight(t *testing.T) {
	for name, without := range map[string]string{
		"a command": "-time", "scripts": "-evalsha", "a command in a script": "-set", "its keys": "resetkeys",
	} {
		t.Run(name, func(t *testing.T) {
			r := startOperators(t)
			r.user(t, strings.Replace(readmeRule(t), "PASSWORD", "p", 1)+" "+without)
			s := startConfigured(t, func(c *server.Config) { c.Redis = "redis://noted:p@" + r.Addr() })
			c := s.as(t, nil, "")
			eventually(t, 10*time.Second, "/readyz says what to do", func() bool {
				got := get(t, "http://"+s.AdminAddr()+"/readyz")
				return strings.HasPrefix(got, "503\n") &&
					strings.Contains(got, `give it the rights that server/README.md has`)
			})
			if got := s.metric(t, "noted_store_shut_out", `by="rights"`); got != 1 {
				t.Errorf("noted_store_shut_out = %v, want 1", got)
			}
			if _, err := c.NoteDonation(
				t.Context(),
				series("I-1"),
			); toldBy(err) != storeUnavailable ||
				strings.Contains(err.Error(), "ACL") {
				t.Errorf("a caller got %v, want STORE_UNAVAILABLE without details", err)
			}
			if got := s.logged(`"level":"ERROR"`, "not fit for use"); got != 1 {
				t.Errorf("the log tells of it %d times, want once:\n%s", got, s.log)
			}
			r.user(t, strings.Replace(readmeRule(t), "PASSWORD", "p", 1))
			eventually(
				t,
				10*time.Second,
				"ready",
				func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200\n") },
			)
			wantStillFirst(t, c, series("I-1"))
		})
	}
}

// With the rights that server/README.md names, every call works, replicas are waited for,
// the store reports on itself and its epoch is kept. Each of the rights is needed. They
// permit neither a flush nor another program's key.
func TestLeastRights(t *testing.T) {
	r := startOperators(t)
	redistest.Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(r.Port()), "--masterauth", operator)
	rule := strings.Replace(readmeRule(t), "PASSWORD", "p", 1)
	r.user(t, rule)
	r.must(t, "SET", "theirs", "untouched")
	eventually(
		t,
		20*time.Second,
		"the replica is there",
		func() bool { return strings.Contains(r.must(t, "INFO", "replication"), "state=online") },
	)
	s := startConfigured(t, func(c *server.Config) {
		c.Redis, c.Replicas, c.ReplicasTimeout = "redis://noted:p@"+r.Addr(), 1, 2*time.Second
	})
	c := s.as(t, nil, "")
	eventually(
		t,
		20*time.Second,
		"ready",
		func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200\n") },
	)
	everyCall(t, c)
	wantEveryCall(t, func(rpc string) bool {
		return s.metric(t, "grpc_server_started_total", `grpc_method="`+rpc+`"`) > 0
	})
	unknown := series("I-unknown")
	unknown.Donation.OccurredAt = timestamppb.New(time.Now().Add(-server.DefaultRetention))
	if _, err := c.NoteDonation(
		t.Context(),
		unknown,
	); status.Code(
		err,
	) != codes.OutOfRange { // this answer depends on the absence of a note
		t.Errorf("a donation of long ago: %v, want OUT_OF_RANGE", err)
	}
	if s.logged("the store answers", `"policy":"noeviction"`, `"persistence":"none"`, `"server":"`) != 1 ||
		s.logged("the store's epoch is known") != 1 ||
		s.logged("epoch cannot be kept") != 0 {
		t.Errorf("the log lacks facts about the store:\n%s", s.log)
	}
	if denied := r.denied(t); len(denied) > 0 {
		t.Errorf("Redis has refused %v", denied)
	}

	used := r.used(t)

	noted := redis.NewClient(&redis.Options{Addr: r.Addr(), Username: "noted", Password: "p", DisableIdentity: true})
	defer noted.Close()
	for _, command := range [][]any{
		{"FLUSHALL"},
		{"FLUSHDB"},
		{"GET", "theirs"},
		{"SET", "theirs", "x"},
		{"DEL", "theirs"},
		{"KEYS", "*"},
		{"CONFIG", "SET", "maxmemory", "1"},
		{"EVAL", "return redis.call('DEL', 'theirs')", 0},
		{"EVAL", "return redis.call('GET', KEYS[1])", 1, "theirs"},
		{"SHUTDOWN"},
		{"ACL", "LIST"},
	} {
		if err := noted.Do(t.Context(), command...).
			Err(); err == nil ||
			!redis.IsPermissionError(err) && !strings.Contains(err.Error(), "can't") &&
				!strings.Contains(err.Error(), "ACL failure") {
			t.Errorf("%v: %v, want it refused", command, err)
		}
	}
	if got := r.must(t, "GET", "theirs"); got != "untouched" {
		t.Errorf("another program's key is %q", got)
	}

	for _, command := range commandsOfScripts(t) {
		if !strings.Contains(rule+" ", " +"+strings.ToLower(command)+" ") {
			t.Errorf("a script uses %s, and server/README.md does not have the right to it", command)
		}
	}
	for _, right := range regexp.MustCompile(`\+([a-z|]+)`).FindAllStringSubmatch(rule, -1) {
		if !used[right[1]] {
			t.Errorf("the right +%s is never used", right[1])
		}
	}
}

// commandsOfScripts are the commands of Redis in all scripts.
func commandsOfScripts(t *testing.T) (commands []string) {
	t.Helper()
	scripts, err := filepath.Glob("internal/store/*.lua")
	if err != nil || len(scripts) < 10 {
		t.Fatalf("found the scripts %v, %v", scripts, err)
	}
	for _, path := range scripts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`call\('(\w+)'`).FindAllSubmatch(text, -1) {
			commands = append(commands, string(m[1]))
		}
	}
	return commands
}

// Noted's connections have a name in CLIENT LIST, also if CLIENT SETNAME is refused. If
// Redis permits no names, Noted goes without.
func TestNameOfConnections(t *testing.T) {
	r := startOperators(t)
	rule := strings.Replace(readmeRule(t), "PASSWORD", "p", 1)
	rights := map[string]string{"README.md's rights": "", "all but CLIENT": " +@all -client"}
	if !strings.HasPrefix(redistest.Release(t), "6.") { // which has no rights to subcommands
		rights["all but a name"] = " +@all -client|setname"
	}
	for name, more := range rights {
		r.user(t, rule+more)
		s := startConfigured(t, func(c *server.Config) { c.Redis = "redis://noted:p@" + r.Addr() })
		if _, err := s.as(t, nil, "").NoteDonation(t.Context(), series("I-1")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if list := r.must(t, "CLIENT", "LIST"); !regexp.MustCompile(`name=noted .*user=noted`).MatchString(list) {
			t.Errorf("%s: no connection has the name noted:\n%s", name, list)
		}
		s.stop()
	}
	bare := redistest.Start(t, "--rename-command", "CLIENT", "", "--rename-command", "HELLO", "")
	s := startConfigured(t, func(c *server.Config) { c.Redis = bare.URL() })
	if _, err := s.as(t, nil, "").NoteDonation(t.Context(), series("I-1")); err != nil {
		t.Errorf("without CLIENT and HELLO: %v", err)
	}
}

// denied are the commands and keys that the ACL has refused, except CLIENT SETINFO, which
// the client library tries first.
func (r operatorsRedis) denied(t *testing.T) (denied []string) {
	t.Helper()
	entries, err := r.Client.Do(t.Context(), "ACL", "LOG").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		fields, ok := entry.(map[any]any)
		if !ok {
			t.Fatalf("ACL LOG replied %v", entry)
		}
		if object, _ := fields["object"].(string); !strings.HasPrefix(object, "client") {
			denied = append(denied, object)
		}
	}
	return denied
}

// used are the commands that Redis has run.
func (r operatorsRedis) used(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	called := regexp.MustCompile(`cmdstat_([a-z|]+):calls=[1-9]`)
	for _, m := range called.FindAllStringSubmatch(r.must(t, "INFO", "commandstats"), -1) {
		used[m[1]] = true
	}
	return used
}

// everyCall makes every call of the contract once, and some variants that write by other
// commands.
func everyCall(t *testing.T, c client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	first, err := c.NoteDonation(ctx, held(series("I-every"), time.Minute))
	must("NoteDonation", err)
	_, err = c.NoteDonation(ctx, series("I-every"))
	must("NoteDonation again", err)
	_, err = c.ExtendHold(
		ctx,
		&notedv1.ExtendHoldRequest{Receipt: first.Receipt, Hold: held(series(""), time.Minute).Hold},
	)
	must("ExtendHold", err)
	_, err = c.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: first.Receipt})
	must("SettleDonation", err)
	_, err = c.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: first.Receipt})
	must("SettleDonation again", err)
	_, err = c.NoteDonation(ctx, series("I-every"))
	must("NoteDonation of a settled donation", err)
	second, err := c.NoteDonation(ctx, held(series("I-second"), time.Minute))
	must("NoteDonation", err)
	_, err = c.ReleaseDonation(ctx, &notedv1.ReleaseDonationRequest{Receipt: second.Receipt})
	must("ReleaseDonation", err)
	exists, err := c.DonationExists(ctx, &notedv1.DonationExistsRequest{Donation: series("I-every").Donation})
	must("DonationExists", err)
	if !exists.Exists {
		t.Error("DonationExists: false, want true")
	}
	list, err := c.ListDonations(ctx, &notedv1.ListDonationsRequest{})
	must("ListDonations", err)
	if len(list.Notes) < 2 {
		t.Errorf("ListDonations: %d notes, want 2", len(list.Notes))
	}
	stream, err := c.NoteDonations(ctx)
	must("NoteDonations", err)
	must("sending", stream.Send(&notedv1.NoteDonationsRequest{Request: series("I-streamed")}))
	answer, err := stream.Recv()
	must("receiving", err)
	if answer.GetResponse() == nil {
		t.Errorf("NoteDonations: %v", answer.GetError())
	}
	must("closing", stream.CloseSend())
	_, err = c.ForgetDonation(
		ctx,
		&notedv1.ForgetDonationRequest{SeriesId: "I-second", DonationId: second.Note.DonationId, Reason: "test"},
	)
	must("ForgetDonation", err)
}
