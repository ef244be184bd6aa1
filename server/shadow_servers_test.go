package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// TestShadowBesideAndAfter runs two servers, of which one has a ledger in shadow, as
// during a rollout of the flag, and then one without shadow. Notes stay, verdicts count,
// and each receipt keeps its meaning at both servers.
func TestShadowBesideAndAfter(t *testing.T) {
	redis := redistest.Start(t)
	var log lockedBuffer
	shadowed := start(t, servertest.Options{Redis: redis.URL(), ShadowLedgers: []string{"l"}})
	plain := start(t, servertest.Options{Redis: redis.URL(), Log: &log})

	one := shadowed.mustNote(t, asked("l", "a", "ipn", time.Minute))
	second := shadowed.mustNote(t, asked("l", "b", "webhook", time.Minute))
	if second.Verdict != first || second.ShadowVerdict != heldBy || second.Receipt == "" {
		t.Fatalf("in shadow: %s beside %s, receipt %q", second.Verdict, second.ShadowVerdict, second.Receipt)
	}
	for _, verb := range []model.Verb{model.Settle, model.Extend, model.Release} {
		note, err := finish(t, plain, verb, second.Receipt)
		if err != nil || note.State != notedv1.State_STATE_HELD ||
			!note.HeldUntil.AsTime().Equal(one.Note.HeldUntil.AsTime()) {
			t.Errorf("%s at the server without shadow: %v, %v, want the note as it was", verb, note, err)
		}
	}
	if r := plain.mustNote(t, asked("l", "b", "webhook", time.Minute)); r.Verdict != heldBy || r.Receipt != "" {
		t.Errorf("at the server without shadow: %s with receipt %q, want HELD without one", r.Verdict, r.Receipt)
	}
	note, err := finish(t, plain, model.Settle, one.Receipt)
	if err != nil || note.State != notedv1.State_STATE_SETTLED {
		t.Fatalf("the holder cannot settle at the server without shadow: %v, %v", note, err)
	}
	if got := strings.Count(log.String(), "settled a donation by hand"); got != 1 {
		t.Errorf("the audit tells of %d donations that were settled by hand, want 1: one receipt was in shadow", got)
	}
	if strings.Contains(log.String(), "released a donation") {
		t.Error("the log tells of a release by a receipt in shadow, which releases nothing")
	}
	if looked, err := shadowed.DonationExists(t.Context(), &notedv1.DonationExistsRequest{
		Donation: asked("l", "", "ipn", 0).Donation,
	}); err != nil || !looked.Exists {
		t.Errorf("DonationExists in shadow: %v, %v, want it as it is", looked, err)
	}

	shadowed.Stop()
	after := plain.mustNote(t, asked("l", "c", "webhook", time.Minute))
	if after.Verdict != duplicate || after.Note.DonationId != one.Note.DonationId || len(after.Note.Sightings) != 2 {
		t.Errorf("after shadow: %s of %v, want DUPLICATE with both sightings", after.Verdict, after.Note)
	}
	if note, err := finish(t, plain, model.Settle, second.Receipt); err != nil ||
		note.DonationId != one.Note.DonationId {
		t.Errorf("a receipt in shadow after shadow: %v, %v, want the note", note, err)
	}
}

