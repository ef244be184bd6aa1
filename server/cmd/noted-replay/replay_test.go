package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// With more series than fit into a batch, in random order, each donation gets its own
// messages in the order of their arrival.
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

	code, stdout, stderr := replayed(t, "-o", "json", a, b)
	if code != exitDone || stderr != "" {
		t.Fatalf("noted-replay exited with %d: %s", code, stderr)
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
			// The repeat comes within the 2 s between look and note of the old design, so
			// that design processes it too.
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

// The comment of ErrUndecidable and replay name the same errors as undecidable.
func TestWhatCannotBeDecided(t *testing.T) {
	names := regexp.MustCompile(`Err[A-Z]\w+`)
	named := func(file, begin, end string) []string {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(strings.ReplaceAll(string(source), "\n// ", " "), begin)
		text, _, found := strings.Cut(rest, end)
		if !found {
			t.Fatalf("%s has no %q … %q any more", file, begin, end)
		}
		list := names.FindAllString(text, -1)
		slices.Sort(list)
		return list
	}
	said := named("../../../client/errors.go", "ErrUndecidable matches ", " Nothing was noted")
	done := named("run.go", "for _, why := range []error{", "} {")
	if len(said) < 5 || !slices.Equal(said, done) {
		t.Errorf("the comment calls %s undecidable, replay %s", said, done)
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

func replayed(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, trouble bytes.Buffer
	noEnv := func(string) (string, bool) { return "", false }
	code = run(t.Context(), append([]string{"noted-replay"}, args...), noEnv, strings.NewReader(""), &out, &trouble)
	return code, out.String(), trouble.String()
}
