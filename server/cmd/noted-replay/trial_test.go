package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func begin(t *testing.T, rules server.Rules) (*trial, notedv1.DedupeServiceClient) {
	t.Helper()
	s, err := startTrial(start, rules)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	conn, err := grpc.NewClient(s.server.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return s, notedv1.NewDedupeServiceClient(conn)
}

// The clock stays where moveTo puts it, and holds and notes that end on the way have
// ended.
func TestMoveTo(t *testing.T) {
	s, asker := begin(t, server.Rules{Retention: 10 * 24 * time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	note := func(want notedv1.Verdict) *notedv1.Note {
		t.Helper()
		answer, err := asker.NoteDonation(ctx, &notedv1.NoteDonationRequest{
			Donation: &notedv1.Donation{SeriesId: "I-EXAMPLE1", TransactionId: "EX1"},
			Message:  &notedv1.Message{Channel: "ipn", Id: "1"},
		})
		if err != nil || answer.GetVerdict() != want {
			t.Fatalf("NoteDonation at %v = %v, %v; want %v", s.store.Now(), answer.GetVerdict(), err, want)
		}
		return answer.GetNote()
	}
	if noted := note(notedv1.Verdict_VERDICT_FIRST).GetNotedAt().AsTime(); !noted.Equal(start) {
		t.Errorf("the first note is of %v; want %v", noted, start)
	}
	for _, step := range []struct {
		after time.Duration
		want  notedv1.Verdict
	}{
		{0, notedv1.Verdict_VERDICT_DUPLICATE},
		{10*24*time.Hour - time.Second, notedv1.Verdict_VERDICT_DUPLICATE},
		{10*24*time.Hour + time.Second, notedv1.Verdict_VERDICT_FIRST},
		{30 * 365 * 24 * time.Hour, notedv1.Verdict_VERDICT_FIRST},
	} {
		if err := s.moveTo(start.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		note(step.want)
	}
	if err := s.moveTo(start); !errors.Is(err, errBackwards) {
		t.Errorf("moveTo(an earlier time) = %v; want errBackwards", err)
	}
}

func TestRules(t *testing.T) {
	for _, ids := range server.AllTransactionIDs {
		_, asker := begin(t, server.Rules{TransactionIDs: ids})
		var got []notedv1.Verdict
		for _, m := range []*notedv1.Message{{Channel: "ipn", Id: "1"}, {Channel: "webhook", Id: "2"}} {
			answer, err := asker.NoteDonation(t.Context(), &notedv1.NoteDonationRequest{
				Donation: &notedv1.Donation{
					SeriesId:      "I-EXAMPLE1",
					TransactionId: "EX" + m.Id,
					OccurredAt:    timestamppb.New(start),
				},
				Message: m,
			})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, answer.GetVerdict())
		}
		want := []notedv1.Verdict{notedv1.Verdict_VERDICT_FIRST, notedv1.Verdict_VERDICT_DUPLICATE}
		if ids == server.Shared {
			want[1] = notedv1.Verdict_VERDICT_FIRST
		}
		if !slices.Equal(got, want) {
			t.Errorf("with transaction ids %s the verdicts are %v; want %v", ids, got, want)
		}
	}
	if s, err := startTrial(start, server.Rules{MatchWindow: -1}); !errors.Is(err, server.ErrConfig) {
		t.Errorf("startTrial with a negative match window = %v, %v; want ErrConfig", s, err)
	}
}
