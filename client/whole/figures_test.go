//go:build whole

package whole_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
)

// onces is how many calls of a kind are timed in each language.
const onces = 2000

// BenchmarkLanguages prints what once costs in each language, beside an empty call of the
// same language, and how many messages a second each receiver takes. One caller asks; the
// receivers have sixteen. All programs share the machine, so only ratios of one run count.
func BenchmarkLanguages(b *testing.B) {
	python, nodeJS := prepared(b)
	calm := newChance(1)
	calm.calm = true
	w := &whole{t: b, ctx: b.Context(), chance: calm}
	w.payPal = newPayPal(b, calm)
	w.books = newBooks(b, calm)
	w.start(python, nodeJS)

	fmt.Printf("%-8s %12s %12s %12s %12s\n", "", "empty p50", "empty p99", "once p50", "once p99")
	for _, language := range []struct {
		name    string
		command []string
	}{
		{"Go", nil},
		{"Python", []string{python, "once.py", w.noted.Addr}},
		{"Node", []string{nodeJS, "once.mjs", w.noted.Addr}},
		{"PHP", []string{"php", "once.php", w.door}},
	} {
		empty, once := times(b, w.noted.Addr, language.command)
		fmt.Printf("%-8s %12s %12s %12s %12s\n", language.name, at(empty, 50), at(empty, 99), at(once, 50), at(once, 99))
	}
	fmt.Println()
	for _, place := range []struct{ name, channel string }{
		{gate, "ipn"}, {gate, "webhook"}, {wsgi, "webhook"}, {node, "ipn"}, {node, "webhook"}, {php, "ipn"},
	} {
		fmt.Printf("%-8s %-8s %6.0f messages a second\n", place.name, place.channel, w.rate(place.name, place.channel))
	}
	b.ReportMetric(0, "ns/op")
}

// times are the times of empty calls and of once, sorted, in a program or in Go.
func times(b *testing.B, addr string, command []string) (empty, once []time.Duration) {
	var seconds [2][]float64
	if command == nil {
		seconds = timesInGo(b, addr)
	} else {
		program := exec.CommandContext(b.Context(), command[0], append(command[1:], strconv.Itoa(onces))...)
		out, err := program.Output()
		if err == nil {
			err = json.Unmarshal(out, &seconds)
		}
		if err != nil {
			b.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	var sorted [2][]time.Duration
	for i, list := range seconds {
		if len(list) != onces {
			b.Fatalf("%v timed %d calls, want %d", command, len(list), onces)
		}
		for _, s := range list[onces/10:] { // the first warm up
			sorted[i] = append(sorted[i], time.Duration(s*float64(time.Second)))
		}
		slices.Sort(sorted[i])
	}
	return sorted[0], sorted[1]
}

func timesInGo(b *testing.B, addr string) (seconds [2][]float64) {
	connection := must(grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer connection.Close()
	noted := must(client.New(addr, client.Config{}))
	defer noted.Close()
	health := healthpb.NewHealthClient(connection)
	for i, call := range []func(int) error{
		func(int) error {
			_, err := health.Check(b.Context(), &healthpb.HealthCheckRequest{})
			return err
		},
		func(n int) error {
			donation := &client.Donation{SeriesId: fmt.Sprint("go-", n), Ledger: "figures"}
			verdict, err := noted.Once(b.Context(), donation, nil, func(context.Context, *client.Note) error { return nil })
			if err == nil && verdict != client.First {
				err = fmt.Errorf("%v, want FIRST", verdict)
			}
			return err
		},
	} {
		for n := range onces {
			began := time.Now()
			if err := call(n); err != nil {
				b.Fatal(err)
			}
			seconds[i] = append(seconds[i], time.Since(began).Seconds())
		}
	}
	return seconds
}

func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[len(sorted)*percent/100].Round(10 * time.Microsecond)
}

// rate is how many genuine messages, each of a donation of its own, a receiver takes in a
// second.
func (w *whole) rate(place, channel string) float64 {
	const messages, callers = 1500, 16
	var all []delivery
	for i := range messages {
		series, now := fmt.Sprintf("I-%s%s%d", place, channel, i), time.Now()
		d := delivery{place: place}
		if channel == "ipn" {
			d.Delivery = w.payPal.IPN(url.Values{
				"txn_type": {"recurring_payment"}, "payment_status": {"Completed"}, "recurring_payment_id": {series},
				"txn_id": {series}, "mc_gross": {"25.00"}, "mc_currency": {"EUR"}, "receiver_id": {account},
				"custom": {"whole-0001"}, "payment_date": {paypaltest.Pacific(now)},
			})
		} else {
			d.Delivery = webhook(w.payPal, fmt.Sprintf(`{"id":"WH-%s","create_time":%q,"event_type":"PAYMENT.SALE.COMPLETED",`+
				`"resource":{"id":%[1]q,"billing_agreement_id":%[1]q,"state":"completed","custom":"whole-0001",`+
				`"create_time":%[2]q,"amount":{"total":"25.00","currency":"EUR"}}}`, series, now.UTC().Format(time.RFC3339)), now)
		}
		all = append(all, d)
	}
	var next atomic.Int64
	var callersEnd sync.WaitGroup
	began := time.Now()
	for range callers {
		callersEnd.Go(func() {
			for i := next.Add(1) - 1; i < messages; i = next.Add(1) - 1 {
				status, said, err := post(w.ctx, "http://"+w.places[place].Addr, all[i])
				if err != nil || status != http.StatusOK {
					w.t.Errorf("%s: %d %s %v", place, status, said, err)
					return
				}
			}
		})
	}
	callersEnd.Wait()
	return messages / time.Since(began).Seconds()
}
