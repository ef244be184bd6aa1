package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// newAdmin is what operators and their machines ask; it is not for callers, and knows nothing of them.
func newAdmin(w *watch, m *metrics.Metrics, logger *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(response, "ok"+w.remark())
	})
	mux.HandleFunc("GET /readyz", func(response http.ResponseWriter, _ *http.Request) {
		if reason := w.ready(); reason != "" {
			http.Error(response, "not ready: "+reason, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(response, "ready"+w.remark())
	})
	mux.HandleFunc("POST /acknowledge", w.losses.acknowledge)
	mux.Handle("GET /metrics", promhttp.InstrumentMetricHandler(m.Registry, promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})))
	// Without pprof.Cmdline: the command line may hold the password of the store.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes as long as it was asked to
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    contract.MaxHeaders,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// remark is what health adds for a person.
func (w *watch) remark() string {
	if w.trial {
		return " (trial store: nothing survives a restart)"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	remark := ""
	if w.unsafe {
		remark = " (the certificate of the store is not checked: leave skip_verify out of -redis)"
	}
	if w.lost != "" {
		remark += " (calls for a part of the series are refused: " + w.lost + ")"
	}
	if w.weak != "" {
		remark += " (new donations may be refused: " + w.weak + ")"
	}
	return remark + w.losses.remark()
}
