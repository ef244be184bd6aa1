package server

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/agreement"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// service answers the calls of the contract: check, ask the store, answer. It knows nothing of the transport, so that a second door can
// use it behind the same interceptors.
type service struct {
	notedv1.UnimplementedDedupeServiceServer

	store     guarded
	access    *access   // what comes on a stream is looked at one by one
	underWay  *underWay // and a batch of it is one call
	listings  *listings
	rules     func(ledger string) store.Rules
	ceiling   time.Duration   // no question to the store waits longer
	draining  <-chan struct{} // closed when the server is asked to stop
	telemetry *metrics.Metrics
	learner   *agreement.Learner
	audit     metrics.Audit
}

// NoteDonation decides and notes.
func (s *service) NoteDonation(ctx context.Context, r *notedv1.NoteDonationRequest) (*notedv1.NoteDonationResponse, error) {
	if err := contract.CheckNote(r); err != nil {
		return nil, err
	}
	request := s.noteRequest(r)
	reply, err := s.store.Note(ctx, request)
	if err != nil {
		return nil, contract.Refuse(err)
	}
	return s.noteResponse(request, reply), nil
}

// noteRequest is what the store is asked. Every request has a request id: a Redis client that repeats a script after a broken
// connection is harmless then.
func (s *service) noteRequest(r *notedv1.NoteDonationRequest) store.NoteRequest {
	request := store.NoteRequest{
		Donation:  contract.DonationOf(r.GetDonation()),
		Message:   contract.MessageOf(r.GetMessage()),
		Hold:      contract.HoldOf(r.GetHold()),
		RequestID: r.GetRequestId(),
	}
	request.Rules = s.rulesFor(request.Donation, request.Message)
	if request.RequestID == "" {
		request.RequestID = rand.Text()
	}
	return request
}

// rulesFor are the rules that decide about a message, with what the ledger has taught this server.
func (s *service) rulesFor(d store.Donation, m store.Message) store.Rules {
	rules := s.rules(d.Ledger)
	if rules.TransactionIDs == store.Auto && d.TransactionID != "" {
		rules.Agreeing = s.learner.Agreeing(d.Ledger, d.Event, m.Channel)
	}
	return rules
}

// noteResponse is what the caller is told; the verdict is counted.
func (s *service) noteResponse(request store.NoteRequest, reply store.NoteReply) *notedv1.NoteDonationResponse {
	differs := contract.Differences(request.Donation, reply.Note.Donation)
	s.telemetry.Verdict(request, reply, differs)
	s.learner.Observe(request, reply)
	response := &notedv1.NoteDonationResponse{
		Verdict:     notedv1.Verdict(reply.Verdict),
		Note:        contract.NoteMessage(reply.Note),
		Evidence:    notedv1.Evidence(reply.Evidence),
		Receipt:     reply.Receipt,
		Differences: differs,
	}
	if reply.Verdict == store.Held {
		response.RetryAfter = durationpb.New(max(0, reply.Note.HeldUntil.Sub(reply.Now)))
	}
	return response
}

// DonationExists looks without noting.
func (s *service) DonationExists(ctx context.Context, r *notedv1.DonationExistsRequest) (*notedv1.DonationExistsResponse, error) {
	if err := contract.CheckExists(r); err != nil {
		return nil, err
	}
	donation, message := contract.DonationOf(r.GetDonation()), contract.MessageOf(r.GetMessage())
	reply, err := s.store.Exists(ctx, donation, message, s.rulesFor(donation, message))
	if err != nil {
		return nil, contract.Refuse(err)
	}
	if reply.Evidence == 0 {
		return &notedv1.DonationExistsResponse{}, nil
	}
	return &notedv1.DonationExistsResponse{
		Exists:   reply.Note.State == store.StateSettled || reply.Note.State == store.StateHeld,
		Note:     contract.NoteMessage(reply.Note),
		Evidence: notedv1.Evidence(reply.Evidence),
	}, nil
}

