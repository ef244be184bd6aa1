package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// month is the time between two payments of a series that has many. It is short enough
// for all of their notes to live.
const month = 23 * time.Hour

// payment is the i-th payment of a series, told by IPN, with ids as long as PayPal's.
func payment(series string, i int, at time.Time) *notedv1.NoteDonationRequest {
	return &notedv1.NoteDonationRequest{
		Donation: &notedv1.Donation{
			Ledger: "paypal-live", SeriesId: series, OccurredAt: timestamppb.New(at.Truncate(time.Second)),
			Amount: "25.00", CurrencyCode: "USD", TransactionId: fmt.Sprintf("%017d", i),
		},
		Message: &notedv1.Message{Channel: "ipn", Id: fmt.Sprintf("%032x", i)},
	}
}

// alone is a payment in a series of its own.
func alone(i int) *notedv1.NoteDonationRequest { return payment(seriesID(i), i, time.Now()) }

func seriesID(i int) string { return fmt.Sprintf("I-%012d", i) }

// byWebhook tells of the same payment by webhook.
func byWebhook(r *notedv1.NoteDonationRequest, i int) *notedv1.NoteDonationRequest {
	r.Message = &notedv1.Message{Channel: "webhook", Id: fmt.Sprintf("WH-%017d-%017d", i, i)}
	return r
}

// note notes, and fails unless the verdict is the right one.
func note(client notedv1.DedupeServiceClient, r *notedv1.NoteDonationRequest, want notedv1.Verdict) error {
	response, err := client.NoteDonation(context.Background(), r)
	if err == nil && response.GetVerdict() != want {
		err = fmt.Errorf("the verdict on %v is %v, want %v", r, response.GetVerdict(), want)
	}
	return err
}

const (
	first     = notedv1.Verdict_VERDICT_FIRST
	duplicate = notedv1.Verdict_VERDICT_DUPLICATE
)

// empty is gRPC's health check: what gRPC alone costs.
func empty(r *running) load {
	return each(func(caller, _ int) error {
		_, err := healthpb.NewHealthClient(r.conns[caller%len(r.conns)]).
			Check(context.Background(), &healthpb.HealthCheckRequest{})
		return err
	})
}

// fresh notes donations in series of their own.
func fresh(r *running) load {
	return each(func(caller, i int) error { return note(r.client(caller), alone(i), first) })
}

// onTwoChannels notes each donation twice, by IPN and by webhook: every second call is
// FIRST.
func onTwoChannels(r *running) load {
	last := make([]int, most)
	return each(func(caller, i int) error {
		if donation := last[caller]; donation != 0 {
			last[caller] = 0
			return note(r.client(caller), byWebhook(alone(donation), donation), duplicate)
		}
		last[caller] = i
		return note(r.client(caller), alone(i), first)
	})
}

// fortyFive repeats messages in series that hold 45 notes of two sightings each.
func fortyFive(r *running) load {
	const series, notes = 64, 45
	now := time.Now()
	ask := func(s, n int) *notedv1.NoteDonationRequest {
		return payment(seriesID(s), s*notes+n, now.Add(-time.Duration(n)*month))
	}
	for s := range series {
		for n := range notes {
			i := s*notes + n
			if err := note(r.client(s), ask(s, n), first); err != nil {
				r.fail(err)
			}
			if err := note(r.client(s), byWebhook(ask(s, n), i), duplicate); err != nil {
				r.fail(err)
			}
		}
	}
	return each(func(caller, i int) error {
		s, n := i%series, i/series%notes
		return note(r.client(caller), byWebhook(ask(s, n), s*notes+n), duplicate)
	})
}

// exists looks at known donations.
func exists(r *running) load {
	const noted = 1000
	for i := range noted {
		if err := note(r.client(i), alone(i), first); err != nil {
			r.fail(err)
		}
	}
	return each(func(caller, i int) error {
		ask := alone(i % noted)
		response, err := r.client(caller).DonationExists(context.Background(),
			&notedv1.DonationExistsRequest{Donation: ask.GetDonation(), Message: ask.GetMessage()})
		if err == nil && !response.GetExists() {
			err = fmt.Errorf("%v does not exist", ask)
		}
		return err
	})
}

