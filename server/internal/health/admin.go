package health

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/donation-dedupe/noted/server/internal/contract"
)

// Admin makes the server of the admin listener: health, metrics and profiles for
// operators. It knows nothing of callers.
func (w *Watch) Admin() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(response http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(response, "ok"+w.remark())
	})
	mux.HandleFunc("GET /readyz", func(response http.ResponseWriter, _ *http.Request) {
		if reason := w.Ready(); reason != "" {
			http.Error(response, "not ready: "+reason, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(response, "ready"+w.remark())
	})
	mux.HandleFunc("GET /status", w.tell)
	mux.HandleFunc("POST /acknowledge", w.losses.acknowledge)
	mux.Handle(
		"GET /metrics",
		promhttp.InstrumentMetricHandler(
			w.Metrics.Registry,
			promhttp.HandlerFor(w.Metrics.Registry, promhttp.HandlerOpts{}),
		),
	)
	// Without pprof.Cmdline: the command line may hold the password of the store.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes as long as its client asks for
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    contract.MaxHeaders,
		ErrorLog:          slog.NewLogLogger(w.Logger.Handler(), slog.LevelWarn),
	}
}

// remark is the part of a health answer for people.
func (w *Watch) remark() string {
	remark := ""
	if w.Shadows != "" {
		remark = " (in shadow, where every answer is FIRST: " + w.Shadows + ")"
	}
	if w.Trial {
		return remark + " (trial store: nothing survives a restart)"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unsafe {
		remark += " (the certificate of the store is not checked: leave skip_verify out of -redis)"
	}
	if w.lost != "" {
		remark += " (calls for a part of the series are refused: " + w.lost + ")"
	}
	if w.weak != "" {
		remark += " (new donations may be refused: " + w.weak + ")"
	}
	return remark + w.losses.remark()
}
