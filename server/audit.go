package server

import (
	"context"
	"log/slog"
	"time"
)

// audit keeps who did what that somebody may have to answer for: calls that were denied, notes
// that were forgotten, losses that were acknowledged. It writes whatever the level of the log is.
type audit struct {
	to  slog.Handler
	log *slog.Logger // gets a line that could not be written there
}

func newAudit(config Config) audit { return audit{to: config.Audit.Handler(), log: config.Logger} }

// write writes a line on an act of the caller of ctx.
func (a audit) write(ctx context.Context, act string, fields ...any) {
	line := slog.NewRecord(time.Now(), slog.LevelWarn, "audit: "+act, 0)
	line.Add("caller", callerOf(ctx), "peer", peerOf(ctx))
	line.Add(fields...)
	if err := a.to.Handle(ctx, line); err != nil { // the handler is asked directly: a logger would drop what is below its level
		a.log.ErrorContext(ctx, "a line of the audit could not be written where it belongs, and follows here", "error", err)
		_ = a.log.Handler().Handle(ctx, line)
	}
}
