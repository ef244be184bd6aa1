package paypal_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPayloads reads real bodies, if there is a folder of them beside this repository. They
// belong to other projects and so are not in it. The second, naive reading below derives
// each expected outcome: straight from the tables of the design, by other means than the
// code's, and for well-formed bodies only.
func TestPayloads(t *testing.T) {
	for channel, naive := range map[string]func(*testing.T, []byte) string{"ipn": naiveIPN, "webhook": naiveWebhook} {
		paths, err := filepath.Glob(filepath.Join("../../../shared/payloads", channel, "*.*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(paths) == 0 {
			t.Skip("no folder of real payloads beside the repository")
		}
		for _, path := range paths {
			t.Run(channel+"/"+filepath.Base(path), func(t *testing.T) {
				body, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				got, err := identify[channel](body)
				if err != nil {
					t.Fatalf("got error %v; no real message is malformed", err)
				}
				if got.Unknown {
					t.Errorf("got %q; every collected type and status is in the tables", got.Skipped)
				}
				if len(got.Warnings) > 0 {
					t.Errorf(
						"got warnings %q; none of the fields that are read is broken in these bodies",
						got.Warnings,
					)
				}
				lines := "skipped\n"
				if got.Skipped == "" {
					lines = string(got.AppendJSON(nil))
				}
				if want := naive(t, body); lines != want {
					t.Errorf("got\n%swant\n%s", lines, want)
				}
			})
		}
	}
}

// expected prints a pair of the fields in order: series, event, time, amount,
// currency, transaction; then channel and message id.
func expected(values ...string) string {
	names := []string{"series_id", "event", "occurred_at", "amount", "currency_code", "transaction_id", "channel", "id"}
	var parts [2][]string
	for i, value := range values {
		if value != "" {
			quoted, _ := json.Marshal(value)
			parts[i/6] = append(parts[i/6], fmt.Sprintf("%q:%s", names[i], quoted))
		}
	}
	return fmt.Sprintf(
		`{"donation":{%s},"message":{%s}}`+"\n",
		strings.Join(parts[0], ","),
		strings.Join(parts[1], ","),
	)
}

func naiveIPN(t *testing.T, body []byte) string {
	query, err := url.ParseQuery(strings.TrimSpace(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	query.Del("resend")
	var sum strings.Builder
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range query {
			if !yield(name) {
				return
			}
		}
	}) {
		for _, value := range query[name] {
			sum.WriteString(name + "=" + value + "\n")
		}
	}
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(sum.String())))[:32]
	f := query.Get

	series := f("recurring_payment_id")
	if series == "" {
		series = f("subscr_id")
	}
	if series == "" {
		series = f("txn_id")
	}
	state := func(event string) string { return expected(series, event, "", "", "", "", "ipn", id) }
	switch f("txn_type") {
	case "masspay", "payout", "mp_signup", "mp_cancel", "mp_notification":
		return "skipped\n"
	case "subscr_modify":
		return state("EVENT_CHANGE")
	case "subscr_cancel", "recurring_payment_profile_cancel":
		return state("EVENT_CANCELLATION")
	case "subscr_eot", "recurring_payment_expired":
		return state("EVENT_EXPIRY")
	case "recurring_payment_suspended", "recurring_payment_suspended_due_to_max_failed_payment":
		return state("EVENT_SUSPENSION")
	case "subscr_failed",
		"recurring_payment_skipped",
		"recurring_payment_failed",
		"recurring_payment_outstanding_payment_failed":
		return state("EVENT_PAYMENT_FAILED")
	case "subscr_signup", "recurring_payment_profile_created":
		lines := state("EVENT_SIGNUP")
		if txn := f("initial_payment_txn_id"); txn != "" {
			event := map[string]string{"Completed": "EVENT_PAYMENT", "Pending": "EVENT_PAYMENT_PENDING"}[f("initial_payment_status")]
			lines += expected(
				series,
				event,
				naiveTime(t, f("time_created")),
				f("initial_payment_amount"),
				f("currency_code"),
				txn,
				"ipn",
				id,
			)
		}
		return lines
	case "new_case":
		return expected(f("txn_id"), "EVENT_DISPUTE", "", "", "", f("case_id"), "ipn", id)
	}
	event := map[string]string{
		"Completed": "EVENT_PAYMENT", "Processed": "EVENT_PAYMENT", "Pending": "EVENT_PAYMENT_PENDING",
		"Denied": "EVENT_PAYMENT_FAILED", "Declined": "EVENT_PAYMENT_FAILED", "Failed": "EVENT_PAYMENT_FAILED",
		"Refunded": "EVENT_REFUND", "Reversed": "EVENT_REVERSAL", "Canceled_Reversal": "EVENT_REVERSAL_CANCELED",
	}[f("payment_status")]
	if f("txn_type") == "adjustment" || event == "EVENT_PAYMENT" && strings.HasPrefix(f("mc_gross"), "-") {
		event = "EVENT_ADJUSTMENT"
	}
	switch event {
	case "EVENT_REFUND":
		series = f("txn_id")
	case "EVENT_REVERSAL", "EVENT_REVERSAL_CANCELED", "EVENT_ADJUSTMENT":
		if series = f("parent_txn_id"); series == "" {
			series = f("txn_id")
		}
	}
	return expected(series, event, naiveTime(t, f("payment_date")),
		strings.TrimPrefix(f("mc_gross"), "-"), f("mc_currency"), f("txn_id"), "ipn", id)
}

