package client

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// Every reason of the contract has a sentinel, and every sentinel has a reason.
func TestSentinelsAreTheContractsReasons(t *testing.T) {
	proto, err := os.ReadFile("../api/noted/v1/noted.proto")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(proto), "syntax =")
	_, list, found := strings.Cut(head, "ailures carry a google.rpc.ErrorInfo")
	if !found {
		t.Fatal("noted.proto no longer begins with a list of reasons; change this test with it")
	}
	// A line is "//   CODE   REASON (remark), REASON", and the next line may go on with
	// further reasons. So the first word is a code if three spaces are before it.
	var documented []string
	remarks := regexp.MustCompile(`\([^)]*\)`)
	word := regexp.MustCompile(`[A-Z_]{4,}`)
	_, list, _ = strings.Cut(list, "\n//\n")
	for line := range strings.Lines(remarks.ReplaceAllString(list, "")) {
		words := word.FindAllString(line, -1)
		if strings.HasPrefix(line, "//   ") && line[5] != ' ' && len(words) > 0 {
			words = words[1:]
		}
		documented = append(documented, words...)
	}
	var known []string
	for reason := range reasons {
		known = append(known, reason)
	}
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("the reasons of the contract and those of this package differ:\n%s\n%s", documented, known)
	}
	if len(documented) < 20 {
		t.Errorf("read only %d reasons from noted.proto: %s", len(documented), documented)
	}
}

// Every event, verdict, evidence and state of the contract has a constant in types.go.
func TestEnumsAreWhole(t *testing.T) {
	source, err := os.ReadFile("types.go")
	if err != nil {
		t.Fatal(err)
	}
	for enum, names := range map[string]map[int32]string{
		"Event": notedv1.Event_name, "Verdict": notedv1.Verdict_name,
		"Evidence": notedv1.Evidence_name, "State": notedv1.State_name,
	} {
		for number, name := range names {
			constant := " = notedv1." + enum + "_" + name + "\n"
			if number > 0 && !strings.Contains(string(source), constant) {
				t.Errorf("types.go has no constant for %s", name)
			}
		}
	}
}

func TestFailedKeepsTheReason(t *testing.T) {
	err := failed("noting I-1", codes.ResourceExhausted, "one series holds too much", "SERIES_FULL")
	if got, want := err.Error(), "noting I-1: SERIES_FULL: one series holds too much"; got != want {
		t.Errorf("Error: got %q; want %q", got, want)
	}
}

func TestLoopback(t *testing.T) {
	for target, want := range map[string]bool{
		"127.0.0.1:50051": true, "[::1]:50051": true, "localhost:50051": true, "dns:///localhost:50051": true,
		"passthrough:///127.0.0.9:1": true, "unix:/run/noted.sock": true, "unix:///run/noted.sock": true, "127.0.0.1": true,
		"10.0.0.1:50051": false, "noted.example.org:50051": false, "dns:///noted.example.org": false, "0.0.0.0:1": false,
		"localhost.example.org:1": false, "xds:///localhost": false, "dns://10.0.0.1/localhost:1": false, "ipv4:127.0.0.1:1,10.0.0.1:1": false, "": false,
	} {
		if got := loopback(target); got != want {
			t.Errorf("loopback(%q): got %t; want %t", target, got, want)
		}
	}
}
