package gateway_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox/inboxtest"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// Messages a second until PayPal is answered, with and without an inbox.
func BenchmarkGateway(b *testing.B) {
	for _, name := range []string{"without", "sqlite", "postgresql"} {
		b.Run(name, func(b *testing.B) {
			url := map[string]string{"sqlite": "sqlite://" + b.TempDir() + "/inbox.db"}[name]
			if name == "postgresql" {
				url = inboxtest.StartPostgres(b).URL()
			}
			h := newHarness(b, func(c *gateway.Config, _ *servertest.Options) {
				if url != "" {
					c.InboxURL, c.InboxKeys = url, inboxKey()
				}
			})
			next := make(chan paypaltest.Delivery, b.N)
			for i := range b.N {
				next <- h.payPal.IPN(payment("I-BENCH" + strconv.Itoa(i)).fields())
			}
			close(next)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if status, reason, err := deliver(h.front.URL, <-next); status != http.StatusOK {
						b.Errorf("got %d %s %v", status, reason, err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
