package main

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A process is killed after the store has noted a donation and before the caller has its
// answer. The donation is neither lost nor given to another caller: the same request gets
// its answer from the process beside it, and meanwhile all other requests are HELD.
func TestKilledBeforeTheReply(t *testing.T) {
	redis := redistest.Start(t)
	var hold atomic.Pointer[string] // the key of the script whose reply is kept back
	through := redistest.StartProxy(t, redis.Addr(), func(request []byte) redistest.Disturbance {
		if key := hold.Load(); key != nil && bytes.Contains(request, []byte(*key)) {
			return redistest.Disturbance{DelayReply: 3 * time.Second}
		}
		return redistest.Disturbance{}
	})
	client := func(addr string) notedv1.DedupeServiceClient {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return notedv1.NewDedupeServiceClient(conn)
	}
	_, addresses, _ := serving(t, "-redis", redis.URL())
	beside := client(addresses["listen"])
	request := func(series, id string) *notedv1.NoteDonationRequest {
		return &notedv1.NoteDonationRequest{
			Donation:  &notedv1.Donation{SeriesId: series},
			Hold:      durationpb.New(10 * time.Minute),
			RequestId: id,
		}
	}
	note := func(
		c notedv1.DedupeServiceClient, series, id string, verdict notedv1.Verdict, evidence notedv1.Evidence,
	) *notedv1.NoteDonationResponse {
		t.Helper()
		response, err := c.NoteDonation(t.Context(), request(series, id))
		if err != nil || response.Verdict != verdict || response.Evidence != evidence {
			t.Fatalf("NoteDonation(%s, %s) = %v, %v; want %v by %v", series, id, response, err, verdict, evidence)
		}
		return response
	}
	settle := func(c notedv1.DedupeServiceClient, receipt string) error {
		response, err := c.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: receipt})
		if err == nil && response.Note.State != notedv1.State_STATE_SETTLED {
			t.Errorf("SettleDonation: %v, want it settled", response)
		}
		return err
	}
	// killed lets a process ask, kills it when the store has carried the call out, and
	// checks the error of its caller.
	killed := func(series string, done func() bool, ask func(c notedv1.DedupeServiceClient) error) {
		t.Helper()
		command, addresses, _ := serving(t, "-redis", through.URL())
		c := client(addresses["listen"])
		warm := note(
			c,
			"warm-up-"+strconv.Itoa(command.Process.Pid),
			"r",
			notedv1.Verdict_VERDICT_FIRST,
			notedv1.Evidence_EVIDENCE_NEW,
		) // so that Redis knows the scripts
		if err := settle(c, warm.Receipt); err != nil {
			t.Fatal(err)
		}
		key := "noted:{ " + series + "}"
		hold.Store(&key)
		heard := make(chan error, 1)
		go func() { heard <- ask(c) }()
		soon(t, "the store has done it", done)
		command.Process.Kill()
		if err := <-heard; status.Code(err) != codes.Unavailable {
			t.Errorf("%s: the caller of a killed process got %v, want %v", series, err, codes.Unavailable)
		}
		hold.Store(nil)
	}

	killed(
		"I-noted",
		func() bool { return redis.Tell("EXISTS", "noted:{ I-noted}") == "1" },
		func(c notedv1.DedupeServiceClient) error {
			_, err := c.NoteDonation(t.Context(), request("I-noted", "a"))
			return err
		},
	)
	other := note(beside, "I-noted", "b", notedv1.Verdict_VERDICT_HELD, notedv1.Evidence_EVIDENCE_PAIRED)
	again := note(beside, "I-noted", "a", notedv1.Verdict_VERDICT_FIRST, notedv1.Evidence_EVIDENCE_SAME_REQUEST)
	if again.Receipt == "" || again.Note.Attempt != 1 || again.Note.DonationId != other.Note.DonationId {
		t.Errorf("asked again: %v, want attempt 1 of %s, with a receipt", again, other.Note.DonationId)
	}

	held := redis.Tell("GET", "noted:{ I-noted}")
	killed(
		"I-noted",
		func() bool { return redis.Tell("GET", "noted:{ I-noted}") != held },
		func(c notedv1.DedupeServiceClient) error {
			return settle(c, again.Receipt)
		},
	)
	note(beside, "I-noted", "c", notedv1.Verdict_VERDICT_DUPLICATE, notedv1.Evidence_EVIDENCE_PAIRED)
	if err := settle(beside, again.Receipt); err != nil {
		t.Errorf("SettleDonation again: %v", err)
	}
}
