package desk_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// copies makes many notes of one, in the store's own format: the series and the ids in it
// are replaced by others of the same length.
const copies = `
local value, ttl = redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
	local n = string.format('%07d', i)
	local copy = string.gsub(value, '0000000', n)
	redis.call('SET', string.gsub(KEYS[1], '0000000', n), copy, 'PX', ttl)
end
return 0`

// BenchmarkLargeLedger loads each page of a desk whose ledger has a million notes. It
// measures a person's wait, which must be under a second.
func BenchmarkLargeLedger(b *testing.B) {
	const notes, atOnce = 1_000_000, 50_000
	store := processtest.Redis(b)
	h := newEmptyHarness(b, servertest.Options{Redis: "redis://" + store.Addr})
	for channel, id := range map[string]string{"ipn": "00112233445566770000000", "webhook": "WH-0000000"} {
		_, err := h.noted.Note(b.Context(), &client.NoteRequest{
			Donation: &client.Donation{
				Ledger: week.Ledger, SeriesId: "I-AAAA0000000", TransactionId: "1AA0000000AAAAAAA", Amount: "25.00",
				CurrencyCode: "EUR", OccurredAt: timestamppb.New(time.Now()),
			},
			Message: &client.Message{Channel: channel, Id: id},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	direct := redis.NewClient(&redis.Options{Addr: store.Addr, ReadTimeout: time.Minute})
	defer direct.Close()
	key := "noted:{" + week.Ledger + " I-AAAA0000000}"
	for from := 1; from < notes; from += atOnce {
		if err := direct.Eval(b.Context(), copies, []string{key}, from, from+atOnce-1).Err(); err != nil {
			b.Fatal(err)
		}
	}
	h.open(func(c *desk.Config) { c.Patience = 0 }, h.withAdmin()) // the patience of production
	for name, path := range map[string]string{
		"series": "/?q=I-AAAA0777777", "transaction": "/?q=1AA0777777AAAAAAA",
		"sum": "/?q=25.00+EUR+" + time.Now().UTC().Format(time.DateOnly), "waiting": "/waiting", "alive": "/alive",
	} {
		b.Run(name, func(b *testing.B) {
			v := h.visitor()
			var longest time.Duration
			for b.Loop() {
				begun := time.Now()
				if status, page := v.get(path); status != http.StatusOK {
					b.Fatalf("status %d: %s", status, text(page))
				}
				longest = max(longest, time.Since(begun))
			}
			b.ReportMetric(longest.Seconds(), "s/longest")
		})
	}
	b.Logf("%d notes", direct.DBSize(b.Context()).Val())
}
