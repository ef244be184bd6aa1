package access

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

// reloadEvery is how often the reloader looks at the files.
const reloadEvery = 2 * time.Second

// A File is a file, or several files that belong together, whose new content is taken up
// while the server runs. Content that cannot be taken up is refused, and the old content
// stays in use.
//
// The reloader compares contents, not times: the files are small, two changes can fall
// within one tick of a file system's clock, and a file that was restored may be older
// than the file that it replaces.
type File struct {
	name  string // in log and metric
	paths []string
	apply func(contents [][]byte) error

	seen     [sha256.Size]byte // the sum of the content that was last taken up or refused
	rejected error             // why it was refused; nil if it was taken up
	logged   string            // the last error, once it is in the log; empty if there is none
}

// look takes up new content and reports whether there was any.
func (f *File) look() (changed bool, err error) {
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
		f.rejected = f.apply(contents)
		return true, f.rejected
	}
	return false, f.rejected
}

// A Reloader looks at all files every few seconds, and when it is told to.
type Reloader struct {
	logger *slog.Logger
	counts *prometheus.CounterVec

	mu    sync.Mutex
	files []*File
	also  []func()
}

// NewReloader makes a Reloader without files.
func NewReloader(logger *slog.Logger, m *metrics.Metrics) *Reloader {
	return &Reloader{logger: logger, counts: m.CounterVec("noted_reloads_total")}
}

// Add reads a file for the first time, and fails unless its content is good. At each
// later look it calls also.
func (r *Reloader) Add(file *File, also ...func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := file.look(); err != nil {
		return err
	}
	r.files = append(r.files, file)
	r.also = append(r.also, also...)
	r.counts.WithLabelValues(file.name, "taken_up")
	r.counts.WithLabelValues(file.name, "refused")
	return nil
}

// Look looks at every file. It logs once for each content that it refuses.
func (r *Reloader) Look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, file := range r.files {
		changed, err := file.look()
		switch {
		case err != nil && (changed || err.Error() != file.logged):
			file.logged = err.Error()
			r.counts.WithLabelValues(file.name, "refused").Inc()
			r.logger.Error(
				"a file has changed and cannot be taken up; the old content stays in use",
				"file", file.name,
				"error", err,
			)
		case err == nil && (changed || file.logged != ""):
			file.logged = ""
			r.counts.WithLabelValues(file.name, "taken_up").Inc()
			r.logger.Info(
				"a file has changed and is taken up",
				"file", file.name,
				"paths", strings.Join(file.paths, " "),
			)
		}
	}
	for _, do := range r.also {
		do()
	}
}

// Run looks every few seconds until ctx is done.
func (r *Reloader) Run(ctx context.Context) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.Look()
		}
	}
}
