package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/server/servertest"
	"google.golang.org/protobuf/types/known/durationpb"
)

// A watch shows each change of a note once, in the order in which they happen.
func TestWatch(t *testing.T) {
	server := servertest.New(t)
	noted, err := client.New(server.Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer noted.Close()
	note := func(series, channel string) *client.NoteResponse {
		t.Helper()
		answer, err := noted.Note(t.Context(), &client.NoteRequest{
			Donation: &client.Donation{SeriesId: series, TransactionId: "T" + series, Amount: "25.00", CurrencyCode: "EUR"},
			Message:  &client.Message{Channel: channel, Id: series + channel}, Hold: durationpb.New(time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	note("I-BEFORE", "ipn") // before the watch begins, so not shown

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, stdout := io.Pipe()
	lines, ended := make(chan string), make(chan int, 1)
	go func() {
		for in := bufio.NewScanner(reader); in.Scan(); {
			lines <- in.Text()
		}
	}()
	var stderr bytes.Buffer
	go func() {
		args := []string{"notectl", "-addr", server.Addr(), "watch", "-every", "100ms"}
		ended <- run(ctx, args, nil, nil, stdout, &stderr)
	}()
	shows := func(what, series string) {
		t.Helper()
		for deadline := time.After(30 * time.Second); ; {
			select {
			case line := <-lines:
				if strings.Contains(line, "I-WARM") {
					continue
				}
				if !strings.Contains(line, "  "+what+"  ") || !strings.Contains(line, "  "+series+"  ") {
					t.Fatalf("watch shows %q, want %s of %s", line, what, series)
				}
				return
			case <-deadline:
				t.Fatalf("watch does not show %s of %s; it says %s", what, series, stderr.String())
			}
		}
	}
	for i, began := 0, time.Now(); ; i++ { // until it has listed once
		note(fmt.Sprintf("I-WARM%d", i), "ipn")
		select {
		case line := <-lines:
			if !strings.Contains(line, "noted, held") || !strings.Contains(line, "I-WARM") {
				t.Fatalf("watch begins with %q", line)
			}
		case <-time.After(100 * time.Millisecond):
			if time.Since(began) > 30*time.Second {
				t.Fatalf("watch shows nothing; it says %s", stderr.String())
			}
			continue
		}
		break
	}

	first := note("I-ONE", "ipn")
	shows("noted, held", "I-ONE")
	note("I-ONE", "webhook")
	shows("seen on webhook", "I-ONE")
	if _, err := noted.Settle(t.Context(), first.GetReceipt(), ""); err != nil {
		t.Fatal(err)
	}
	shows("settled", "I-ONE")
	second := note("I-TWO", "ipn")
	shows("noted, held", "I-TWO")
	if _, err := noted.Release(t.Context(), second.GetReceipt(), "test"); err != nil {
		t.Fatal(err)
	}
	shows("open", "I-TWO")
	note("I-TWO", "ipn")
	shows("attempt 2, held", "I-TWO")
	if _, err := noted.Forget(t.Context(), &client.ForgetRequest{
		SeriesId: "I-TWO", DonationId: second.GetNote().GetDonationId(), Reason: "test",
	}); err != nil {
		t.Fatal(err)
	}
	shows("forgotten", "I-TWO")

	stop()
	select {
	case code := <-ended:
		if code != exitFirst {
			t.Errorf("a watch that is stopped exits with %d: %s", code, stderr.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a watch that is stopped does not end")
	}
	if said := stderr.String(); said != "notectl: watching notes of the last 15m, listed every 100ms\n" {
		t.Errorf("watch says %q", said)
	}
}
