package server_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A refusedHandshake is a way in which Redis refuses a new connection before its first
// command.
type refusedHandshake struct {
	login, database string
	begin, end      []string // commands of Redis's operator
	says            string   // words of the log's line
}

var refusedHandshakes = map[string]refusedHandshake{
	"a rotated password": {
		login: "noted:p@",
		says:  "mend the user and the password of -redis",
		begin: []string{
			"ACL SETUSER noted resetpass >other",
			"CLIENT KILL USER noted",
		},
		end: []string{"ACL SETUSER noted resetpass >p"},
	},
	"a user that is off": {
		login: "noted:p@", says: "mend the user and the password of -redis",
		begin: []string{"ACL SETUSER noted off", "CLIENT KILL USER noted"}, end: []string{"ACL SETUSER noted on"},
	},
	"a rotated password of the default user": {
		login: ":" + operator + "@",
		says:  "mend the user and the password of -redis",
		begin: []string{
			"CONFIG SET requirepass other",
			"CLIENT KILL TYPE normal",
		},
		end: []string{"CONFIG SET requirepass " + operator},
	},
	"a password where there was none": {
		says: "mend the user and the password of -redis",
		begin: []string{
			"CONFIG SET requirepass " + operator,
			"CLIENT KILL TYPE normal",
		},
		end: []string{"CONFIG SET requirepass \"\""},
	},
	"a database that is out of range": {login: "noted:p@", database: "/99", says: "mend the database of -redis"},
	"a database without the right to select": {
		login:    "noted:p@",
		database: "/1",
		says:     "+select",
		begin: []string{
			"ACL SETUSER noted -select",
			"CLIENT KILL USER noted",
		},
		end: []string{"ACL SETUSER noted +select"},
	},
}

