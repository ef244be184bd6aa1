package server_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
)

// The limits of the contract, written a second time in another way than the service's.
var (
	fuzzLedger   = regexp.MustCompile(`^[!-~]{0,64}$`)
	fuzzSeries   = regexp.MustCompile(`^[!-~]{1,128}$`)
	fuzzID       = regexp.MustCompile(`^[!-~]{0,128}$`)
	fuzzChannel  = regexp.MustCompile(`^[a-z0-9._-]{0,32}$`)
	fuzzMoney    = regexp.MustCompile(`^-?\d{1,15}(\.\d{1,8})? [A-Z]{3}$|^ $`)
	fuzzEarliest = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	fuzzLatest   = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
)

// expected is the code that the contract requires, on an empty store.
func expected(r *notedv1.NoteDonationRequest) codes.Code {
	d, m := r.Donation, r.Message
	if !fuzzLedger.MatchString(d.Ledger) || !fuzzSeries.MatchString(d.SeriesId) ||
		!fuzzID.MatchString(d.TransactionId) || !fuzzID.MatchString(r.RequestId) ||
		!fuzzMoney.MatchString(d.Amount+" "+d.CurrencyCode) || d.Event < 0 ||
		d.Event > 14 ||
		!fuzzChannel.MatchString(m.Channel) ||
		!fuzzID.MatchString(m.Id) ||
		m.Id != "" && m.Channel == "" {
		return codes.InvalidArgument
	}
	if h := r.Hold; h.Nanos < 0 || h.Nanos > 999999999 || h.Seconds < 0 || h.Seconds > 900 ||
		h.Seconds == 900 && h.Nanos > 0 {
		return codes.InvalidArgument
	}
	if d.OccurredAt == nil {
		return codes.OK
	}
	at := d.OccurredAt.AsTime()
	if n := d.OccurredAt.Nanos; n < 0 || n > 999999999 || at.Before(fuzzEarliest) || at.After(fuzzLatest) {
		return codes.InvalidArgument
	}
	if at = at.Truncate(
		time.Millisecond,
	); !at.After(noon.Add(-server.DefaultRetention)) ||
		at.After(noon.Add(server.DefaultSkewAhead)) {
		return codes.OutOfRange
	}
	return codes.OK
}

