package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
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

// noteMethod is the method of most dialogues.
var noteMethod = []string{notedv1.DedupeService_NoteDonation_FullMethodName}

// empty is gRPC's health check: what gRPC alone costs.
func empty(r *running) load {
	return dialogue{
		methods: []string{healthpb.Health_Check_FullMethodName},
		ask:     func(_, _ int, request []byte) ([]byte, int) { return request, 0 },
		check: func(_ int, answer []byte) error {
			return right(answer, []byte{1 << 3, byte(healthpb.HealthCheckResponse_SERVING)})
		},
	}.load(r)
}

// right returns an error unless an answer begins as it must.
func right(answer, want []byte) error {
	if !bytes.HasPrefix(answer, want) {
		return fmt.Errorf("an answer is %q, want that it begins with %q", answer, want)
	}
	return nil
}

// is returns an error unless an answer to NoteDonation has this verdict, which is its
// first field.
func is(answer []byte, verdict notedv1.Verdict) error {
	return right(answer, []byte{1 << 3, byte(verdict)})
}

// marshal appends a message.
func marshal(request []byte, m proto.Message) []byte {
	request, err := proto.MarshalOptions{}.MarshalAppend(request, m)
	if err != nil {
		panic(err) // only for text that is not UTF-8
	}
	return request
}

// fresh notes donations in series of their own.
func fresh(r *running) load {
	said := newSaid()
	return dialogue{
		methods: noteMethod,
		ask:     func(_, i int, request []byte) ([]byte, int) { return said.alone(request, i), 0 },
		check:   func(_ int, answer []byte) error { return is(answer, first) },
	}.load(r)
}

// onTwoChannels notes each donation twice, by IPN and by webhook: every second call is
// FIRST.
func onTwoChannels(r *running) load {
	said, last := newSaid(), make([]int, most) // 0 if the next message is a donation's first
	return dialogue{
		methods: noteMethod,
		ask: func(caller, i int, request []byte) ([]byte, int) {
			if donation := last[caller]; donation != 0 {
				last[caller] = 0
				return marshal(request, byWebhook(alone(donation), donation)), 0
			}
			last[caller] = i
			return said.alone(request, i), 0
		},
		check: func(caller int, answer []byte) error {
			if last[caller] == 0 {
				return is(answer, duplicate)
			}
			return is(answer, first)
		},
	}.load(r)
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
	return dialogue{
		methods: noteMethod,
		ask: func(_, i int, request []byte) ([]byte, int) {
			s, n := i%series, i/series%notes
			return marshal(request, byWebhook(ask(s, n), s*notes+n)), 0
		},
		check: func(_ int, answer []byte) error { return is(answer, duplicate) },
	}.load(r)
}

// exists looks at known donations.
func exists(r *running) load {
	const noted = 1000
	for i := range noted {
		if err := note(r.client(i), alone(i), first); err != nil {
			r.fail(err)
		}
	}
	return dialogue{
		methods: []string{notedv1.DedupeService_DonationExists_FullMethodName},
		ask: func(_, i int, request []byte) ([]byte, int) {
			known := alone(i % noted)
			return marshal(request, &notedv1.DonationExistsRequest{
				Donation: known.GetDonation(), Message: known.GetMessage(),
			}), 0
		},
		check: func(_ int, answer []byte) error { return right(answer, []byte{1 << 3, 1}) }, // exists is true
	}.load(r)
}

// holdExtendSettle holds a donation, extends the hold and settles it: three calls.
func holdExtendSettle(r *running) load {
	const held, extended, settled = 0, 1, 2
	receipts, last := make([]string, most), slices.Repeat([]int{settled}, most)
	hold := durationpb.New(time.Minute)
	return dialogue{
		methods: []string{
			notedv1.DedupeService_NoteDonation_FullMethodName, notedv1.DedupeService_ExtendHold_FullMethodName,
			notedv1.DedupeService_SettleDonation_FullMethodName,
		},
		ask: func(caller, i int, request []byte) ([]byte, int) {
			last[caller] = (last[caller] + 1) % 3
			switch last[caller] {
			case held:
				ask := alone(i)
				ask.Hold = hold
				request = marshal(request, ask)
			case extended:
				request = marshal(request, &notedv1.ExtendHoldRequest{Receipt: receipts[caller], Hold: hold})
			case settled:
				request = marshal(request, &notedv1.SettleDonationRequest{Receipt: receipts[caller]})
			}
			return request, last[caller]
		},
		check: func(caller int, answer []byte) error {
			if last[caller] != held {
				return nil
			}
			var response notedv1.NoteDonationResponse
			err := proto.Unmarshal(answer, &response)
			if receipts[caller] = response.GetReceipt(); err == nil && receipts[caller] == "" {
				err = fmt.Errorf("a held donation has no receipt: %v", &response)
			}
			return err
		},
	}.load(r)
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
	entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "series")
	entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), seriesID(0))
	descriptor := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)
	said := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "bench")
	said = protowire.AppendBytes(protowire.AppendTag(said, 2, protowire.BytesType), descriptor)
	return dialogue{
		methods: []string{"/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"},
		ask: func(_, i int, request []byte) ([]byte, int) {
			request = append(request, said...)
			number(request, i, 10) // the key is last
			return request, 0
		},
		check: func(_ int, answer []byte) error { return right(answer, []byte{1 << 3, 1}) }, // overall_code is OK
	}.load(r)
}

// said is a donation of its own as bytes, in which only numbers change. Writing it anew
// would cost the generator more than all the rest.
type said struct {
	bytes                        []byte
	series, transaction, message int // where its numbers end
}

func newSaid() said {
	const marked = 123456789
	s := said{bytes: marshal(nil, alone(marked))}
	end := func(text string) int { return bytes.Index(s.bytes, []byte(text)) + len(text) }
	ask := alone(marked)
	s.series = end(ask.GetDonation().GetSeriesId())
	s.transaction = end(ask.GetDonation().GetTransactionId())
	s.message = end(ask.GetMessage().GetId())
	return s
}

// alone appends the message alone(i), with the time at which the load was made.
func (s said) alone(request []byte, i int) []byte {
	at := len(request)
	request = append(request, s.bytes...)
	number(request[:at+s.series], i, 10)
	number(request[:at+s.transaction], i, 10)
	number(request[:at+s.message], i, 16)
	return request
}

// number overwrites the last nine characters of a text with those of a number.
func number(text []byte, i, base int) {
	for at := len(text) - 1; at > len(text)-10; at-- {
		text[at] = "0123456789abcdef"[i%base]
		i /= base
	}
}
