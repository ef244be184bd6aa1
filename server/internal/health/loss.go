package health

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/peer"

	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// losses tells the operator of a store that has lost notes: it was emptied, restarted
// without its data, restored from a backup, or taken over by a replica that lagged. The
// donations of the lost notes will be FIRST again, and nothing else would say so.
type losses struct {
	refuse bool
	store  *store.Store // nil for a trial's store, which has nothing to lose
	logger *slog.Logger
	audit  metrics.Audit

	given      bool // the operator gave the epoch with -epoch
	count      prometheus.Counter
	epoch      string // the last epoch in the log
	beatFailed bool   // the log has the last failure of a beat
}

func newLosses(config Config) *losses {
	l := &losses{
		refuse: config.RefuseAfterLoss,
		store:  config.Store,
		logger: config.Logger,
		audit:  config.Audit,
		given:  config.Epoch != "",
		count:  config.Metrics.Counter("noted_store_went_back_total"),
	}
	if config.Trial {
		l.store = nil
	}
	config.Metrics.GaugeFunc("noted_store_went_back", func() float64 {
		if l.lost().At.IsZero() {
			return 0
		}
		return 1
	})
	return l
}

func (l *losses) lost() store.Loss {
	if l.store == nil {
		return store.Loss{}
	}
	return l.store.Lost()
}

// look beats once. It returns why calls are refused, empty if they are not, and the error
// of the beat.
func (l *losses) look(ctx context.Context) (refused string, err error) {
	if l.store == nil {
		return "", nil
	}
	found, err := l.store.Beat(ctx)
	l.count.Add(float64(len(found)))
	for _, loss := range found {
		l.logger.Error(
			"the store has gone back in time: donations whose notes are lost will be FIRST again",
			"what", loss.What,
			"calls_refused", l.refuse,
			"to_do", l.toDo(),
		)
	}
	if err != nil && !l.beatFailed && store.ShutOut(err) == "" { // the watch logs that
		l.logger.Warn(
			"the store's epoch cannot be kept, so a loss of notes would not be noticed",
			"error", err,
		)
	}
	l.beatFailed = err != nil
	if epoch := l.store.Epoch(); epoch != l.epoch {
		l.epoch = epoch
		said := "the store's epoch is known"
		if !l.given {
			said += "; start with -epoch to notice a loss that happens while no server runs"
		}
		l.logger.Info(said, "epoch", epoch)
	}
	if lost := l.store.Lost(); l.refuse && !lost.At.IsZero() {
		return lost.What + "; " + l.toDo(), err
	}
	return "", err
}

func (l *losses) toDo() string {
	return fmt.Sprintf(
		"find out what is lost, note it again, then POST /acknowledge?epoch=%[1]s to -admin-listen of every server, "+
			"and start them with -epoch %[1]s from now on",
		l.store.Epoch(),
	)
}

// remark is the part of a health answer that is for people.
func (l *losses) remark() string {
	lost := l.lost()
	if lost.At.IsZero() {
		return ""
	}
	return fmt.Sprintf(" (since %s: %s; %s)", lost.At.UTC().Format(time.RFC3339), lost.What, l.toDo())
}

// acknowledge accepts the store for good as it is. It wants the epoch, so that the
// operator acknowledges the loss that the log told of, and can read the log.
func (l *losses) acknowledge(response http.ResponseWriter, request *http.Request) {
	lost := l.lost()
	switch epoch := request.URL.Query().Get("epoch"); {
	case lost.At.IsZero():
		fmt.Fprintln(response, "nothing is lost that was not acknowledged")
	case epoch != l.store.Epoch():
		http.Error(
			response,
			fmt.Sprintf("%s; to acknowledge that, POST /acknowledge?epoch=%s", lost.What, l.store.Epoch()),
			http.StatusConflict,
		)
	default:
		l.store.Acknowledge()
		l.audit.Write(
			peer.NewContext(request.Context(), metrics.PeerOfRequest(request)),
			"acknowledged a loss of the store's",
			"what", lost.What,
			"epoch", epoch,
		)
		fmt.Fprintln(response, "acknowledged; start the next time with -epoch", epoch)
	}
}