// SettleDonation makes a note final.
func (s *service) SettleDonation(ctx context.Context, r *notedv1.SettleDonationRequest) (*notedv1.SettleDonationResponse, error) {
	if err := contract.CheckSettle(r); err != nil {
		return nil, err
	}
	note, err := s.store.Settle(ctx, r.GetReceipt())
	if err != nil {
		return nil, contract.Refuse(err)
	}
	if r.GetReason() != "" {
		s.audit.Write(ctx, "settled a donation by hand", "ledger", note.Donation.Ledger, "series_id", note.Donation.SeriesID,
			"donation_id", note.DonationID, "attempt", note.Attempt, "reason", r.GetReason())
	}
	return &notedv1.SettleDonationResponse{Note: contract.NoteMessage(note)}, nil
}

// ReleaseDonation gives a hold up.
func (s *service) ReleaseDonation(ctx context.Context, r *notedv1.ReleaseDonationRequest) (*notedv1.ReleaseDonationResponse, error) {
	if err := contract.CheckRelease(r); err != nil {
		return nil, err
	}
	note, err := s.store.Release(ctx, r.GetReceipt())
	if err != nil {
		return nil, contract.Refuse(err)
	}
	s.telemetry.Floods.Log(ctx, "released a donation", slog.LevelInfo, "released a donation", "caller", metrics.CallerOf(ctx), "peer", metrics.PeerOf(ctx), "ledger", note.Donation.Ledger,
		"donation_id", note.DonationID, "attempt", note.Attempt, "reason", r.GetReason())
	return &notedv1.ReleaseDonationResponse{Note: contract.NoteMessage(note)}, nil
}

// ExtendHold gives the holder longer.
func (s *service) ExtendHold(ctx context.Context, r *notedv1.ExtendHoldRequest) (*notedv1.ExtendHoldResponse, error) {
	if err := contract.CheckExtend(r); err != nil {
		return nil, err
	}
	note, err := s.store.Extend(ctx, r.GetReceipt(), contract.HoldOf(r.GetHold()))
	if err != nil {
		return nil, contract.Refuse(err)
	}
	return &notedv1.ExtendHoldResponse{Note: contract.NoteMessage(note)}, nil
}

// ListDonations gives a page of notes.
func (s *service) ListDonations(ctx context.Context, r *notedv1.ListDonationsRequest) (*notedv1.ListDonationsResponse, error) {
	if err := contract.CheckList(r); err != nil {
		return nil, err
	}
	request := store.ListRequest{
		Ledger:      r.GetLedger(),
		SeriesID:    r.GetSeriesId(),
		State:       store.State(r.GetState()),
		SeenOnlyOn:  r.GetSeenOnlyOn(),
		NotedAfter:  contract.TimeOf(r.GetNotedAfter()),
		NotedBefore: contract.TimeOf(r.GetNotedBefore()),

		TransactionID: r.GetTransactionId(),

		PageSize:  int(r.GetPageSize()),
		PageBytes: contract.MaxPage,
		PageToken: r.GetPageToken(),
	}
	if request.PageSize == 0 {
		request.PageSize = contract.DefaultPageSize
	}
	if err := s.listings.begin(ctx); err != nil {
		return nil, err
	}
	defer s.listings.end()
	reply, err := s.store.List(ctx, request)
	if err != nil {
		return nil, contract.Refuse(err)
	}
	response := &notedv1.ListDonationsResponse{Notes: make([]*notedv1.Note, len(reply.Notes)), NextPageToken: reply.NextPageToken}
	for i, note := range reply.Notes {
		response.Notes[i] = contract.NoteMessage(note)
	}
	return response, nil
}

// ForgetDonation undoes a note, and leaves a line in the log that says which and why.
func (s *service) ForgetDonation(ctx context.Context, r *notedv1.ForgetDonationRequest) (*notedv1.ForgetDonationResponse, error) {
	if err := contract.CheckForget(r); err != nil {
		return nil, err
	}
	note, err := s.store.Forget(ctx, r.GetLedger(), r.GetSeriesId(), r.GetDonationId())
	if err != nil {
		return nil, contract.Refuse(err)
	}
	s.audit.Write(ctx, "forgot a donation", "ledger", r.GetLedger(), "series_id", r.GetSeriesId(), "donation_id", r.GetDonationId(), "state", notedv1.State(note.State).String(), "reason", r.GetReason())
	return &notedv1.ForgetDonationResponse{Note: contract.NoteMessage(note)}, nil
}
