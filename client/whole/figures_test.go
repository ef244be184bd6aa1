//go:build whole

package whole_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
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

const (
	onces    = 2000 // calls of a kind that are timed in each language
	messages = 1500 // requests of a kind to each receiver
)

// BenchmarkLanguages prints two tables for client/README.md. The first has the times of once
// in each language, beside an empty call of the same language. The second has how many
// messages a second each receiver takes, beside requests that it refuses before it reads
// them. One caller asks; the receivers have sixteen. All programs share the machine, so only
// ratios of one run count.
func BenchmarkLanguages(b *testing.B) {
	python, nodeJS := prepared(b)
	calm := newChance(1)
	calm.calm = true
	w := &whole{t: b, ctx: b.Context(), chance: calm}
	w.payPal = newPayPal(b, calm)
	w.books = newBooks(b, calm)
	w.start(python, nodeJS)

	row("", "empty call p50", "p99", "`once` p50", "p99")
	row("---", "---", "---", "---", "---")
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
		row(language.name, at(empty, 50), at(empty, 99), at(once, 50), at(once, 99))
	}
	fmt.Println()
	row("receiver", "channel", "messages a second", "empty requests a second")
	row("---", "---", "---", "---")
	for _, place := range []struct{ language, name, channel string }{
		{"Go, the gateway", gate, "ipn"},
		{"Go, the gateway", gate, "webhook"},
		{"Python, under wsgiref", wsgi, "webhook"},
		{"Node, in node:http", node, "ipn"},
		{"Node, in node:http", node, "webhook"},
		{"PHP, under php -S", php, "ipn"},
	} {
		taken, empty := w.rate(place.name, place.channel), w.emptyRate(place.name, place.channel)
		row(place.language, place.channel, fmt.Sprintf("%.0f", taken), fmt.Sprintf("%.0f", empty))
	}
	b.ReportMetric(0, "ns/op")
}

// row prints a row of a table in Markdown.
func row(cells ...string) {
	fmt.Printf("| %s |\n", strings.Join(cells, " | "))
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

func at(sorted []time.Duration, percent int) string {
	return fmt.Sprintf("%.2f ms", sorted[len(sorted)*percent/100].Seconds()*1000)
}

// rate is how many genuine messages, each of a donation of its own, a receiver takes in a
// second.
func (w *whole) rate(place, channel string) float64 {
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
	return perSecond(func(i int) bool {
		status, said, err := post(w.ctx, "http://"+w.places[place].Addr, all[i])
		if err != nil || status != http.StatusOK {
			w.t.Errorf("%s: %d %s %v", place, status, said, err)
		}
		return err == nil && status == http.StatusOK
	})
}

// emptyRate is how many requests a receiver refuses in a second because of their method.
func (w *whole) emptyRate(place, channel string) float64 {
	return perSecond(func(int) bool {
		request := must(http.NewRequestWithContext(w.ctx, http.MethodGet, "http://"+w.places[place].Addr+"/paypal/"+channel, nil))
		request.Close = true // as the messages' connections are
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			w.t.Errorf("%s: %v", place, err)
			return false
		}
		defer response.Body.Close()
		io.Copy(io.Discard, response.Body)
		if response.StatusCode != http.StatusMethodNotAllowed {
			w.t.Errorf("%s: GET was answered %d, want 405", place, response.StatusCode)
		}
		return response.StatusCode == http.StatusMethodNotAllowed
	})
}

// perSecond is how often sixteen callers can ask in a second. A caller that is not answered
// well stops.
func perSecond(ask func(i int) bool) float64 {
	const callers = 16
	var next atomic.Int64
	var callersEnd sync.WaitGroup
	began := time.Now()
	for range callers {
		callersEnd.Go(func() {
			for i := next.Add(1) - 1; i < messages && ask(int(i)); i = next.Add(1) - 1 {
			}
		})
	}
	callersEnd.Wait()
	return messages / time.Since(began).Seconds()
}
