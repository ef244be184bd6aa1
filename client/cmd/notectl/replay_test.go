package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// More series than fit into a batch, in no order: each donation has its own messages,
// wherever they stand, in the order of their arrival.
func TestReplayBatches(t *testing.T) {
	const series, days = 150, 2 // four messages a series: two batches
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var lines []string
	want := map[string][]string{} // :: transaction id → its messages' ids
	for s := range series {
		for d := range days {
			at := start.AddDate(0, 0, d).Add(time.Duration(s) * time.Second)
			id, transaction := fmt.Sprintf("I-EXAMPLE%d", s), fmt.Sprintf("EX%d-%d", s, d)
			for m := range 2 {
				message := fmt.Sprintf("WH-EXAMPLE-%s-%d", transaction, m)
				body := fmt.Sprintf(
					`{"id":%q,"event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":%q,"state":"completed","billing_agreement_id":%q,"create_time":%q}}`,
					message,
					transaction,
					id,
					at.Format(time.RFC3339),
				)
				line, err := json.Marshal(
					map[string]any{"at": at.Add(time.Duration(m) * time.Second), "channel": "webhook", "body": body},
				)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, string(line))
				want[transaction] = append(want[transaction], message)
			}
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	half := len(lines) / 2
	a, b := write(t, "a.jsonl", lines[:half]), write(t, "b.jsonl", lines[half:])

	code, stdout, stderr := notectl(t, "-o", "json", "replay", a, b)
	if code != exitFirst || stderr != "" {
		t.Fatalf("notectl replay exited with %d: %s", code, stderr)
	}
	got := map[string][]string{}
	var order []string
	for line := range strings.Lines(stdout) {
		var l struct {
			Donation *struct {
				Donation struct {
					Transaction string `json:"transaction_id"`
				}
				Messages  []jsonMessage
				Processed int `json:"processed_by_old_design"`
			}
			Summary *jsonSummary
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		if l.Summary != nil {
			// The repeat comes within the 2 s that the old design takes, so that it is
			// processed too.
			if l.Summary.Messages != len(lines) || l.Summary.Donations != len(want) || l.Summary.Doubled != len(want) ||
				l.Summary.Lost != 0 {
				t.Errorf(
					"the summary is %+v; want %d messages of %d donations, all doubled",
					l.Summary,
					len(lines),
					len(want),
				)
			}
			continue
		}
		for _, m := range l.Donation.Messages {
			got[l.Donation.Donation.Transaction] = append(got[l.Donation.Donation.Transaction], m.MessageID)
		}
		order = append(order, l.Donation.Messages[0].At)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("donations and their messages (-want +got):\n%s", diff)
	}
	if !slices.IsSorted(order) {
		t.Error("the donations are not in the order of their first messages")
	}
}

func TestSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "500ms": 500 * time.Millisecond, "2h": 2 * time.Hour, "1h30m": 90 * time.Minute, "24h": 24 * time.Hour, "45d": 45 * 24 * time.Hour, "1d12h": 36 * time.Hour,
	} {
		got, err := parseSpan(s)
		if err != nil || got != want {
			t.Errorf("parseSpan(%q) = %v, %v; want %v", s, got, err, want)
		}
		if again, err := parseSpan(span(got)); err != nil || again != got {
			t.Errorf("parseSpan(span(%v)) = parseSpan(%q) = %v, %v", got, span(got), again, err)
		}
	}
	for _, s := range []string{"", "soon", "d", "-2h", "-1d", "1d-30h", "0s", "2", "99999d"} {
		if got, err := parseSpan(s); err == nil {
			t.Errorf("parseSpan(%q) = %v; want an error", s, got)
		}
	}
}

func write(t *testing.T, name string, lines []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func notectl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, trouble bytes.Buffer
	noEnv := func(string) (string, bool) { return "", false }
	code = run(t.Context(), append([]string{"notectl"}, args...), noEnv, strings.NewReader(""), &out, &trouble)
	return code, out.String(), trouble.String()
}
