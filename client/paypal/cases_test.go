package paypal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client/paypal"
)

// identify has the two functions by their channel, which also names the folder of their
// cases.
var identify = map[string]func([]byte) (paypal.Identified, error){
	"ipn":     paypal.IdentifyIPN,
	"webhook": paypal.IdentifyWebhook,
}

// A testCase is a file of testdata; its README says how to read one.
type testCase struct {
	wants, warns []string
	malformed    string
	body         []byte
}

func readCase(t testing.TB, path string) testCase {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header, body, ok := bytes.Cut(data, []byte("\n---\n"))
	body, ended := bytes.CutSuffix(body, []byte("\n"))
	if !ok || !ended {
		t.Fatalf("%s: no --- line, or no newline at the end", path)
	}
	c := testCase{body: body}
	var about bool
	for line := range strings.SplitSeq(string(header), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "about":
			about = true
		case "want":
			c.wants = append(c.wants, value)
		case "warn":
			c.warns = append(c.warns, value)
		case "malformed":
			c.malformed = value
		default:
			t.Fatalf("%s: header line %q is not known", path, line)
		}
	}
	if !about || (len(c.wants) == 0) == (c.malformed == "") {
		t.Fatalf("%s: a case has one about, and either want or malformed", path)
	}
	return c
}

func casePaths(t testing.TB, channel string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", channel, "*.txt"))
	if err != nil || len(paths) < 80 {
		t.Fatalf("found %d cases in testdata/%s (%v), want at least 80: is the folder whole?", len(paths), channel, err)
	}
	return paths
}

func TestCases(t *testing.T) {
	for channel, identify := range identify {
		for _, path := range casePaths(t, channel) {
			t.Run(channel+"/"+strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
				c := readCase(t, path)
				before := bytes.Clone(c.body)
				got, err := identify(c.body)
				if !bytes.Equal(c.body, before) {
					t.Error("the body was changed; the gateway still has to verify it")
				}
				if c.malformed != "" {
					var malformed *paypal.MalformedError
					if !errors.As(err, &malformed) || !strings.Contains(err.Error(), c.malformed) {
						t.Errorf("got %+v and error %v, want a MalformedError that names %s", got, err, c.malformed)
					}
					return
				}
				if err != nil {
					t.Fatalf("got error %v, want\n%s", err, strings.Join(c.wants, "\n"))
				}
				if lines, want := string(got.AppendJSON(nil)), strings.Join(c.wants, "\n")+"\n"; lines != want {
					t.Errorf("got\n%swant\n%s", lines, want)
				}
				checkWarnings(t, got.Warnings, c.warns)
			})
		}
	}
}

// Each type and status in the readers' source has a case, so that the other languages know
// it too.
func TestEveryTypeHasACase(t *testing.T) {
	for channel, form := range map[string]struct{ source, body string }{
		"ipn":     {`(?m)(?:^\t|, )"([a-z_-]+)": `, "=%s&"},
		"webhook": {`"((?:[a-z_-]+\.)+[a-z-]*)"`, `"%s`},
	} {
		source, err := os.ReadFile(channel + ".go")
		if err != nil {
			t.Fatal(err)
		}
		var bodies strings.Builder
		for _, path := range casePaths(t, channel) {
			bodies.WriteString(strings.ToLower(string(readCase(t, path).body)) + "&")
		}
		words := regexp.MustCompile(form.source).FindAllStringSubmatch(string(source), -1)
		if len(words) < 20 {
			t.Errorf("read only %d types from %s.go; change this test with it", len(words), channel)
		}
		for _, found := range words {
			isType := !strings.HasPrefix(found[1], "resource.")
			if isType && !strings.Contains(bodies.String(), fmt.Sprintf(form.body, found[1])) {
				t.Errorf("testdata/%s has no case of %s", channel, found[1])
			}
		}
	}
}

