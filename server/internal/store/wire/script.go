package wire

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Script is one operation, run by one call and touching one key. The header of its file
// says what it takes, replies and writes.
type Script struct {
	Name, Source, SHA string
	// Writes is true if the caller relies on the script's writes. A script that does not
	// write waits for no replicas, and its outcome is never unknown.
	Writes bool

	source, sha any // the same, as a command takes them
}

// NewScript is a script of this source.
func NewScript(name, source string, writes bool) *Script {
	sum := sha1.Sum([]byte(source))
	sha := hex.EncodeToString(sum[:])
	return &Script{Name: name, Source: source, SHA: sha, Writes: writes, source: source, sha: sha}
}

// A Call is one run of a script, and its reply.
type Call struct {
	Script *Script
	Key    string
	Args   []any  // behind the deadline, which is the first ARGV of every script
	Clock  *Clock // of the primary that has the key; nil if the caller did not look for it
	Trip   *Trip  // nil if the caller does not trace it

	// Run sets these. Words is the reply, whose first element is a word; "NOW" alone for a
	// reply that is only Redis's time. Now is that time, or the one in the reply, in whole
	// milliseconds; zero if the reply has none.
	Words []string
	Now   time.Time
	Err   error

	texts []string // that Args point to, as Text has added them

	made run // the memory of its run
	runs [1]*run
	ran  bool // that memory is used
}

// NewCall is a call to which Text adds arguments. The client library takes
// arguments by their addresses, too, so all are in one piece of memory: that of the
// longest call, beyond which arguments only cost allocations.
func NewCall(script *Script, key string) *Call {
	of := &struct {
		call  Call
		texts [15]string
	}{}
	of.call.Script, of.call.Key = script, key
	of.call.Args = of.call.made.args[headArgs:headArgs]
	of.call.texts = of.texts[:0]
	return &of.call
}

// Text adds an argument, and gives the call.
func (c *Call) Text(s string) *Call {
	c.texts = append(c.texts, s)
	c.Args = append(c.Args, &c.texts[len(c.texts)-1])
	return c
}

// A Trip tells a trace how a call got to Redis and back. A call without one costs nothing.
type Trip struct {
	mu  sync.Mutex // a batch may still be on its way when its caller has given up
	leg Leg
}

// A Leg is one round trip to Redis.
type Leg struct {
	Sent, Received time.Time // zero if the call was not sent, or if nothing came back
	Calls          int       // how many calls shared the round trip
	Replicas       int64     // how many replicas had acknowledged it; -1 if none was waited for
}

// Last is the latest round trip.
func (t *Trip) Last() Leg {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leg
}

// note keeps a round trip of a run.
func (t *Trip) note(r *run, leg Leg) {
	leg.Replicas = -1
	if r.wait != nil && r.wait.Err() == nil {
		leg.Replicas = r.wait.Val()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leg = leg
}

// Fail gives every call the same error.
func Fail(calls []*Call, err error) {
	for _, c := range calls {
		c.Words, c.Now, c.Err = nil, time.Time{}, err
	}
}

// once is a command that the client library never sends again by itself. A retry after a
// lost reply would find the note that the first attempt had made, and the donation would
// be lost. The library still follows the redirections of a cluster: a redirected command
// did not run.
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }

// atNow are the words of a reply that is only Redis's time. It may not be changed.
var atNow = []string{"NOW"}

// firstMicros is in January 1970. A smaller number is the reply to another command.
const firstMicros = 1e12

// read reads a reply. The scripts reply with arrays of strings and numbers, with one text
// that has a newline between the words, or with a number, the time in microseconds. The
// first word is a word. It appends them to words.
func read(ctx context.Context, cmd once, words []string) reply {
	value, err := cmd.Result()
	if err != nil {
		return reply{err: conclude(ctx, err)}
	}
	switch value := value.(type) {
	case int64:
		if value < firstMicros {
			return reply{err: fmt.Errorf("a script replied %d, which is no time", value)}
		}
		return reply{words: atNow, now: time.UnixMilli(value / 1000)}
	case string:
		for word := range strings.SplitSeq(value, "\n") {
			words = append(words, word)
		}
	case []any:
		for _, word := range value {
			switch word := word.(type) {
			case string:
				words = append(words, word)
			case int64:
				words = append(words, strconv.FormatInt(word, 10))
			default:
				return reply{err: fmt.Errorf("a script replied %v, which has a %T", value, word)}
			}
		}
	}
	if len(words) < 2 {
		return reply{err: fmt.Errorf("a script replied %q, which is too short", words)}
	}
	now, _ := Millis(nowIn(words)) // which some replies do not have
	return reply{words: words, now: now}
}

// nowIn returns Redis's time in a reply, as text: the second element, or the element
// behind a note's line. It is empty for a reply that has a version instead.
func nowIn(words []string) string {
	at := 1
	switch words[0] {
	case "FIRST", "DUPLICATE", "HELD", "FOUND":
		at = 3
	case "DONE":
		at = 2
	case "VERSION":
		return ""
	}
	if at < len(words) {
		return words[at]
	}
	return ""
}

// Millis reads a time of a reply: milliseconds, or seconds, a space, and microseconds.
func Millis(s string) (time.Time, error) {
	whole, part, parts := strings.Cut(s, " ")
	n, err := strconv.ParseInt(whole, 10, 64)
	micros := int64(0)
	if parts && err == nil {
		n *= 1000
		micros, err = strconv.ParseInt(part, 10, 64)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading a time: %w", err)
	}
	return time.UnixMilli(n + micros/1000), nil
}
