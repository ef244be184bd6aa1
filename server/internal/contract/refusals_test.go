package contract

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// Every error of the store and of this package has a row in the table. Without one,
// callers would get INTERNAL.
func TestEveryWordOfTheStoreHasARow(t *testing.T) {
	words := find(t, "../store/types.go", `(?m)^\t(Err\w+) `)
	rows := find(t, "refusals.go", `when: store\.(Err\w+)`)
	if len(words) < 15 {
		t.Fatalf("found only %d words in types.go: %v", len(words), words)
	}
	if !slices.Equal(words, rows) {
		t.Errorf("the store has the errors %v, the table has rows for %v", words, rows)
	}
	words, rows = find(t, "refusals.go", `(?m)^\t(Err\w+) `), find(t, "refusals.go", `when: (Err\w+)`)
	if len(words) < 6 || !slices.Equal(words, rows) {
		t.Errorf("refusals.go has the errors %v, the table has rows for %v", words, rows)
	}
}

// The head of the contract lists every reason, under its code.
func TestReasonsAreInTheContract(t *testing.T) {
	contract, err := os.ReadFile("../../../api/noted/v1/noted.proto")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(contract), "syntax =")
	listed := map[string]string{} // :: reason → code
	code := ""
	for line := range strings.Lines(head) {
		if m := regexp.MustCompile(`^//   ([A-Z_]{8,}) +[A-Z]`).FindStringSubmatch(line); m != nil {
			code, line = m[1], strings.Replace(line, m[1], "", 1)
		}
		for _, reason := range regexp.MustCompile(`[A-Z_]{8,}`).FindAllString(line, -1) {
			listed[reason] = code
		}
	}
	for _, row := range append(slices.Clone(refusals), internal) {
		if row.code == codes.Canceled {
			continue // the caller has gone, and reads no reason
		}
		want := strings.ToUpper(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(row.code.String(), "${1}_${2}"))
		if got, ok := listed[row.reason]; !ok || got != want {
			t.Errorf("reason %s has the code %s; the contract lists it under %q", row.reason, want, got)
		}
	}
}

func TestRefuse(t *testing.T) {
	// The store wraps its errors like this.
	lost := fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, io.EOF)
	cases := []struct {
		err    error
		code   codes.Code
		reason string
		retry  time.Duration
	}{
		{lost, codes.Unavailable, "OUTCOME_UNKNOWN", time.Second},
		{fmt.Errorf("%w: %w", store.ErrUnavailable, lost), codes.Unavailable, "STORE_UNAVAILABLE", time.Second},
		{fmt.Errorf("noting: %w", store.ErrStoreFull), codes.ResourceExhausted, "STORE_FULL", 10 * time.Second},
		{store.ErrSeriesFull, codes.ResourceExhausted, "SERIES_FULL", 0},
		{store.ErrPastDeadline, codes.DeadlineExceeded, "DEADLINE_EXCEEDED", 0},
		{store.ErrTooLate, codes.OutOfRange, "OCCURRED_TOO_LATE", 0},
		{errors.New("password=secret"), codes.Internal, "INTERNAL", 0},
		{nil, codes.Internal, "INTERNAL", 0},
	}
	for _, c := range cases {
		f := Refuse(c.err)
		s := status.Convert(f)
		if s.Code() != c.code || f.reason != c.reason {
			t.Errorf("refuse(%v) = %v %s, want %v %s", c.err, s.Code(), f.reason, c.code, c.reason)
		}
		told, wait := "", time.Duration(0)
		for _, detail := range s.Details() {
			switch d := detail.(type) {
			case *errdetails.ErrorInfo:
				told = d.Domain + "/" + d.Reason
			case *errdetails.RetryInfo:
				wait = d.RetryDelay.AsDuration()
			}
		}
		if told != "noted.v1/"+c.reason {
			t.Errorf("refuse(%v) has the reason %s, want noted.v1/%s", c.err, told, c.reason)
		}
		if wait < c.retry*3/4 || wait > c.retry*5/4 {
			t.Errorf("refuse(%v) says to wait %v, want %v give or take a quarter", c.err, wait, c.retry)
		}
		// The log has the cause, and the caller does not. A Redis that hung up does not
		// count as success.
		if c.err != nil && !strings.Contains(f.Error(), c.err.Error()) {
			t.Errorf("the log of %v says %q, want the cause in it", c.err, f.Error())
		}
		if strings.Contains(s.Message(), "secret") || strings.Contains(s.Message(), "EOF") {
			t.Errorf("the caller of %v is told %q, want no cause in it", c.err, s.Message())
		}
		if errors.Is(f, io.EOF) {
			t.Errorf("refuse(%v) is io.EOF, which the logging middleware takes for success", c.err)
		}
	}
}

func TestJitterSpreads(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		seen[Jitter(time.Second)] = true
	}
	if len(seen) < 2 {
		t.Error("twenty waits are all the same")
	}
}

// find gives the first group of every match in a file, sorted.
func find(t *testing.T, path, pattern string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}
