package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// payment is the i-th payment of a series, with ids as long as PayPal's.
func payment(ledger string, series, i int, at time.Time) store.Donation {
	return store.Donation{
		Ledger: ledger, SeriesID: fmt.Sprintf("I-%012d", series), Event: 1, OccurredAt: at.Truncate(time.Second),
		Amount: "25.00", CurrencyCode: "USD", TransactionID: fmt.Sprintf("%08d%09d", i, series),
	}
}

func messages(series, i int) (ipn, webhook store.Message) {
	return store.Message{Channel: "ipn", ID: fmt.Sprintf("%016x%016x", series, i)},
		store.Message{Channel: "webhook", ID: fmt.Sprintf("WH-%017d-%017d", series, i)}
}

// BenchmarkMemory fills a real Redis with donations seen on both channels and reports the
// bytes that each takes of used_memory, keys, expiry and tables included. shared: both
// channels give one transaction id; own: each gives its own.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		name           string
		series, months int
		own            bool
	}{
		{"alone/shared", 100_000, 1, false},
		{"alone/own", 100_000, 1, true},
		{"two/shared", 50_000, 2, false},
		{"two/own", 50_000, 2, true},
		{"twelve/shared", 10_000, 12, false},
		{"twelve/own", 10_000, 12, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := redistest.Start(b)
			s := open(b, "standalone", server.URL())
			client := redis.NewClient(&redis.Options{Addr: server.Addr()})
			defer client.Close()
			fill(b, s, "warm-up", 1000, 0, time.Now(), c.own) // buffers and scripts do not count as donations
			before := usedMemory(b, client)
			b.ResetTimer()
			for range b.N {
				now := time.Now()
				for month := range c.months {
					at := now.Add(-time.Duration(c.months-1-month)*3*24*time.Hour - 35*time.Second)
					fill(b, s, "paypal-live", c.series, month, at, c.own)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(usedMemory(b, client)-before)/float64(c.series*c.months), "bytes/donation")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// fill notes one payment in each series, by IPN and then by webhook, through pipelines.
func fill(b *testing.B, s *store.Store, ledger string, series, month int, at time.Time, own bool) {
	const size = 500
	for from := 0; from < series; from += size {
		for _, byWebhook := range []bool{false, true} {
			var requests []store.NoteRequest
			for i := from; i < min(from+size, series); i++ {
				d := payment(ledger, i, month, at)
				m, w := messages(i, month)
				if byWebhook {
					m = w
					if own {
						d.TransactionID = fmt.Sprintf("W%08d%08d", i, month+1) // no IPN of the series has it
					}
				}
				requests = append(
					requests,
					store.NoteRequest{Donation: d, Message: m, RequestID: m.ID, Rules: defaultRules},
				)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			replies, errs := s.Notes(ctx, requests)
			cancel()
			for i := range errs {
				if errs[i] != nil {
					b.Fatal(errs[i])
				}
				want := map[bool]store.Verdict{false: store.First, true: store.Duplicate}[byWebhook]
				if replies[i].Verdict != want {
					b.Fatalf("got verdict %d, want %d", replies[i].Verdict, want)
				}
			}
		}
	}
}

func usedMemory(b *testing.B, client *redis.Client) int {
	text, err := client.Info(context.Background(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "used_memory:")
	number, _, _ := strings.Cut(rest, "\r")
	n, err := strconv.Atoi(number)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkScripts runs note.lua on a real Redis through pipelines of 100 over two
// connections: half of the calls are FIRST, half DUPLICATE. It reports Redis's processor
// time, since other programs on the machine disturb it less than the rate.
func BenchmarkScripts(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, "standalone", server.URL())
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	var series atomic.Int64
	at := time.Now()
	b.SetParallelism(1)
	before := processorTime(b, client)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for more := true; more; {
			var requests []store.NoteRequest
			for len(requests) < 100 {
				if more = pb.Next(); !more {
					break
				}
				i := int(series.Add(1))
				d := payment("paypal-live", i/2, 1, at)
				m, w := messages(i/2, 1)
				if i%2 == 1 {
					m = w
				}
				requests = append(
					requests,
					store.NoteRequest{Donation: d, Message: m, RequestID: m.ID, Rules: defaultRules},
				)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			_, errs := s.Notes(ctx, requests)
			cancel()
			for _, err := range errs {
				if err != nil {
					b.Error(err)
				}
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "scripts/s")
	b.ReportMetric(float64((processorTime(b, client)-before).Nanoseconds())/1000/float64(b.N), "redis-µs/script")
}

// processorTime is how long Redis's main thread has run so far.
func processorTime(b *testing.B, client *redis.Client) (total time.Duration) {
	text, err := client.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, of := range []string{"user", "sys"} {
		_, rest, _ := strings.Cut(text, "used_cpu_"+of+"_main_thread:")
		number, _, _ := strings.Cut(rest, "\r")
		seconds, err := strconv.ParseFloat(number, 64)
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(seconds * float64(time.Second))
	}
	return total
}

// BenchmarkNote calls Note one by one from many goroutines, as the service does.
func BenchmarkNote(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			s := open(b, "standalone", redistest.Start(b).URL())
			var series atomic.Int64
			at := time.Now()
			b.SetParallelism((callers + 1) / 2)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(series.Add(1))
					m, _ := messages(i, 1)
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					if _, err := s.Note(
						ctx,
						store.NoteRequest{
							Donation:  payment("paypal-live", i, 1, at),
							Message:   m,
							RequestID: m.ID,
							Rules:     defaultRules,
						},
					); err != nil {
						b.Error(err)
					}
					cancel()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notes/s")
		})
	}
}

// BenchmarkFullSeries measures how long Redis takes for a call to a series at its limit:
// 512 notes of one amount with 16 sightings each, as when callers pass a constant as
// series id. known: a message that the last note has seen. refused: a message that
// matches no note.
func BenchmarkFullSeries(b *testing.B) {
	server := redistest.Start(b)
	s := open(b, "standalone", server.URL())
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	now := time.Now()
	ask := func(i, sighting int) store.NoteRequest {
		d := payment("paypal-live", 1, i, now.Add(-time.Duration(i)*2*time.Hour))
		m, _ := messages(sighting, i)
		return store.NoteRequest{Donation: d, Message: m, RequestID: m.ID, Rules: defaultRules}
	}
	for i := range defaultRules.SeriesLimit {
		requests := make([]store.NoteRequest, 16)
		for sighting := range requests {
			requests[sighting] = ask(i, sighting)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if _, errs := s.Notes(ctx, requests); errors.Join(errs...) != nil {
			b.Fatal(errs)
		}
		cancel()
	}
	unknown := ask(0, 99)
	unknown.Donation.TransactionID, unknown.RequestID = "UNKNOWN", "unknown"
	known := ask(defaultRules.SeriesLimit-1, 15)
	known.RequestID = "known"
	for _, c := range []struct {
		name string
		ask  store.NoteRequest
		want error
	}{{"known", known, nil}, {"refused", unknown, store.ErrSeriesFull}} {
		b.Run(c.name, func(b *testing.B) {
			if err := client.ConfigResetStat(ctx(b)).Err(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Note(context.Background(), c.ask); !errors.Is(err, c.want) {
					b.Fatalf("got %v, want %v", err, c.want)
				}
			}
			stats, err := client.Info(context.Background(), "commandstats").Result()
			if err != nil {
				b.Fatal(err)
			}
			_, rest, _ := strings.Cut(stats, "cmdstat_evalsha:")
			_, rest, _ = strings.Cut(rest, "usec_per_call=")
			perCall, _, _ := strings.Cut(rest, ",")
			us, err := strconv.ParseFloat(perCall, 64)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(us, "redis-µs/call")
			b.ReportMetric(0, "ns/op")
		})
	}
}