// everyRequest is a request of every call, for existing notes.
func everyRequest(t *testing.T, c notedv1.DedupeServiceClient) []proto.Message {
	t.Helper()
	note := func(id string) *notedv1.NoteDonationResponse {
		answer, err := c.NoteDonation(t.Context(), held(series(id), 10*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	settle, release := note("I-settle").Receipt, note("I-release").Receipt
	extend, forget := note("I-extend").Receipt, note("I-forget")
	requests := []proto.Message{
		series("I-note"),
		&notedv1.NoteDonationsRequest{Request: series("I-stream")},
		&notedv1.DonationExistsRequest{Donation: series("I-settle").Donation},
		&notedv1.SettleDonationRequest{Receipt: settle},
		&notedv1.ReleaseDonationRequest{Receipt: release},
		&notedv1.ExtendHoldRequest{Receipt: extend, Hold: durationpb.New(time.Minute)},
		&notedv1.ListDonationsRequest{},
		&notedv1.ListDonationsRequest{SeriesId: "I-settle"},
		&notedv1.ForgetDonationRequest{SeriesId: "I-forget", DonationId: forget.Note.DonationId, Reason: "test"},
	}
	wantEveryCall(t, func(call string) bool {
		return slices.ContainsFunc(requests, func(r proto.Message) bool { name, _ := rpc(r); return name == call })
	})
	return requests
}

// overStream sends a request several times on one stream, so that the server takes them
// together. It returns an answer's error as an error.
func overStream(conn *grpc.ClientConn, request *notedv1.NoteDonationsRequest) (answers []told, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := notedv1.NewDedupeServiceClient(conn).NoteDonations(ctx)
	if err != nil {
		return nil, err
	}
	for range 10 {
		if err := stream.Send(request); err != nil {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	for range 10 {
		answer, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		e := answer.GetError()
		// A stream does not tell when to come again.
		answers = append(answers, told{code: codes.Code(e.GetCode()), reason: "noted.v1/" + e.GetReason(), retry: true})
	}
	return answers, nil
}

// When Redis refuses new connections, at the start or while the service runs, every call
// by every door is told that the store is unavailable: a single call and calls that share
// a pipeline, with replicas and without. No call gets an empty answer, which would count
// as an answer.
func TestRefusedHandshakes(t *testing.T) {
	r := startOperators(t)
	redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(r.Port()), "--masterauth", operator)
	eventually(t, 20*time.Second, "the replica is there", func() bool {
		return strings.Contains(r.must(t, "INFO", "replication"), "state=online")
	})
	r.user(t, strings.Replace(readmeRule(t), "PASSWORD", "p", 1)+" +select")
	whole := startConfigured(t, func(c *server.Config) { c.Redis = "redis://:" + operator + "@" + r.Addr() })
	requests := everyRequest(t, whole.as(t, nil, ""))

	for _, name := range slices.Sorted(maps.Keys(refusedHandshakes)) {
		for _, running := range []bool{false, true} {
			h := refusedHandshakes[name]
			if running && h.begin == nil {
				continue
			}
			for _, replicas := range []int{0, 1} {
				t.Run(fmt.Sprintf("%s, while running %v, replicas %d", name, running, replicas), func(t *testing.T) {
					for _, request := range requests {
						h.tried(t, r, request, running, replicas)
					}
				})
			}
		}
	}
}

// tried makes one call on a new server, since a server stops asking Redis after a few
// failures in a row.
func (h refusedHandshake) tried(t *testing.T, r operatorsRedis, request proto.Message, running bool, replicas int) {
	t.Helper()
	r.run(t, h.end)
	if !running {
		r.run(t, h.begin)
	}
	defer r.run(t, h.end)
	s := startConfigured(t, func(c *server.Config) {
		c.Redis, c.HTTPListen, c.Drain = "redis://"+h.login+r.Addr()+h.database, "127.0.0.1:0", time.Millisecond
		c.Replicas, c.ReplicasTimeout = replicas, 2*time.Second
	})
	defer s.stop()
	c := s.as(t, nil, "")
	if running {
		if _, err := c.NoteDonation(t.Context(), series("I-before")); err != nil {
			t.Fatalf("before: %v", err)
		}
		r.run(t, h.begin)
	}
	var all sync.WaitGroup
	ask := func(many int) {
		for range many {
			all.Go(func() {
				if streamed, ok := request.(*notedv1.NoteDonationsRequest); ok {
					answers, err := overStream(c.conn, streamed)
					if err != nil {
						t.Errorf("NoteDonations: %v", err)
					}
					for _, answer := range answers {
						if answer != storeUnavailable {
							t.Errorf("NoteDonations: an answer is %+v, want %+v", answer, storeUnavailable)
						}
					}
					return
				}
				for door, way := range map[string]way{
					"gRPC": overGRPC(c.conn),
					"JSON": overJSON(http.DefaultClient, "http://"+s.HTTPAddr()),
				} {
					answer, err := way(within(t, 20*time.Second), request)
					if got := toldBy(err); got != storeUnavailable {
						t.Errorf("%T over %s: %v, %+v, want %+v", request, door, answer, got, storeUnavailable)
					}
				}
			})
		}
		all.Wait()
	}
	ask(1)
	// The log has no line for requests on a stream, but within two looks it has the store's
	// failure.
	eventually(t, 10*time.Second, fmt.Sprintf("%T: the log says %q", request, h.says), func() bool {
		return s.logged(`"reason":"STORE_UNAVAILABLE"`, h.says) > 0 || s.logged("not fit for use", h.says) > 0
	})
	if s.logged("OUTCOME_UNKNOWN") > 0 || s.logged("unexpected type") > 0 {
		t.Errorf("%T: the log has another reason:\n%s", request, s.log)
	}
	ask(20)
}

// run runs commands as on a terminal.
func (r operatorsRedis) run(t *testing.T, commands []string) {
	t.Helper()
	for _, command := range commands {
		var words []any
		for _, word := range strings.Fields(command) {
			words = append(words, strings.Trim(word, `"`))
		}
		if err := r.Client.Do(t.Context(), words...).Err(); err != nil {
			t.Fatalf("redis: %s: %v", command, err)
		}
	}
}