// holdExtendSettle holds a donation, extends the hold and settles it: three calls.
func holdExtendSettle(r *running) load {
	receipts, extended := make([]string, most), make([]bool, most)
	return each(func(caller, i int) error {
		client, receipt := r.client(caller), receipts[caller]
		hold := durationpb.New(time.Minute)
		switch {
		case receipt == "":
			ask := alone(i)
			ask.Hold = hold
			response, err := client.NoteDonation(context.Background(), ask)
			receipts[caller] = response.GetReceipt()
			return err
		case !extended[caller]:
			extended[caller] = true
			_, err := client.ExtendHold(context.Background(), &notedv1.ExtendHoldRequest{Receipt: receipt, Hold: hold})
			return err
		}
		receipts[caller], extended[caller] = "", false
		_, err := client.SettleDonation(context.Background(), &notedv1.SettleDonationRequest{Receipt: receipt})
		return err
	})
}

// door is the load fresh at the JSON door.
func door(r *running) load {
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: most}}
	return each(func(_, i int) error {
		body, err := protojson.Marshal(alone(i))
		if err != nil {
			return err
		}
		return post(web, "http://"+r.door+notedv1.DedupeService_NoteDonation_FullMethodName, "application/json", body,
			`"VERDICT_FIRST"`)
	})
}

// post posts a body and fails unless the answer is 200 and holds what is wanted.
func post(web *http.Client, to, contentType string, body []byte, want string) error {
	response, err := web.Post(to, contentType, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(want))) {
		code := codes.Unknown
		if response.StatusCode >= http.StatusServiceUnavailable {
			code = codes.Unavailable
		}
		err = status.Errorf(code, "%s answered %d %s", to, response.StatusCode, answer)
	}
	return err
}

// stream is the load fresh on one stream, with many requests on the way.
func stream(r *running) load {
	made := 0
	return func(_ int, span time.Duration) (took []time.Duration, err error) {
		stream, err := r.client(0).NoteDonations(context.Background())
		if err != nil {
			return nil, err
		}
		sent := make(chan time.Time, 1024)
		go func() {
			defer close(sent)
			for end := time.Now().Add(span); ; {
				began := time.Now()
				if !began.Before(end) {
					break
				}
				made++
				sent <- began
				if stream.Send(&notedv1.NoteDonationsRequest{Request: alone(made)}) != nil {
					return // Recv has the error
				}
			}
			stream.CloseSend()
		}()
		for began := range sent {
			answer, err := stream.Recv()
			if err != nil || answer.GetResponse().GetVerdict() != first {
				return nil, fmt.Errorf("a streamed answer is %v, %w", answer, err)
			}
			took = append(took, time.Since(began))
		}
		return took, nil
	}
}

// ipns posts IPNs to the gateway, which asks PayPal's stand-in and the server, and
// delivers each donation downstream.
func ipns(r *running) load {
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: most}}
	return each(func(_, i int) error {
		id := fmt.Sprintf("%017d", i)
		return post(web, "http://"+r.gateway+"/paypal/ipn", "application/x-www-form-urlencoded", []byte(url.Values{
			"txn_type": {"subscr_payment"}, "subscr_id": {seriesID(i)}, "txn_id": {id}, "payment_status": {"Completed"},
			"mc_gross": {"25.00"}, "mc_currency": {"USD"}, "receiver_email": {account}, "charset": {"utf-8"},
			"payment_date": {time.Now().UTC().Format("15:04:05 Jan 02, 2006 MST")},
			"ipn_track_id": {strconv.Itoa(i)},
		}.Encode()), "")
	})
}

// shouldRateLimit is the load fresh for the relative: each call asks about a new key. Its
// messages are written by hand, since its module must not become a dependency of ours.
func shouldRateLimit(r *running) load {
	return each(func(caller, i int) error {
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "series")
		entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), seriesID(i))
		descriptor := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)
		ask := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "bench")
		ask = protowire.AppendBytes(protowire.AppendTag(ask, 2, protowire.BytesType), descriptor)
		var answer []byte
		err := r.conns[caller%len(r.conns)].Invoke(context.Background(),
			"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", &ask, &answer, grpc.ForceCodecV2(raw{}))
		if err == nil && !bytes.HasPrefix(answer, []byte{1 << 3, 1}) { // overall_code is OK
			err = fmt.Errorf("the relative answered %q", answer)
		}
		return err
	})
}

// raw is the codec of messages that are bytes already.
type raw struct{ encoding.CodecV2 }

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*message.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}