func naiveWebhook(t *testing.T, body []byte) string {
	type amount struct {
		Total, Currency, Value string
		Code                   string `json:"currency_code"`
	}
	var event struct {
		ID              string
		EventType       string `json:"event_type"`
		ResourceVersion string `json:"resource_version"`
		Resource        struct {
			ID, State, Status string
			Agreement         string `json:"billing_agreement_id"`
			Sale              string `json:"sale_id"`
			Created           string `json:"create_time"`
			Amount            amount
			Links             []struct{ Rel, Href string }
			Dispute           string `json:"dispute_id"`
			Disputed          []struct {
				Seller string `json:"seller_transaction_id"`
			} `json:"disputed_transactions"`
		}
	}
	if err := json.Unmarshal(body, &event); err != nil {
		t.Fatal(err)
	}
	r := event.Resource
	if rest, ok := strings.CutPrefix(event.EventType, "BILLING.SUBSCRIPTION."); ok {
		if rest == "CREATED" && event.ResourceVersion == "2.0" {
			return "skipped\n"
		}
		name := map[string]string{
			"CREATED": "SIGNUP", "ACTIVATED": "SIGNUP", "UPDATED": "CHANGE", "RE-ACTIVATED": "REACTIVATION", "SUSPENDED": "SUSPENSION",
			"CANCELLED": "CANCELLATION", "EXPIRED": "EXPIRY", "PAYMENT.FAILED": "PAYMENT_FAILED",
		}[rest]
		return expected(r.ID, "EVENT_"+name, "", "", "", "", "webhook", event.ID)
	}
	if event.EventType == "CUSTOMER.DISPUTE.CREATED" {
		var lines string
		for _, disputed := range r.Disputed {
			lines += expected(disputed.Seller, "EVENT_DISPUTE", "", "", "", r.Dispute, "webhook", event.ID)
		}
		return lines
	}
	parts := strings.Split(event.EventType, ".")
	if parts[0] != "PAYMENT" {
		return "skipped\n"
	}
	series, name, transaction := r.ID, "", r.ID
	switch parts[2] {
	case "REFUNDED":
		name = "EVENT_REFUND"
	case "REVERSED":
		name = "EVENT_REVERSAL"
		series = r.Sale
		for _, link := range r.Links {
			if link.Rel == map[string]string{"SALE": "sale", "CAPTURE": "up"}[parts[1]] {
				series = link.Href[strings.LastIndex(link.Href, "/")+1:]
			}
		}
		if series == "" {
			series, transaction, r.Created = r.ID, "", ""
		}
	default:
		name = "EVENT_PAYMENT_PENDING"
		switch state := strings.ToLower(r.State + r.Status); {
		case parts[2] == "DENIED" || parts[2] == "DECLINED" ||
			state == "denied" || state == "declined" || state == "failed":
			name = "EVENT_PAYMENT_FAILED"
		case parts[2] == "COMPLETED" &&
			(state == "completed" || strings.HasSuffix(state, "refunded") || state == "reversed"):
			name = "EVENT_PAYMENT"
		}
		if r.Agreement != "" && !strings.HasPrefix(r.Agreement, "B-") {
			series = r.Agreement
		}
	}
	return expected(series, name, naiveTime(t, r.Created), strings.TrimPrefix(r.Amount.Total+r.Amount.Value, "-"),
		r.Amount.Currency+r.Amount.Code, transaction, "webhook", event.ID)
}

func naiveTime(t *testing.T, s string) string {
	if s == "" {
		return ""
	}
	s = strings.NewReplacer("PST", "-0800", "PDT", "-0700", ". ", " ").Replace(s)
	s, _, _ = strings.Cut(s, " (")
	for _, layout := range []string{
		"15:04:05 Jan 02, 2006 -0700", "15:04:05 2 Jan 2006 -0700", "Mon Jan 02 2006 15:04:05 GMT-0700", time.RFC3339,
	} {
		if parsed, err := time.Parse(layout, s); err == nil {
			return parsed.UTC().Format(time.RFC3339Nano)
		}
	}
	t.Fatalf("no layout for %q", s)
	return ""
}
