package server

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// reloadEvery is how often files are looked at.
const reloadEvery = 2 * time.Second

// reloaded is a file, or files that belong together, whose new content is taken up while the server runs. What cannot be taken up is refused, and
// the old stays.
//
// The files are read and compared, not their times: they are small, two changes can fall within one tick of a file system's clock, and a
// file that was put back may be older than the one it replaces.
type reloaded struct {
	name  string // in log and metric
	paths []string
	apply func(contents [][]byte) error

	seen    [sha256.Size]byte // of what was last taken up or refused
	refusal error             // why it was refused; nil where it was not
	told    string            // the trouble that the log knows of; empty where there is none
}

// look takes new content up and reports whether there was any.
func (f *reloaded) look() (changed bool, err error) {
	contents := make([][]byte, len(f.paths))
	sum := sha256.New()
	for i, path := range f.paths {
		if contents[i], err = os.ReadFile(path); err != nil {
			return false, err
		}
		part := sha256.Sum256(contents[i])
		sum.Write(part[:])
	}
	if found := [sha256.Size]byte(sum.Sum(nil)); found != f.seen {
		f.seen = found
		f.refusal = f.apply(contents)
		return true, f.refusal
	}
	return false, f.refusal
}

// reloader looks at all files, now and then and when it is told to.
type reloader struct {
	logger *slog.Logger
	counts *prometheus.CounterVec // file, outcome

	mu    sync.Mutex
	files []*reloaded
	also  []func() // to be done whenever files are looked at
}

func newReloader(logger *slog.Logger, m *metrics.Metrics) *reloader {
	return &reloader{logger: logger, counts: m.CounterVec("noted_reloads_total")}
}

// add takes a file up for the first time; then it must be good.
func (r *reloader) add(file *reloaded) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := file.look(); err != nil {
		return err
	}
	r.files = append(r.files, file)
	r.counts.WithLabelValues(file.name, "taken_up")
	r.counts.WithLabelValues(file.name, "refused")
	return nil
}

// look looks at every file. A content that is refused is told of once.
func (r *reloader) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, file := range r.files {
		changed, err := file.look()
		switch {
		case err != nil && (changed || err.Error() != file.told):
			file.told = err.Error()
			r.counts.WithLabelValues(file.name, "refused").Inc()
			r.logger.Error("a file has changed and cannot be taken up; the old content stays in use", "file", file.name, "error", err)
		case err == nil && (changed || file.told != ""):
			file.told = ""
			r.counts.WithLabelValues(file.name, "taken_up").Inc()
			r.logger.Info("a file has changed and is taken up", "file", file.name, "paths", strings.Join(file.paths, " "))
		}
	}
	for _, do := range r.also {
		do()
	}
}

// run looks every now and then until ctx is done.
func (r *reloader) run(ctx context.Context) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.look()
		}
	}
}
