package wire

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The server of -redis may be of another kind than -redis-mode says. Then only some calls
// succeed, or a listing lacks notes, and nothing would tell. So each check asks for the
// kind, and while the kinds differ no call reaches the store.

const (
	isNode     = "-redis names a cluster's node, which has only some of the series: start with -redis-mode cluster"
	isSentinel = "-redis names a sentinel, which keeps no notes: start with -redis-mode sentinel, " +
		"and say in -redis which primary it watches (?master_name=)"
	isNoSentinel = "-redis names a Redis and no sentinel: start with -redis-mode standalone, or name the sentinels"
	isNoCluster  = "-redis names a Redis that is not in a cluster: start with -redis-mode standalone"
	isNoNode     = "-redis names a server that does not know CLUSTER: start with -redis-mode sentinel " +
		"where it is a sentinel, else with -redis-mode standalone"
	watchesNone = "the sentinels of -redis watch no primary of this name: mend ?master_name= in -redis " +
		"(SENTINEL MASTERS on a sentinel lists them)"
)

func wrongKind(what string) error { return &shutOut{by: ByMode, text: what, also: ErrUnsuitable} }

// asWrongKind explains an error of a server of another kind; nil for other errors.
func asWrongKind(err error) error {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(strings.ToLower(err.Error()), "`", "'") // releases quote in either way
	switch {
	case strings.Contains(text, "cluster support disabled"):
		return wrongKind(isNoCluster)
	case strings.Contains(text, "unknown command") && strings.Contains(text, "'sentinel'"):
		return wrongKind(isNoSentinel)
	case strings.Contains(text, "unknown command") && strings.Contains(text, "'cluster'"):
		return wrongKind(isNoNode)
	case strings.Contains(text, "all sentinels") && errors.Is(err, redis.Nil):
		return wrongKind(watchesNone)
	}
	return nil
}

// kind is an error if the server is a node of a cluster or a sentinel. INFO tells; where
// it is hidden, the server is a node if it refuses keys of some slots.
func kind(ctx context.Context, node redis.Cmdable, info map[string]string) error {
	switch modeOf(info) {
	case "cluster":
		return wrongKind(isNode)
	case "sentinel":
		return wrongKind(isSentinel)
	case "":
		pipe := node.Pipeline()
		var replies []*redis.StringCmd
		for _, key := range KeysOfAllParts("epoch") {
			replies = append(replies, pipe.Get(ctx, key))
		}
		_, _ = pipe.Exec(ctx) // the commands bear the errors
		for _, reply := range replies {
			if redis.HasErrorPrefix(reply.Err(), "MOVED") || redis.HasErrorPrefix(reply.Err(), "CLUSTERDOWN") {
				return wrongKind(isNode)
			}
		}
	}
	return nil
}

// modeOf is standalone, cluster or sentinel, from INFO; empty if INFO does not say.
// Valkey has its own name for the field.
func modeOf(info map[string]string) string { return cmp.Or(info["redis_mode"], info["server_mode"]) }