// FuzzNote checks that a request is taken if and only if it keeps to the contract, that a
// refused request leaves nothing, and that every call gives a note back exactly as it was
// asked, and never in another ledger or series.
func FuzzNote(f *testing.F) {
	n := startFuzzed(f)
	type seed struct {
		texts           [8]string // in the order of the arguments
		event           int32
		timed           bool
		seconds         int64
		nanos           int32
		hold, holdNanos int64
	}
	whole := seed{
		[8]string{"paypal-live", "I-ABC", "25.00", "EUR", "8XB3", "ipn", "0123456789abcdef0123456789abcdef", "r1"},
		1,
		true,
		noon.Unix() - 5,
		0,
		60,
		0,
	}
	bare := seed{texts: [8]string{"", "x"}}
	add := func(s seed, change func(*seed)) { // one change, so that only it can be the reason of a refusal
		change(&s)
		x := s.texts
		f.Add(
			x[0],
			x[1],
			s.event,
			s.timed,
			s.seconds,
			s.nanos,
			x[2],
			x[3],
			x[4],
			x[5],
			x[6],
			x[7],
			s.hold,
			int32(s.holdNanos),
		)
	}
	for place := range whole.texts {
		for _, text := range []string{
			"", " ", "a b", "I\x00A", "I\n", "\x1b[31m", "\x7f", "é", "\u2028", "}", "{noted:{", "noted:{epoch}", "*", "[^a]?\\", "-", "=", ".", "*a", ":", "a:b", "~", "0",
			"-0.1", "1.", "1e3", "000000000000001.00000000", "EURO", "usd", "JPY", "WH-00000000000000000-ZZZZZZZZZZZZZZZZZ", strings.Repeat("a", 32), strings.Repeat("a", 33),
			strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a", 128), strings.Repeat("a", 129),
		} {
			add(whole, func(s *seed) { s.texts[place] = text })
			add(bare, func(s *seed) { s.texts[place] = text })
		}
	}
	for _, event := range []int32{-1, 0, 14, 15, 1 << 30} {
		add(whole, func(s *seed) { s.event = event })
	}
	for _, after := range []time.Duration{
		-server.DefaultRetention, -server.DefaultRetention + time.Millisecond, 0, server.DefaultSkewAhead,
		server.DefaultSkewAhead + time.Millisecond,
	} {
		add(whole, func(s *seed) { s.seconds, s.nanos = noon.Add(after).Unix(), int32(noon.Add(after).Nanosecond()) })
	}
	for _, seconds := range []int64{
		0, fuzzEarliest.Unix() - 1, fuzzEarliest.Unix(), fuzzLatest.Unix(), fuzzLatest.Unix() + 1, 1<<63 - 1,
		-1 << 63,
	} {
		add(whole, func(s *seed) { s.seconds = seconds })
		add(whole, func(s *seed) { s.seconds, s.nanos = seconds, 1 })
	}
	for _, nanos := range []int32{-1, 1, 999_999, 1_000_000, 999_999_999, 1_000_000_000} {
		add(whole, func(s *seed) { s.nanos = nanos })
		add(whole, func(s *seed) { s.holdNanos = int64(nanos) })
	}
	for _, hold := range []int64{-1, 0, 1, 900, 901, 1<<63 - 1, -1 << 63} {
		add(whole, func(s *seed) { s.hold = hold })
		add(whole, func(s *seed) { s.hold, s.holdNanos = hold, 1 })
	}
	f.Fuzz(
		func(t *testing.T, ledger, series string, event int32, timed bool, seconds int64, nanos int32, amount, currency, transaction, channel, id, request string,
			hold int64, holdNanos int32,
		) {
			for _, text := range []string{ledger, series, amount, currency, transaction, channel, id, request} {
				if !utf8.ValidString(text) {
					t.Skip("these are not the bytes of a message, which FuzzWire tries")
				}
			}
			r := &notedv1.NoteDonationRequest{
				Donation: &notedv1.Donation{
					Ledger:        ledger,
					SeriesId:      series,
					Event:         notedv1.Event(event),
					Amount:        amount,
					CurrencyCode:  currency,
					TransactionId: transaction,
				},
				Message: &notedv1.Message{
					Channel: channel,
					Id:      id,
				},
				RequestId: request,
				Hold:      &durationpb.Duration{Seconds: hold, Nanos: holdNanos},
			}
			if timed {
				r.Donation.OccurredAt = &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
			}
			got, err := n.NoteDonation(t.Context(), r)
			if want := expected(r); status.Code(err) != want {
				t.Fatalf("NoteDonation(%v): %v, want %v", r, err, want)
			}
			if err != nil {
				if left := n.contents(t); len(left) > 0 {
					t.Errorf("NoteDonation(%v): %v, and it leaves %v", r, err, left)
					n.putBack(t, nil)
				}
				return
			}
			defer n.putBack(t, nil)
			n.toldAsAsked(t, r, got)
		},
	)
}

