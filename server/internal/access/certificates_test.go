package access

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// The log warns once of a certificate that comes near its end while the server runs.
func TestCertificateThatEndsSoon(t *testing.T) {
	var log bytes.Buffer
	c := NewCertificates(CertificatesConfig{
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Metrics: metrics.New(metrics.Config{}),
	})
	soon := time.Now().Add(expirySoon)
	for _, ends := range []time.Time{soon.Add(time.Hour), soon.Add(-time.Minute), soon.Add(-time.Minute)} {
		c.notAfter.Store(ends.Unix())
		c.Warn()
	}
	if got := strings.Count(log.String(), "the certificate ends soon"); got != 1 {
		t.Errorf("the log warns %d times, want once:\n%s", got, log.String())
	}
}