// checkWarnings pairs each wanted text with a warning of its own.
func checkWarnings(t *testing.T, got, want []string) {
	t.Helper()
	left := slices.Clone(got)
	for _, text := range want {
		i := slices.IndexFunc(left, func(w string) bool { return strings.Contains(w, text) })
		if i < 0 {
			t.Errorf("got warnings %q, want one that holds %q", got, text)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		t.Errorf("got warnings %q, want none but %q", got, want)
	}
}

// Unknown and Type are not in the lines that other languages print, so the
// shared cases cannot hold them.
func TestUnknownIsSaidLoudly(t *testing.T) {
	for _, test := range []struct {
		channel, body, wantType string
		want                    bool
	}{
		{"ipn", "txn_type=never_heard_of&payment_status=Completed", "never_heard_of", true},
		{"ipn", "txn_type=cart&payment_status=Odd", "cart", true},
		{"ipn", "txn_type=cart", "cart", true},
		{"ipn", "payment_status=Odd", "", true},
		{"ipn", "hello=world", "", true},
		{"ipn", "txn_type=masspay", "masspay", false},
		{"ipn", "txn_type=cart&payment_status=Completed&mc_gross=-1", "cart", false},
		{"ipn", "txn_type=ca%00rt%22", "ca?rt?", true},
		{"webhook", `{"event_type":"NEVER.HEARD.OF"}`, "NEVER.HEARD.OF", true},
		{"webhook", `{"event_type":"CHECKOUT.ORDER.APPROVED"}`, "CHECKOUT.ORDER.APPROVED", false},
		{"webhook", `{"event_type":"CUSTOMER.DISPUTE.UPDATED"}`, "CUSTOMER.DISPUTE.UPDATED", false},
	} {
		got, err := identify[test.channel]([]byte(test.body))
		if err != nil || got.Skipped == "" || got.Unknown != test.want || got.Type != test.wantType {
			t.Errorf("identifying %s %s: got %+v, %v; want it skipped, Unknown %v, Type %q",
				test.channel, test.body, got, err, test.want, test.wantType)
		}
	}
}

// Known types that tell of no donation are skipped quietly. Any other type is unknown.
func TestKnownTypesAreSkippedQuietly(t *testing.T) {
	check := func(channel, body string, unknown bool) {
		t.Helper()
		got, err := identify[channel]([]byte(body))
		if err != nil || got.Skipped == "" || got.Unknown != unknown {
			t.Errorf("identifying %s: got %+v, %v; want it skipped, Unknown %v", body, got, err, unknown)
		}
	}
	for _, known := range []string{
		"BILLING.PLAN.CREATED", "BILLING_AGREEMENTS.AGREEMENT.CREATED", "PAYMENT.AUTHORIZATION.CREATED",
		"PAYMENT.REFUND.FAILED", "PAYMENT.PAYOUTSBATCH.DENIED", "PAYMENT.PAYOUTS-ITEM.UNCLAIMED",
		"PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED", "VAULT.PAYMENT-TOKEN.DELETED",
		"CHECKOUT.PAYMENT-APPROVAL.REVERSED", "MERCHANT.PARTNER-CONSENT.REVOKED",
	} {
		check("webhook", `{"event_type":"`+known+`"}`, false)
	}
	for _, other := range []string{
		"BILLING.SUBSCRIPTION.TELEPORTED", "PAYMENT.SALE.TELEPORTED", "CUSTOMER.DISPUTE.TELEPORTED",
		"PAYMENT.PAYOU",
	} {
		check("webhook", `{"event_type":"`+other+`"}`, true)
	}
	for _, known := range []string{"mp_notification", "payout", "mp_signup", "mp_cancel"} {
		check("ipn", "txn_type="+known, false)
	}
}

// Every message has an id, also a skipped one. A skipped message does not warn of its id:
// the other languages do not read it.
func TestEveryMessageHasItsID(t *testing.T) {
	for _, test := range []struct{ channel, body, wantID string }{
		{"webhook", `{"id":"WH-1","event_type":"NEVER.HEARD.OF"}`, "WH-1"},
		{"webhook", `{"id":" WH-2 ","event_type":"CHECKOUT.ORDER.APPROVED"}`, "WH-2"},
		{"webhook", `{"id":"WH-3","event_type":"BILLING.SUBSCRIPTION.CANCELLED","resource":{"id":"I-1"}}`, "WH-3"},
		{"webhook", `{"event_type":"NEVER.HEARD.OF"}`, ""},
		{"webhook", `{"id":"a b","event_type":"NEVER.HEARD.OF"}`, ""},
		{"ipn", "txn_type=masspay", "85655647878421977e4106c1f56bf913"},
		{"ipn", "resend=true&txn_type=masspay", "85655647878421977e4106c1f56bf913"},
	} {
		got, err := identify[test.channel]([]byte(test.body))
		if err != nil || got.Message.Channel != test.channel || got.Message.ID != test.wantID || len(got.Warnings) > 0 {
			t.Errorf(
				"identifying %s: got %+v, %v; want the message %q and no warning",
				test.body,
				got,
				err,
				test.wantID,
			)
		}
		for _, pair := range got.Pairs {
			if pair.Message != got.Message {
				t.Errorf("identifying %s: a pair was told by %v, not by %v", test.body, pair.Message, got.Message)
			}
		}
	}
}

func TestIPNField(t *testing.T) {
	body := []byte("&a=1;2&b=%zz&c=x%40y+&c=2&d&e%20f==\r\n")
	for name, want := range map[string]string{"a": "1;2", "b": "%zz", "c": "x@y", "d": "", "e f": "=", "none": ""} {
		if got := paypal.IPNField(body, name); got != want {
			t.Errorf("IPNField(%q) = %q, want %q", name, got, want)
		}
	}
}

// Another package converts an Event by its number, so numbers and names must
// be the contract's.
func TestEventsAreTheContracts(t *testing.T) {
	proto, err := os.ReadFile("../../api/noted/v1/noted.proto")
	if err != nil {
		t.Skipf("no contract beside this package: %v", err)
	}
	events := regexp.MustCompile(`(?m)^  (EVENT_\w+) = (\d+);`).FindAllSubmatch(proto, -1)
	for number, event := range events {
		got := fmt.Sprintf("%s = %d", paypal.Event(number), number)
		if want := fmt.Sprintf("%s = %s", event[1], event[2]); got != want {
			t.Errorf("got %s, want the contract's %s", got, want)
		}
	}
	if got, want := paypal.Event(len(events)).String(), fmt.Sprint(len(events)); got != want {
		t.Errorf("Event(%s).String() = %s, want the number, because the contract has no such event", want, got)
	}
}
