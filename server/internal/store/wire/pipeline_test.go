package wire

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// TestWatchedPipe checks that replies count only if Redis was the primary before them,
// after them and in between.
func TestWatchedPipe(t *testing.T) {
	r := redistest.Start(t)
	c := redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1})
	defer c.Close()
	demote, promote := []any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}
	for name, test := range map[string]struct {
		before  []any
		between [][]any
		want    error
	}{
		"a primary":              {promote, [][]any{{"GET", "a"}}, nil},
		"a replica":              {demote, [][]any{{"GET", "a"}}, errReplica},
		"it becomes a replica":   {promote, [][]any{{"GET", "a"}, demote}, errReplica},
		"it becomes the primary": {demote, [][]any{{"GET", "a"}, promote}, errReplica},
		"there and back":         {promote, [][]any{demote, {"GET", "a"}, promote}, errChanged},
		"a command is refused":   {promote, [][]any{{"NO-SUCH-COMMAND"}}, nil},
		"it hangs up":            {promote, [][]any{{"GET", "a"}, {"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"}, {"DEBUG", "SLEEP", "0"}}, errHungUp},
	} {
		if err := c.Do(t.Context(), test.before...).Err(); err != nil {
			t.Fatal(err)
		}
		pipe := watched(t.Context(), c)
		var commands []*redis.Cmd
		for _, command := range test.between {
			commands = append(commands, pipe.Do(t.Context(), command...))
		}
		err := pipe.exec(t.Context())
		if test.want == errHungUp {
			if err == nil || errors.As(err, new(redis.Error)) {
				t.Errorf("%s: %v, want the error that broke the connection", name, err)
			}
			continue
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if name == "a command is refused" && commands[0].Err() == nil {
			t.Errorf("%s: the command has no error", name)
		}
	}
}

var errHungUp = errors.New("any error that is not a reply of Redis")
