package store

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// A script is one operation, run by one call and touching one key. Its file's header says
// what it takes, replies and writes.
type script struct {
	name, source, sha string
	answers           bool // its callers act on what it has written, so that it must not be lost; the others only look
}

func newScript(name, body string) *script {
	source := library + "\n" + body
	sum := sha1.Sum([]byte(source))
	return &script{
		name:    name,
		source:  source,
		sha:     hex.EncodeToString(sum[:]),
		answers: name != "exists" && name != "list",
	}
}

var (
	//go:embed notes.lua
	library string
	//go:embed note.lua
	noteBody string
	//go:embed exists.lua
	existsBody string
	//go:embed settle.lua
	settleBody string
	//go:embed release.lua
	releaseBody string
	//go:embed extend.lua
	extendBody string
	//go:embed list.lua
	listBody string
	//go:embed forget.lua
	forgetBody string
	//go:embed beat.lua
	beatBody string

	noteScript    = newScript("note", noteBody)
	existsScript  = newScript("exists", existsBody)
	settleScript  = newScript("settle", settleBody)
	releaseScript = newScript("release", releaseBody)
	extendScript  = newScript("extend", extendBody)
	listScript    = newScript("list", listBody)
	forgetScript  = newScript("forget", forgetBody)
	beatScript    = newScript("beat", beatBody)
)

// A call is one run of a script. The first ARGV of every script is its caller's deadline
// in the store's time; args are the others.
type call struct {
	script   *script
	key      string
	args     []any
	clock    *clock // of whom it is sent to
	deadline int64
}

// A result is a script's reply, whose first element is a word, or a failure as failure
// explains.
type result struct {
	words []string
	err   error

	panicked *carried // sending it panicked; nil where it did not
}

// once is a command that the client never sends again by itself. Its default retries turn
// a lost reply into a lost donation: the script would find its own note. (Redirections of
// a cluster are followed all the same; what was redirected was not run.)
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }

func (c call) command(ctx context.Context, whole bool) once {
	args := make([]any, 0, 5+len(c.args))
	if whole {
		args = append(args, "eval", c.script.source, 1, c.key, c.deadline)
	} else {
		args = append(args, "evalsha", c.script.sha, 1, c.key, c.deadline)
	}
	cmd := once{redis.NewCmd(ctx, append(args, c.args...)...)}
	cmd.SetFirstKeyPos(3)
	return cmd
}

// run runs one script on behalf of ctx.
func (s *Store) run(ctx context.Context, sc *script, key string, args ...any) ([]string, error) {
	r := s.runFor(ctx, []call{{script: sc, key: key, args: args}})[0]
	return r.words, r.err
}

// runFor runs calls on behalf of ctx, which gives them their deadline.
func (s *Store) runFor(ctx context.Context, calls []call) []result {
	if err := s.trusted(); err != nil {
		return slices.Repeat([]result{{err: err}}, len(calls))
	}
	results := s.runPast(ctx, calls)
	// By the time of a reply it is known whether its connection is one to a store that
	// went back (see verify).
	if err := s.trusted(); err != nil {
		return slices.Repeat([]result{{err: err}}, len(calls))
	}
	return results
}

// runPast is runFor whether or not the store is to be trusted.
func (s *Store) runPast(ctx context.Context, calls []call) []result {
	for i := range calls {
		clock, err := s.clockFor(ctx, calls[i].key)
		if err != nil {
			return slices.Repeat([]result{{err: err}}, len(calls))
		}
		calls[i].clock, calls[i].deadline = clock, clock.deadline(ctx)
	}
	results := s.sendBy(ctx, calls)
	for i, c := range calls {
		if c.deadline == unknownDeadline {
			results[i].err = looked(results[i].err)
		}
	}
	// The store's clock was not known, or was set forward, if it says that a deadline has
	// passed which has not. Nothing was done, and the reply tells the store's time: what
	// others hear meanwhile may have been said before the clock was set.
	ours, has := ctx.Deadline()
	for has && ctx.Err() == nil {
		var again []call
		var at []int
		for i, r := range results {
			if r.err != nil || r.words[0] != "PAST_DEADLINE" {
				continue
			}
			if now, err := millis(nowIn(r.words)); err == nil {
				c := calls[i]
				c.deadline = until(now.Add(time.Until(ours)))
				again, at = append(again, c), append(at, i)
			}
		}
		if len(again) == 0 {
			break
		}
		for i, r := range s.sendBy(ctx, again) {
			results[at[i]] = r
		}
	}
	return results
}

