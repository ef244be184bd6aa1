package wire

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// A run is a call on its way. While a batch has it, only the batch touches it, since its
// caller may have given up.
type run struct {
	call     *Call
	clock    *Clock // of the primary that it is sent to
	deadline int64  // the caller's, by that clock

	cmd        once
	args       [fewArgs]any // the memory of its arguments
	words      [fewWords]string
	wait       *redis.IntCmd // the WAIT behind it on its connection; nil if none was sent
	replicated bool          // enough replicas have everything written before the reply
	reply      reply

	// Of a run that waits for a lane.
	ctx      context.Context // the caller's
	done     chan struct{}   // gets a word once the batch lets go of the run
	panicked *caughtPanic    // of the lane that sent it; nil if there was none
}

// These are enough for every script and for most replies; more only cost an allocation.
const (
	fewArgs  = 20
	headArgs = 5 // of which so many are not the script's own
	fewWords = 8
)

// The commands that run a script, as a command takes them.
var eval, evalsha any = "eval", "evalsha"

// prepare makes the run's command, with the whole source or with its digest.
func (r *run) prepare(ctx context.Context, whole bool) {
	how, script := evalsha, r.call.Script.sha
	if whole {
		how, script = eval, r.call.Script.source
	}
	// Behind these five NewCall has the arguments of the call where append puts them.
	args := append(r.args[:0], how, script, 1, &r.call.Key, &r.deadline)
	r.cmd = once{redis.NewCmd(ctx, append(args, r.call.Args...)...)}
	r.cmd.SetFirstKeyPos(3)
	r.wait, r.replicated = nil, false
}

// A reply is a script's words and Redis's time in it, or the error that came instead.
type reply struct {
	words []string
	now   time.Time // zero if it has none
	err   error
}

// take gives the call its reply.
func (c *Call) take(r reply) { c.Words, c.Now, c.Err = r.words, r.now, r.err }

// Run runs the calls on behalf of ctx and fills in their replies. Its calls must all
// write or all read. It gives each call its deadline by Redis's clock.
func (c *Client) Run(ctx context.Context, calls []*Call) {
	runs := memoryOf(calls)
	for i, call := range calls {
		clock := call.Clock
		if clock == nil {
			var err error
			if clock, err = c.clockFor(ctx, call.Key); err != nil {
				Fail(calls, err)
				return
			}
		}
		r := runs[i]
		r.call, r.clock, r.deadline = call, clock, clock.deadline(ctx)
	}
	c.share(ctx, runs)
	for _, r := range runs {
		if r.deadline == unknownDeadline {
			r.call.Err = NothingDone(r.call.Err)
		}
	}
	// PAST_DEADLINE although ours has not passed: our estimate of Redis's clock was
	// missing or stale. Nothing ran; retry with the time from the reply. The estimate
	// itself may already be stale again, from a reply that was sent before the clock was
	// set.
	ours, has := ctx.Deadline()
	for has && ctx.Err() == nil {
		var again []*run
		for _, r := range runs {
			if r.call.Err != nil || r.call.Words[0] != "PAST_DEADLINE" {
				continue
			}
			if now := r.call.Now; !now.IsZero() {
				again = append(again, &run{call: r.call, clock: r.clock, deadline: until(now.Add(time.Until(ours)))})
			}
		}
		if len(again) == 0 {
			break
		}
		runs = again
		c.share(ctx, runs)
	}
	for _, call := range calls {
		if call.Err == nil && call.Words[0] == "PAST_DEADLINE" {
			call.Err = ErrPastDeadline
		}
	}
}

// memoryOf is the memory of the runs: that of their calls, each of which has it for one
// run only, since a batch may still have that run when its caller has given up.
func memoryOf(calls []*Call) []*run {
	runs := calls[0].runs[:]
	if len(calls) > 1 || calls[0].ran {
		runs = make([]*run, len(calls))
	}
	for i, c := range calls {
		if runs[i] = &c.made; c.ran {
			runs[i] = &run{}
		}
		c.ran = true
	}
	return runs
}

// clockFor is the clock of the primary that has a key, as far as the client library
// knows. A redirected call arrives with the deadline of another primary's clock.
func (c *Client) clockFor(ctx context.Context, key string) (*Clock, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		return c.clocks.at(""), nil
	}
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, NothingDone(conclude(ctx, err))
	}
	return c.clocks.at(node.Options().Addr), nil
}

// ClockOf is the clock of the primary that has a key, or nil: Run tells why it is not known.
func (c *Client) ClockOf(ctx context.Context, key []byte) *Clock {
	if _, ok := c.redis.(*redis.ClusterClient); !ok {
		return c.clocks.at("")
	}
	clock, err := c.clockFor(ctx, string(key))
	if err != nil {
		return nil
	}
	return clock
}

// share is roundTrip, except that a single run shares its round trip with runs of other
// callers.
func (c *Client) share(ctx context.Context, runs []*run) {
	batch := c.writes
	if !runs[0].call.Script.Writes {
		batch = c.reads
	}
	if batch != nil && len(runs) == 1 {
		runs[0].call.take(batch.do(ctx, runs))
		return
	}
	c.roundTrip(ctx, runs)
	for _, r := range runs {
		r.call.take(r.reply)
	}
}

// roundTrip sends the runs, sends scripts that Redis does not know again with their
// source, and reads the replies. Each run ends with its own reply or failure.
func (c *Client) roundTrip(ctx context.Context, runs []*run) {
	for _, r := range runs {
		r.prepare(ctx, false)
	}
	sent := time.Now()
	c.send(ctx, runs)
	var unknown []*run
	for _, r := range runs {
		// A Redis that was restarted, or took over, knows no scripts. Nothing ran.
		if err := r.cmd.Err(); err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			c.unknownScripts.Add(1)
			r.prepare(ctx, true)
			unknown = append(unknown, r)
		}
	}
	if len(unknown) > 0 {
		c.send(ctx, unknown)
	}
	received := time.Now()
	for _, r := range runs {
		told := read(ctx, r.cmd, r.words[:0])
		if told.err == nil {
			if !told.now.IsZero() {
				r.clock.observe(told.now, sent, received)
			}
			switch {
			case told.words[0] == "VERSION":
				told.err = NotOurs(told.words[1])
			case c.replicas > 0 && r.call.Script.Writes && !r.replicated && told.words[0] != "PAST_DEADLINE":
				told.err = notReplicated(ctx, r.wait)
			}
		}
		if !r.call.Script.Writes {
			told.err = NothingDone(told.err)
		}
		r.reply = told
		if c.took != nil {
			c.took(r.call.Script.Name, received.Sub(sent))
		}
		if r.call.Trip != nil {
			r.call.Trip.note(r, Leg{Sent: sent, Received: received, Calls: len(runs)})
		}
	}
	c.follow(runs)
}
