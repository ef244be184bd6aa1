package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// After a server has died between two pages, or during the first, no listing looks
// complete.
func TestListOfAServerThatDies(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		b := newBetween(t)
		b.page = func(n int) (*notedv1.ListDonationsResponse, error) {
			if n > 1 {
				b.stop()
				return nil, status.Error(codes.Unavailable, "going away")
			}
			return &notedv1.ListDonationsResponse{NextPageToken: "more", Notes: []*notedv1.Note{
				{DonationId: "d-1", Donation: &notedv1.Donation{SeriesId: "I-EXAMPLE1"}, NotedAt: timestamppb.Now()},
			}}, nil
		}
		code, stdout, stderr := b.run("", "-o", format, "-timeout", "1s", "list")
		if code != exitError || strings.Count(stdout, "I-EXAMPLE1") != 1 || strings.Contains(stderr, "no such notes") ||
			!strings.Contains(stderr, "notectl: the listing broke off: there may be more notes than these\n") ||
			!strings.Contains(stderr, "notectl: listing: Unavailable: ") {
			t.Errorf(
				"%s: got %d %s%s, want %d, the note, and that there may be more",
				format,
				code,
				stdout,
				stderr,
				exitError,
			)
		}
		code, stdout, stderr = b.run("", "-o", format, "-timeout", "1s", "list")
		if code != exitError || stdout != "" || strings.Contains(stderr, "no such notes") ||
			strings.Contains(stderr, "broke off") || !strings.Contains(stderr, "notectl: listing: Unavailable: ") {
			t.Errorf(
				"%s, without a server: got %d %s%s, want %d and the error",
				format,
				code,
				stdout,
				stderr,
				exitError,
			)
		}
	}
}

// A first page that fails does not look like an empty listing.
func TestListThatFailsIsNotEmpty(t *testing.T) {
	for reason, code := range map[string]codes.Code{
		"STORE_UNAVAILABLE": codes.Unavailable, "STORE_WENT_BACK": codes.Unavailable, "OVERLOADED": codes.ResourceExhausted,
		"STORE_UNSUITABLE": codes.FailedPrecondition, "LEDGER_DENIED": codes.PermissionDenied, "INTERNAL": codes.Internal,
		"UNAUTHENTICATED": codes.Unauthenticated, "INVALID_REQUEST": codes.InvalidArgument,
	} {
		b := newBetween(t)
		b.page = func(n int) (*notedv1.ListDonationsResponse, error) { // an empty page is not the last
			if n > 1 {
				return nil, trouble(code, reason)
			}
			return &notedv1.ListDonationsResponse{NextPageToken: "more"}, nil
		}
		got, stdout, stderr := b.run("", "-timeout", "500ms", "list")
		if got != exitError || stdout != "" || strings.Contains(stderr, "no such notes") ||
			!strings.Contains(stderr, reason) {
			t.Errorf("%s: got %d %s%s, want %d and the reason", reason, got, stdout, stderr, exitError)
		}
	}
	b := newBetween(t)
	b.page = func(int) (*notedv1.ListDonationsResponse, error) { return &notedv1.ListDonationsResponse{}, nil }
	if code, _, stderr := b.run("", "list"); code != exitFirst || stderr != "notectl: no such notes\n" {
		t.Errorf("an empty listing: got %d %s, want %d and \"no such notes\"", code, stderr, exitFirst)
	}
}

// A sorted listing that breaks off shows the gathered notes, and no count. A note that the
// server sends twice is counted and sorted once.
func TestListGathers(t *testing.T) {
	newer := &notedv1.Note{
		DonationId: "d-2", Donation: &notedv1.Donation{SeriesId: "I-EXAMPLE2"},
		NotedAt: timestamppb.New(time.Now()),
	}
	older := &notedv1.Note{
		DonationId: "d-1", Donation: &notedv1.Donation{SeriesId: "I-EXAMPLE1"},
		NotedAt: timestamppb.New(time.Now().Add(-time.Hour)),
	}
	for _, c := range []struct {
		args   []string
		broken bool
		code   int
		want   string // of stdout
	}{
		{[]string{"list", "-count"}, false, exitFirst, `^2\n$`},
		{[]string{"list", "-count"}, true, exitError, `^$`},
		{[]string{"list", "-sort", "noted", "-o", "json"}, false, exitFirst, `^\{"donation_id":"d-1".*\n.*"d-2".*\n$`},
		{[]string{"list", "-sort", "noted", "-o", "json"}, true, exitError, `^\{"donation_id":"d-1".*\n.*"d-2".*\n$`},
	} {
		b := newBetween(t)
		b.page = func(n int) (*notedv1.ListDonationsResponse, error) {
			switch {
			case n == 1:
				return &notedv1.ListDonationsResponse{NextPageToken: "more", Notes: []*notedv1.Note{newer, older}}, nil
			case n == 2:
				return &notedv1.ListDonationsResponse{NextPageToken: "more", Notes: []*notedv1.Note{newer}}, nil
			case c.broken:
				return nil, trouble(codes.Internal, "INTERNAL")
			}
			return &notedv1.ListDonationsResponse{}, nil
		}
		code, stdout, stderr := b.run("", c.args...)
		if code != c.code || !regexp.MustCompile(c.want).MatchString(stdout) || c.broken != (stderr != "") {
			t.Errorf("%q, broken: %t: got %d %s%s, want %d %s", c.args, c.broken, code, stdout, stderr, c.code, c.want)
		}
	}
}