// clockFor is the clock of the primary that has a key, as far as the client knows: to
// whom a call is redirected it comes with another's deadline.
func (s *Store) clockFor(ctx context.Context, key string) (*clock, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cluster, ok := s.redis.(*redis.ClusterClient)
	if !ok {
		return s.clocks.at(""), nil
	}
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, looked(failure(ctx, err))
	}
	return s.clocks.at(node.Options().Addr), nil
}

func (s *Store) sendBy(ctx context.Context, calls []call) []result {
	batch := s.batch
	if !calls[0].script.answers {
		batch = s.looks
	}
	if batch != nil && len(calls) == 1 {
		return []result{batch.do(ctx, calls[0])}
	}
	return s.runAll(ctx, calls)
}

// runAll runs the calls, which all answer or all look, in one round trip. Each ends with
// its own reply or failure.
func (s *Store) runAll(ctx context.Context, calls []call) []result {
	runs := make([]run, len(calls))
	again := make([]int, 0, len(calls))
	for i, c := range calls {
		runs[i].cmd = c.command(ctx, false)
		again = append(again, i)
	}
	sent := time.Now()
	s.send(ctx, calls, runs, again)
	again = again[:0]
	for i, c := range calls {
		// Nothing was run, so it may be sent again, with its source: a Redis that was
		// restarted, or took over, knows no scripts.
		if redis.HasErrorPrefix(runs[i].cmd.Err(), "NOSCRIPT") {
			s.unknownScripts.Add(1)
			runs[i] = run{cmd: c.command(ctx, true)}
			again = append(again, i)
		}
	}
	if len(again) > 0 {
		s.send(ctx, calls, runs, again)
	}
	received := time.Now()
	results := make([]result, len(calls))
	for i, r := range runs {
		words, err := read(ctx, r.cmd)
		if err == nil {
			if now, err := millis(nowIn(words)); err == nil {
				calls[i].clock.observe(now, sent, received)
			}
			if s.replicas > 0 && calls[i].script.answers && !r.replicated && words[0] != "PAST_DEADLINE" &&
				words[0] != "VERSION" {
				err = notReplicated(ctx, r.wait)
			}
			if words[0] == "VERSION" {
				err = notOurs(words[1])
			}
		}
		if Foreign(err) {
			err = at(calls[i].key, err)
		}
		results[i] = result{words: words, err: err}
	}
	s.follow(runs)
	return results
}

// read turns a reply into its words. The scripts reply with arrays of strings and
// numbers, the first a word.
func read(ctx context.Context, cmd once) ([]string, error) {
	reply, err := cmd.Slice()
	if err != nil {
		return nil, failure(ctx, err)
	}
	words := make([]string, len(reply))
	for i, v := range reply {
		switch v := v.(type) {
		case string:
			words[i] = v
		case int64:
			words[i] = strconv.FormatInt(v, 10)
		default:
			return nil, fmt.Errorf("a script replied %v, whose element %d is neither text nor a number", reply, i)
		}
	}
	if len(words) < 2 {
		return nil, fmt.Errorf("a script replied %q, which is too short", words)
	}
	return words, nil
}

// nowIn is the store's time in a reply, as text: its second element, or the one behind a
// note's line; empty in the one that tells a version instead.
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

func millis(s string) (time.Time, error) {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading a time: %w", err)
	}
	return time.UnixMilli(ms), nil
}

// refusal turns the words by which every script may refuse into errors, and nil for a
// word that is not one.
func refusal(words []string) error {
	switch words[0] {
	case "PAST_DEADLINE":
		return ErrPastDeadline
	case "VERSION":
		return notOurs(words[1])
	case "TOO_EARLY":
		return ErrTooEarly
	case "TOO_LATE":
		return ErrTooLate
	case "RECEIVED_TOO_EARLY":
		return ErrReceivedTooEarly
	case "REQUEST_REUSED":
		return ErrRequestReused
	case "SERIES_FULL":
		return ErrSeriesFull
	case "NOT_FOUND":
		return ErrNotFound
	case "HOLD_LOST":
		return ErrHoldLost
	case "HOLD_RELEASED":
		return ErrHoldReleased
	case "SETTLED_BY_ANOTHER":
		return ErrSettledByAnother
	case "ALREADY_SETTLED":
		return ErrAlreadySettled
	}
	return nil
}

func unexpected(sc *script, words []string) error {
	if err := refusal(words); err != nil {
		return err
	}
	return fmt.Errorf("%s.lua replied %q, which this release does not know", sc.name, words)
}
