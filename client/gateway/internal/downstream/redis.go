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

// A stream is a Redis stream with each event once. A gateway delivers an event again
// after a crash before the settlement, or after a lost reply. It then finds the guard of
// the event's id.
//
// A guard lives for the longest possible life of the donation's note, and a day. Until
// then the donation may be delivered again under this id. Later it cannot be: Noted never
// uses an id for another note.
type stream struct {
	client *redis.Client
	key    string
}

// guardSlack is the time for which a guard outlives its note.
const guardSlack = 24 * time.Hour

func openRedis(u *url.URL) (Downstream, error) {
	query := u.Query()
	key := query.Get("stream")
	if key == "" {
		return nil, setting.Wrong("ForwardTo", "names no stream: redis://host:port/0?stream=NAME")
	}
	query.Del("stream") // the library reads the other parameters
	cut := *u
	cut.RawQuery = query.Encode()
	options, err := redis.ParseURL(cut.String())
	if err != nil { // err may quote part of the password
		return nil, setting.Wrong(
			"ForwardTo",
			"cannot be read as redis://user:password@host:port/0?stream=NAME; write %%40, %%2F and so on for "+
				"special characters in a password",
		)
	}
	// HELLO names the connection for CLIENT LIST. It needs no right, unlike CLIENT
	// SETNAME. go-redis drops a connection that it cannot name, so it gets no name. If
	// Redis refuses HELLO the connection stays without a name.
	options.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		var refused redis.Error
		if err := conn.Hello(ctx, 3, "", "", "noted-gateway").Err(); err != nil && !errors.As(err, &refused) {
			return err
		}
		return nil
	}
	options.ContextTimeoutEnabled = true
	// PayPal's redelivery is the second try. A try by the library would also be harmless,
	// because of the guard.
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &stream{client: redis.NewClient(options), key: key}, nil
}

// Accept adds the event. A known event counts as added. answer is the id of its entry.
func (d *stream) Accept(
	ctx context.Context, e *Event, body []byte, life time.Duration,
) (answer string, err error) {
	keys := []string{d.key, guardKey(d.key, e.ID)}
	lifetime := (max(life, 0) + guardSlack).Milliseconds()
	args := []any{lifetime, "id", e.ID, "type", e.Kind, "attempt", e.data.Attempt, "event", body}
	if parent := traces.Parent(ctx); parent != "" {
		args = append(args, "traceparent", parent)
	}
	reply, err := streamScript.Run(ctx, d.client, keys, args...).StringSlice()
	switch {
	case err != nil:
		return "", Error(redisTrouble(err))
	case len(reply) == 2 && (reply[0] == "added" || reply[0] == "known"):
		return "entry " + reply[1], nil
	}
	return "", Error(fmt.Sprintf("the script replied %q", reply))
}

// guardKey names the guard of an event, in the slot of its stream.
func guardKey(stream, id string) string {
	if open := strings.IndexByte(stream, '{'); open >= 0 && strings.IndexByte(stream[open:], '}') > 1 {
		return stream + ":handed-on:" + id // the stream has its own hash tag
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

// Ping adds nothing to the stream, because its readers may know no pings.
func (d *stream) Ping(ctx context.Context) error {
	if d.Ready(ctx) != nil {
		return errors.New("it answers with an error; check its address, user and password")
	}
	return nil
}

func (d *stream) Close() error { return d.client.Close() }