// After an answer about another series the donation is undecided, and a hint shows the
// repeat.
func TestAnswersAboutAnotherSeries(t *testing.T) {
	b := newBetween(t)
	misdirect := func(n int, ask func() (*notedv1.NoteDonationResponse, error)) (*notedv1.NoteDonationResponse, error) {
		answer, err := ask()
		answer.GetNote().GetDonation().SeriesId = "I-EXAMPLE2"
		return answer, err
	}
	for _, args := range [][]string{
		{"note", "-series", "I-EXAMPLE1"},
		{"-o", "json", "note", "-series", "I-EXAMPLE1"},
		{"note", "ipn"},
	} {
		b.note = misdirect
		code, stdout, stderr := b.run(profile, args...)
		if code != exitError || stdout != "" || !strings.Contains(stderr, `about series "I-EXAMPLE2"`) ||
			!strings.Contains(stderr, "-request-id ") {
			t.Errorf("%q: got %d %s%s, want %d and the repeat", args, code, stdout, stderr, exitError)
		}
	}
	b.settle = func(_ int, ask func() (*notedv1.SettleDonationResponse, error)) (*notedv1.SettleDonationResponse, error) {
		answer, err := ask()
		answer.GetNote().DonationId = "d-other"
		return answer, err
	}
	b.note = nil
	another := strings.ReplaceAll(profile, "EX", "OTHER")
	code, stdout, stderr := b.run(another, "note", "ipn")
	if code != exitFirst || strings.Count(stdout, "FIRST ") != 2 || strings.Contains(stdout, "d-other") {
		t.Errorf("settling: got %d %s%s, want the noted donations", code, stdout, stderr)
	}
}

// The time of a message's arrival, and the reason of settling by hand, reach the server.
func TestWhatIsTold(t *testing.T) {
	received := timestamppb.New(time.Date(2026, 3, 1, 13, 5, 0, 0, time.UTC))
	b := newBetween(t)
	b.answer = func() *notedv1.NoteDonationsResponse { return &notedv1.NoteDonationsResponse{} }
	b.page = func(int) (*notedv1.ListDonationsResponse, error) { return &notedv1.ListDonationsResponse{}, nil }
	note := &notedv1.NoteDonationRequest{Message: &notedv1.Message{ReceivedAt: received}}
	const at = "2026-03-01T14:05:00+01:00"
	const line = `{"donation":{"series_id":"I-EXAMPLE1"},"message":{"channel":"ipn","id":"1","received_at":"2026-03-01T13:05:00Z"}}`
	for _, c := range []struct {
		stdin string
		args  []string
		want  proto.Message // the fields that the request must have
	}{
		{"", []string{"note", "-series", "I-EXAMPLE1", "-received-at", at}, note},
		{profile, []string{"note", "ipn", "-received-at", at}, note},
		{line, []string{"note", "-f", "-"}, &notedv1.NoteDonationsRequest{Request: note}},
		{
			"",
			[]string{"settle", "-reason", "booked by hand", "R"},
			&notedv1.SettleDonationRequest{Reason: "booked by hand"},
		},
		{
			"",
			[]string{"settle", "R", "-reason", "booked by hand"},
			&notedv1.SettleDonationRequest{Reason: "booked by hand"},
		},
		{"", []string{"list", "-transaction", "EX1"}, &notedv1.ListDonationsRequest{TransactionId: "EX1"}},
	} {
		var asked []proto.Message
		b.asked = func(request proto.Message) { asked = append(asked, request) }
		_, _, stderr := b.run(c.stdin, c.args...)
		told := 0
		for _, request := range asked {
			if request.ProtoReflect().Type() != c.want.ProtoReflect().Type() {
				continue
			}
			both := proto.Clone(request)
			if proto.Merge(both, c.want); proto.Equal(both, request) {
				told++
			}
		}
		if told == 0 || told < b.notes {
			t.Errorf("%q sent %v (%s); want %v in it", c.args, asked, stderr, c.want)
		}
	}
}

func TestWhenAMessageWasReceivedIsShown(t *testing.T) {
	b := newBetween(t)
	b.note = func(_ int, ask func() (*notedv1.NoteDonationResponse, error)) (*notedv1.NoteDonationResponse, error) {
		answer, err := ask()
		received := timestamppb.New(time.Date(2026, 3, 1, 13, 5, 0, 0, time.UTC))
		answer.GetNote().GetSightings()[0].Message.ReceivedAt = received
		return answer, err
	}
	code, stdout, stderr := b.run("", "note", "-series", "I-EXAMPLE1", "-channel", "ipn", "-message", "1")
	shown := regexp.MustCompile(`(?m)^  seen +.* ipn 1  received 2026-0[23]-\d\d \d\d:\d5:00 \S+$`)
	if code != exitFirst || !shown.MatchString(stdout) {
		t.Errorf("got %d %s%s, want the time of the message's arrival", code, stdout, stderr)
	}
}
