package server

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
)

// TestServerHasTheMetricsOfTheTable checks that a server with TLS has every metric of the
// table and no other metric of its own.
func TestServerHasTheMetricsOfTheTable(t *testing.T) {
	redis, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	cert, key := pkitest.New(t, "a CA").Named("localhost").Files(t, t.TempDir())
	s, err := New(t.Context(), Config{
		Listen: "127.0.0.1:0", AdminListen: Off, Redis: redis.URL(), Trial: true,
		TLSCert: cert, TLSKey: key, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })

	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		s.metrics.Registry.Describe(descs)
	}()
	var got, want []string
	for desc := range descs {
		// Desc{fqName: "noted_…", help: …}; it tells its name in no other way.
		if name, _, _ := strings.Cut(
			strings.TrimPrefix(desc.String(), `Desc{fqName: "`),
			`"`,
		); strings.HasPrefix(
			name,
			"noted_",
		) {
			got = append(got, name)
		}
	}
	for _, m := range metrics.Table {
		want = append(want, m.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics of the server (-table +registered):\n%s", diff)
	}
}
