package wire

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"
)

// exec sends a pipeline, after which every command has a reply or an error. If Redis
// refuses the handshake of a new connection (a wrong password, a missing database),
// go-redis returns the refusal from Exec alone. The commands keep their zero values, and
// an empty listing would look like an answer.
func exec(ctx context.Context, pipe redis.Pipeliner) {
	commands, err := pipe.Exec(ctx)
	if err == nil || slices.ContainsFunc(commands, func(c redis.Cmder) bool { return c.Err() != nil }) {
		return // one connection: either every command was sent, or none was
	}
	for _, c := range commands {
		c.SetErr(err)
	}
}

// A watchedPipe is a pipeline whose replies are a primary's: it asks Redis for its role
// before and after them. Scripts that only read also run on a replica. There they find
// only the notes that the replica has so far, and no notes while it starts from scratch.
type watchedPipe struct {
	redis.Pipeliner
	before *redis.StringCmd
}

func watched(ctx context.Context, node redis.Cmdable) watchedPipe {
	pipe := node.Pipeline()
	return watchedPipe{Pipeliner: pipe, before: pipe.Info(ctx, "replication")}
}

// exec returns an error if the replies cannot be relied on. If Redis does not tell its
// role, they are taken as they are.
func (p watchedPipe) exec(ctx context.Context) error {
	after := p.Info(ctx, "replication")
	exec(ctx, p.Pipeliner)
	was, is := p.before.Val(), after.Val()
	var refused redis.Error
	switch err := after.Err(); {
	case err != nil && !errors.As(err, &refused):
		return err
	case inInfo(was, "role") == "slave" || inInfo(is, "role") == "slave":
		return errReplica
	case inInfo(was, "master_replid") != inInfo(is, "master_replid"): // each change of the role changes it
		return errChanged
	}
	return nil
}

// replied is a refusal of Redis in our words. Redis has answered, so it is not dead.
type replied struct{ error }

func (replied) RedisError() {}

var (
	errReplica = replied{errors.New("redis is a replica, whose notes may be old: name the primary in -redis, or use " +
		"-redis-mode sentinel")}
	errChanged = replied{errors.New("the role of Redis changed while it was asked, and with it perhaps its notes: " +
		"ask again")}
)
