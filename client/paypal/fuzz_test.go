package paypal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/paypal"
)

var (
	idLimit       = regexp.MustCompile(`^[!-~]{1,128}$`)
	amountLimit   = regexp.MustCompile(`^\d{1,15}(\.\d{1,8})?$`)
	currencyLimit = regexp.MustCompile(`^[A-Z]{3}$`)
	reasonLimit   = regexp.MustCompile(`^[ !#-\[\]-~]{1,120}$`)
	textLimit     = regexp.MustCompile(`^[ !#-\[\]-~]{0,64}$`)
)

// checkPromises checks the promises that hold for every body.
func checkPromises(t *testing.T, channel string, body []byte) (paypal.Identified, error) {
	t.Helper()
	got, err := identify[channel](bytes.Clone(body))
	again, errAgain := identify[channel](bytes.Clone(body))
	if !reflect.DeepEqual(got, again) || (err == nil) != (errAgain == nil) {
		t.Fatalf("identifying twice: got %+v, %v and %+v, %v", got, err, again, errAgain)
	}
	if err != nil {
		var malformed *paypal.MalformedError
		if !errors.As(err, &malformed) || malformed.Field == "" || malformed.Problem == "" {
			t.Fatalf("got error %#v, want a MalformedError with a field and a problem", err)
		}
		if !reflect.DeepEqual(got, paypal.Identified{}) {
			t.Fatalf("got %+v beside error %v, want nothing", got, err)
		}
		return got, err
	}
	if (len(got.Pairs) == 0) == (got.Skipped == "") {
		t.Fatalf("got %+v, want either pairs or a reason", got)
	}
	if got.Unknown && got.Skipped == "" {
		t.Fatalf("got %+v, Unknown but not skipped", got)
	}
	if got.Skipped != "" && !reasonLimit.MatchString(got.Skipped) || !textLimit.MatchString(got.Type) {
		t.Fatalf("got reason %q and type %q, want short harmless text", got.Skipped, got.Type)
	}
	for _, pair := range got.Pairs {
		checkLimits(t, channel, pair)
	}
	checkLines(t, got)
	return got, nil
}

// checkLimits compares a pair with the limits of the contract: Noted must not refuse a
// pair of this package.
func checkLimits(t *testing.T, channel string, pair paypal.Pair) {
	t.Helper()
	d, m := pair.Donation, pair.Message
	switch {
	case !idLimit.MatchString(d.SeriesID),
		d.TransactionID != "" && !idLimit.MatchString(d.TransactionID),
		m.ID != "" && !idLimit.MatchString(m.ID),
		m.ID == "" && channel == "ipn",
		m.Channel != channel,
		d.Ledger != "",
		d.Event < paypal.EventPayment || !strings.HasPrefix(d.Event.String(), "EVENT_"),
		(d.Amount == "") != (d.CurrencyCode == ""),
		d.Amount != "" && !(amountLimit.MatchString(d.Amount) && currencyLimit.MatchString(d.CurrencyCode)),
		!d.OccurredAt.IsZero() &&
			(d.OccurredAt.Year() < 1969 || d.OccurredAt.Year() > 9999 || d.OccurredAt.Location() != time.UTC):
		t.Fatalf("got %+v, beyond what the contract takes", pair)
	}
}

// checkLines reads the printed lines back and compares them with the values.
func checkLines(t *testing.T, got paypal.Identified) {
	t.Helper()
	text := string(got.AppendJSON(nil))
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if got.Skipped != "" {
		var line struct{ Skipped string }
		if err := json.Unmarshal(
			[]byte(lines[0]),
			&line,
		); err != nil || line.Skipped != got.Skipped ||
			len(lines) != 1 {
			t.Fatalf("printing %+v: got %q (%v)", got, text, err)
		}
		return
	}
	if len(lines) != len(got.Pairs) {
		t.Fatalf("printing %d pairs: got %d lines", len(got.Pairs), len(lines))
	}
	for i, pair := range got.Pairs {
		var line struct {
			Donation struct {
				Series      string    `json:"series_id"`
				Event       string    `json:"event"`
				OccurredAt  time.Time `json:"occurred_at"`
				Amount      string    `json:"amount"`
				Currency    string    `json:"currency_code"`
				Transaction string    `json:"transaction_id"`
			}
			Message struct{ Channel, ID string }
		}
		if err := json.Unmarshal([]byte(lines[i]), &line); err != nil {
			t.Fatalf("printing %+v: got %q: %v", pair, lines[i], err)
		}
		d := line.Donation
		back := paypal.Donation{
			SeriesID: d.Series, Event: pair.Donation.Event, OccurredAt: d.OccurredAt,
			Amount: d.Amount, CurrencyCode: d.Currency, TransactionID: d.Transaction,
		}
		if !d.OccurredAt.Equal(pair.Donation.OccurredAt) {
			t.Fatalf("printing %v: got %q", pair.Donation.OccurredAt, lines[i])
		}
		back.OccurredAt = pair.Donation.OccurredAt
		if back != pair.Donation || d.Event != pair.Donation.Event.String() ||
			paypal.Message(line.Message) != pair.Message {
			t.Fatalf("printing %+v: got %q", pair, lines[i])
		}
	}
}

func addCases(f *testing.F, channel string) {
	for _, path := range casePaths(f, channel) {
		f.Add(readCase(f, path).body)
	}
}

func FuzzIdentifyIPN(f *testing.F) {
	addCases(f, "ipn")
	f.Fuzz(func(t *testing.T, body []byte) {
		want, wantErr := checkPromises(t, "ipn", body)
		same := func(what string, other []byte) {
			t.Helper()
			got, err := paypal.IdentifyIPN(other)
			if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: got %+v, %v from %q, want %+v, %v", what, got, err, other, want, wantErr)
			}
		}
		// A message keeps its id in every delivery.
		trimmed := bytes.TrimRight(body, "\r\n")
		same("adding a line end", append(bytes.Clone(trimmed), "\r\n"...))
		same("adding resend", append(bytes.Clone(trimmed), "&resend=true"...))
		same("putting resend first", append([]byte("resend=&"), trimmed...))
		pieces := bytes.Split(trimmed, []byte("&"))
		names := make(map[string]bool)
		for _, piece := range pieces {
			name, _, _ := strings.Cut(string(piece), "=")
			unescaped, err := url.QueryUnescape(name)
			if err != nil || names[unescaped] && unescaped != "" {
				return // its own order may matter, or only the code knows its kind
			}
			names[unescaped] = true
			if unescaped == "" && len(piece) > 0 {
				return
			}
		}
		for turn := range min(len(pieces), 4) {
			turned := append(append([][]byte{}, pieces[turn:]...), pieces[:turn]...)
			same("turning the fields around", bytes.Join(turned, []byte("&")))
		}
	})
}

func FuzzIdentifyWebhook(f *testing.F) {
	addCases(f, "webhook")
	f.Fuzz(func(t *testing.T, body []byte) {
		want, wantErr := checkPromises(t, "webhook", body)
		if wantErr == nil && !json.Valid(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))) {
			t.Fatalf("got %+v from a body that is not JSON", want)
		}
		// White space around a document changes nothing.
		if bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
			return
		}
		got, err := paypal.IdentifyWebhook([]byte("\r\n\t " + string(body) + " \n"))
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
			t.Fatalf("adding white space: got %+v, %v, want %+v, %v", got, err, want, wantErr)
		}
	})
}