// TestShadowEverywhere asks over every way and on a stream, looks at what an operator sees,
// and at the ledgers that a name and * put in shadow.
func TestShadowEverywhere(t *testing.T) {
	var log lockedBuffer
	n := start(t, servertest.Options{
		ShadowLedgers: []string{"shadowed", "named"}, Log: &log,
		Ledgers: map[string]server.LedgerRules{"named": {Retention: 100 * 24 * time.Hour}},
	})
	ways := waysTo(t, n)
	for name, call := range ways {
		request := asked("shadowed", "", "ipn", time.Minute)
		request.Donation.SeriesId = "I-" + strings.ReplaceAll(strings.ReplaceAll(name, " ", ""), ",", "")
		for i, want := range []notedv1.Verdict{first, heldBy} {
			response, err := call(t.Context(), request)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r := response.(*notedv1.NoteDonationResponse)
			if r.Verdict != first || r.ShadowVerdict != want || r.Receipt == "" {
				t.Errorf("%s, message %d: %s beside %s, receipt %q; want FIRST beside %s and a receipt",
					name, i, r.Verdict, r.ShadowVerdict, r.Receipt, want)
			}
		}
	}

	stream, err := n.NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	wrong := asked("shadowed", "", "ipn", time.Hour)
	for i, request := range []*notedv1.NoteDonationRequest{
		asked("shadowed", "", "ipn", 0), asked("shadowed", "", "webhook", 0), wrong, asked("plain", "", "ipn", 0),
		asked("plain", "", "webhook", 0),
	} {
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: request}); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"VERDICT_FIRST VERDICT_FIRST", "VERDICT_FIRST VERDICT_DUPLICATE", "INVALID_REQUEST",
			"VERDICT_FIRST VERDICT_UNSPECIFIED", "VERDICT_DUPLICATE VERDICT_UNSPECIFIED",
		}[i]
		got := r.GetError().GetReason()
		if r.GetError() == nil {
			got = fmt.Sprint(r.GetResponse().GetVerdict(), " ", r.GetResponse().GetShadowVerdict())
		}
		if got != want {
			t.Errorf("request %d on the stream: %s, want %s", i, got, want)
		}
	}

	if r := n.mustNote(t, asked("named", "", "ipn", 0)); r.ShadowVerdict != first ||
		r.Note.ForgetAt.AsTime().Sub(r.Note.NotedAt.AsTime()) != 100*24*time.Hour {
		t.Errorf("a ledger in shadow with settings of its own: %v, want both", r)
	}

	// An error is an error in shadow, too.
	reused := asked("shadowed", "x", "ipn", 0)
	reused.Donation.SeriesId = "I-reused"
	n.mustNote(t, reused)
	reused.Message.Id = "another"
	_, err = n.NoteDonation(t.Context(), reused)
	if got := toldBy(err); got.code != codes.InvalidArgument || got.reason != "noted.v1/REQUEST_ID_REUSED" {
		t.Errorf("a request id that is reused in shadow: %+v", got)
	}

	asTold := n.metric(t, "noted_verdicts_total", `ledger="shadowed"`, `verdict="first"`)
	if want := n.metric(t, "noted_verdicts_total", `ledger="shadowed"`); asTold == 0 || asTold != want {
		t.Errorf("noted_verdicts_total has %v first of %v in shadow, want all: that was the answer", asTold, want)
	}
	for verdict, want := range map[string]int{"first": len(ways) + 2, "held": len(ways), "duplicate": 1} {
		got := n.metric(t, "noted_shadow_verdicts_total", `ledger="shadowed"`, `verdict="`+verdict+`"`)
		if got != float64(want) {
			t.Errorf("noted_shadow_verdicts_total has %v %s, want %d", got, verdict, want)
		}
	}
	if n.metric(t, "noted_last_message_timestamp_seconds", `ledger="shadowed"`, `channel="ipn"`) == 0 {
		t.Error("a channel that tells in shadow has no last message")
	}
	if got := n.metric(t, "noted_shadow_verdicts_total", `ledger="plain"`); got != 0 {
		t.Errorf("noted_shadow_verdicts_total has %v of a ledger that is not in shadow", got)
	}
	if !strings.Contains(log.String(), `"level":"WARN","msg":"ledgers are in shadow`) ||
		!strings.Contains(log.String(), `"shadow_ledgers":"shadowed, named"`) {
		t.Errorf("the log does not warn of the ledgers in shadow:\n%s", log.String())
	}
	for _, page := range []string{"/readyz", "/healthz"} {
		got := get(t, "http://"+n.AdminAddr()+page)
		if !strings.Contains(got, "in shadow, where every answer is FIRST: shadowed, named") {
			t.Errorf("%s does not tell of the ledgers in shadow: %s", page, got)
		}
	}

	all := start(t, servertest.Options{ShadowLedgers: []string{"*"}})
	for _, ledger := range []string{"", "any"} {
		if r := all.mustNote(t, asked(ledger, "", "ipn", 0)); r.ShadowVerdict != first {
			t.Errorf("with * the ledger %q is not in shadow: %v", ledger, r)
		}
	}
	if got := get(t, "http://"+all.AdminAddr()+"/readyz"); !strings.Contains(got, "FIRST: every ledger") {
		t.Errorf("/readyz does not say that every ledger is in shadow: %s", got)
	}
}
