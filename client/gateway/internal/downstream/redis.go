package downstream

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
	"github.com/donation-dedupe/noted/client/gateway/internal/traces"
)

//go:embed stream.lua
var streamSource string

var streamScript = redis.NewScript(streamSource)

// A stream is a Redis stream that holds each event once. A gateway delivers an event
// again after a crash before it settled, or after a lost reply. It then finds the guard
// of the event's id.
//
// A guard lives for as long as the donation's note can, and a day. Until then the
// donation may be delivered again under this id. Later it may not: Noted never uses an id
// for another note.
type stream struct {
	client *redis.Client
	key    string
}

// guardSlack is how much longer a guard lives than its note.
const guardSlack = 24 * time.Hour

func openRedis(u *url.URL) (Downstream, error) {
	query := u.Query()
	key := query.Get("stream")
	if key == "" {
		return nil, setting.Wrong("ForwardTo", "names no stream: redis://host:port/0?stream=NAME")
	}
	query.Del("stream") // the library reads the rest
	cut := *u
	cut.RawQuery = query.Encode()
	options, err := redis.ParseURL(cut.String())
	if err != nil { // err may quote a part of the password
		return nil, setting.Wrong(
			"ForwardTo",
			"cannot be read as redis://user:password@host:port/0?stream=NAME; write %%40, %%2F and so on for "+
				"the signs in a password that mean something there",
		)
	}
	// HELLO names the connection for CLIENT LIST. It needs no right, unlike CLIENT SETNAME.
	// go-redis drops a connection that it cannot name, so it is given no name. Where Redis
	// refuses HELLO the connection stays without a name.
	options.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		var refused redis.Error
		if err := conn.Hello(ctx, 3, "", "", "noted-gateway").Err(); err != nil && !errors.As(err, &refused) {
			return err
		}
		return nil
	}
	options.ContextTimeoutEnabled = true
	// PayPal's redelivery is the second try. A try by the library would be harmless too,
	// thanks to the guard.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &stream{client: redis.NewClient(options), key: key}, nil
}

// Accept adds the event. An event that is known already counts as added.
func (d *stream) Accept(ctx context.Context, e *Event, body []byte, life time.Duration) error {
	keys := []string{d.key, guardKey(d.key, e.ID)}
	lifetime := (max(life, 0) + guardSlack).Milliseconds()
	args := []any{lifetime, "id", e.ID, "type", e.Kind, "attempt", e.data.Attempt, "event", body}
	if parent := traces.Parent(ctx); parent != "" {
		args = append(args, "traceparent", parent)
	}
	reply, err := streamScript.Run(ctx, d.client, keys, args...).StringSlice()
	switch {
	case err != nil:
		return Error(redisTrouble(err))
	case len(reply) == 2 && (reply[0] == "added" || reply[0] == "known"):
		return nil
	}
	return Error(fmt.Sprintf("the script replied %q", reply))
}

// guardKey names the guard of an event, in the slot of its stream.
func guardKey(stream, id string) string {
	if open := strings.IndexByte(stream, '{'); open >= 0 && strings.IndexByte(stream[open:], '}') > 1 {
		return stream + ":handed-on:" + id // the stream has a hash tag of its own
	}
	return "{" + stream + "}:handed-on:" + id
}

// redisTrouble keeps the part of an error that is safe to log.
func redisTrouble(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the hold was lost"
	}
	return err.Error()
}

func (d *stream) Ready(ctx context.Context) error { return d.client.Ping(ctx).Err() }

// Ping adds nothing to the stream, whose readers may know no pings.
func (d *stream) Ping(ctx context.Context) error {
	if d.Ready(ctx) != nil {
		return errors.New("it answers, but not as it should; look at its address, user and password")
	}
	return nil
}

func (d *stream) Close() error { return d.client.Close() }