// toldAsAsked compares a request with its answer, and with all later answers about its
// note.
func (n fuzzed) toldAsAsked(t *testing.T, r *notedv1.NoteDonationRequest, got *notedv1.NoteDonationResponse) {
	t.Helper()
	d := r.Donation
	note := &notedv1.Note{
		DonationId: got.Note.DonationId,
		Donation: &notedv1.Donation{
			Ledger:        d.Ledger,
			SeriesId:      d.SeriesId,
			Event:         max(d.Event, 1),
			Amount:        d.Amount,
			CurrencyCode:  d.CurrencyCode,
			TransactionId: d.TransactionId,
		},
		Sightings: []*notedv1.Sighting{
			{Message: r.Message, TransactionId: d.TransactionId, SeenAt: timestamppb.New(noon)},
		},
		State:    notedv1.State_STATE_SETTLED,
		NotedAt:  timestamppb.New(noon),
		ForgetAt: timestamppb.New(noon.Add(server.DefaultRetention)),
		Attempt:  1,
	}
	if d.OccurredAt != nil {
		at := d.OccurredAt.AsTime().Truncate(time.Millisecond)
		note.Donation.OccurredAt = timestamppb.New(at)
		if at.After(noon) {
			note.ForgetAt = timestamppb.New(at.Add(server.DefaultRetention))
		}
	}
	if hold := r.Hold.AsDuration(); hold > 0 {
		note.State, note.HeldUntil = notedv1.State_STATE_HELD, timestamppb.New(
			noon.Add(hold+time.Millisecond-1).Truncate(time.Millisecond),
		)
	}
	want := &notedv1.NoteDonationResponse{
		Verdict:  notedv1.Verdict_VERDICT_FIRST,
		Evidence: notedv1.Evidence_EVIDENCE_NEW,
		Note:     note,
		Receipt:  got.Receipt,
	}
	if diff := cmp.Diff(
		want,
		got,
		protocmp.Transform(),
	); diff != "" || (got.Receipt == "") != (note.State == notedv1.State_STATE_SETTLED) ||
		got.Note.DonationId == "" {
		t.Fatalf("NoteDonation(%v) (-want +got):\n%s\nand the receipt %q", r, diff, got.Receipt)
	}

	if keys := n.contents(t); len(keys) != 1 || keys["noted:{"+d.Ledger+" "+d.SeriesId+"}"].Left <= 0 {
		t.Errorf("NoteDonation(%v) is kept as %v", r, keys)
	}
	looked, err := n.DonationExists(t.Context(), &notedv1.DonationExistsRequest{Donation: d, Message: r.Message})
	if err != nil || !looked.Exists || cmp.Diff(note, looked.Note, protocmp.Transform()) != "" {
		t.Errorf("DonationExists = %v, %v, want %v", looked, err, note)
	}
	for _, series := range []string{d.SeriesId, ""} {
		page, err := n.ListDonations(t.Context(), &notedv1.ListDonationsRequest{Ledger: d.Ledger, SeriesId: series})
		if err != nil || len(page.Notes) != 1 || cmp.Diff(note, page.Notes[0], protocmp.Transform()) != "" ||
			page.NextPageToken != "" {
			t.Errorf("ListDonations(%q, %q) = %v, %v, want %v", d.Ledger, series, page, err, note)
		}
	}
	for _, other := range [][2]string{
		{d.Ledger + "x", d.SeriesId},
		{d.Ledger, d.SeriesId + "x"},
		{"x" + d.Ledger, d.SeriesId},
		{d.SeriesId, d.Ledger + "x"},
		{d.Ledger + d.SeriesId[:1], d.SeriesId[1:]},
		{d.Ledger, strings.ToLower(d.SeriesId)},
		{strings.ToUpper(d.Ledger), d.SeriesId},
	} {
		if other[0] == d.Ledger && other[1] == d.SeriesId || !fuzzLedger.MatchString(other[0]) ||
			!fuzzSeries.MatchString(other[1]) {
			continue
		}
		elsewhere := &notedv1.DonationExistsRequest{
			Donation: &notedv1.Donation{Ledger: other[0], SeriesId: other[1], Event: d.Event},
		}
		if looked, err := n.DonationExists(t.Context(), elsewhere); err != nil || looked.Note != nil {
			t.Errorf(
				"DonationExists(%q) = %v, %v, want nothing: the note is in %q",
				other,
				looked,
				err,
				[2]string{d.Ledger, d.SeriesId},
			)
		}
	}

	wanted := notedv1.Verdict_VERDICT_DUPLICATE // a request that names no id is a request of its own
	switch {
	case r.RequestId != "":
		wanted = notedv1.Verdict_VERDICT_FIRST
	case got.Receipt != "":
		wanted = notedv1.Verdict_VERDICT_HELD
	}
	if again, err := n.NoteDonation(
		t.Context(),
		r,
	); err != nil || again.Verdict != wanted ||
		r.RequestId != "" && again.Receipt != got.Receipt {
		t.Errorf("NoteDonation(%v) again = %v, %v, want %v", r, again, err, wanted)
	}
	if got.Receipt != "" {
		if settled, err := n.SettleDonation(
			context.Background(),
			&notedv1.SettleDonationRequest{Receipt: got.Receipt},
		); err != nil ||
			settled.Note.DonationId != note.DonationId {
			t.Errorf("SettleDonation = %v, %v, want %s", settled, err, note.DonationId)
		}
	}
	forgotten, err := n.ForgetDonation(
		t.Context(),
		&notedv1.ForgetDonationRequest{
			Ledger:     d.Ledger,
			SeriesId:   d.SeriesId,
			DonationId: note.DonationId,
			Reason:     "test",
		},
	)
	at, _, _ := strings.Cut(note.DonationId, "-") // the name, which no later note may take
	left := n.contents(t)
	if err != nil || forgotten.Note.DonationId != note.DonationId || len(left) != 1 ||
		left["noted:{"+d.Ledger+" "+d.SeriesId+"}"].Value != "1~"+at {
		t.Errorf("ForgetDonation = %v, %v, and %v is left", forgotten, err, left)
	}
}
