// Package calls answers the RPCs of the contract: check, ask the store, answer.
package calls

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/access"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/health"
	"github.com/donation-dedupe/noted/server/internal/limits"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// Config is what a Service needs.
type Config struct {
	Store       health.Store
	Access      *access.Access   // admits the requests on a stream one by one
	UnderWay    *limits.UnderWay // a batch of a stream counts as one call
	Rules       func(ledger string) store.Rules
	MaxDeadline time.Duration   // no question to the store waits longer
	Draining    <-chan struct{} // closed when the server is asked to stop
	Metrics     *metrics.Metrics
	Audit       metrics.Audit
}

// Service answers the calls of the contract. It knows nothing of the transport, so that
// the door can use it behind the same interceptors.
type Service struct {
	notedv1.UnimplementedDedupeServiceServer
	Config
	listings *limits.Listings
}

// New makes a Service.
func New(config Config) *Service { return &Service{Config: config, listings: limits.NewListings()} }

// NoteDonation decides and notes.
func (s *Service) NoteDonation(
	ctx context.Context,
	r *notedv1.NoteDonationRequest,
) (*notedv1.NoteDonationResponse, error) {
	if err := contract.CheckNote(r); err != nil {
		return nil, err
	}
	request := s.noteRequest(r)
	reply, err := s.Store.Note(ctx, request)
	if err != nil {
		return nil, contract.Refuse(err)
	}
	return s.noteResponse(request, reply), nil
}

// noteRequest is the question for the store. Every request has an id or a token of its
// own, so that a Redis client that repeats a script after a broken connection does no
// harm.
func (s *Service) noteRequest(r *notedv1.NoteDonationRequest) store.NoteRequest {
	request := store.NoteRequest{
		Donation:  contract.DonationOf(r.GetDonation()),
		Message:   contract.MessageOf(r.GetMessage()),
		Hold:      contract.HoldOf(r.GetHold()),
		RequestID: r.GetRequestId(),
	}
	request.Rules = s.rulesFor(request.Donation, request.Message)
	if request.RequestID == "" {
		request.Token = store.NewToken()
	}
	return request
}

// rulesFor are the rules for a message, with what this server has learned about its
// ledger.
func (s *Service) rulesFor(d store.Donation, m store.Message) store.Rules {
	rules := s.Rules(d.Ledger)
	if rules.TransactionIDs == store.Auto && d.TransactionID != "" {
		rules.Agreeing = s.Metrics.Learner.Agreeing(d.Ledger, d.Event, m.Channel)
	}
	return rules
}

// noteResponse is the answer to the caller. It counts the verdict.
func (s *Service) noteResponse(request store.NoteRequest, reply store.NoteReply) *notedv1.NoteDonationResponse {
	differs := contract.Differences(request.Donation, reply.Note.Donation)
	s.Metrics.Verdict(request, reply, differs)
	s.Metrics.Learner.Observe(request, reply)
	response := contract.NoteResponse(reply.Note)
	response.Verdict = notedv1.Verdict(reply.Verdict)
	response.Evidence = notedv1.Evidence(reply.Evidence)
	response.Receipt = reply.Receipt
	response.Differences = differs
	switch {
	case request.Rules.Shadow:
		response.Verdict, response.ShadowVerdict = notedv1.Verdict_VERDICT_FIRST, response.Verdict
	case reply.Verdict == store.Held:
		response.RetryAfter = durationpb.New(max(0, reply.Note.HeldUntil.Sub(reply.Now)))
	}
	return response
}

// DonationExists looks without noting.
func (s *Service) DonationExists(
	ctx context.Context,
	r *notedv1.DonationExistsRequest,
) (*notedv1.DonationExistsResponse, error) {
	if err := contract.CheckExists(r); err != nil {
		return nil, err
	}
	donation, message := contract.DonationOf(r.GetDonation()), contract.MessageOf(r.GetMessage())
	reply, err := s.Store.Exists(ctx, donation, message, s.rulesFor(donation, message))
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
func (s *Service) SettleDonation(
	ctx context.Context,
	r *notedv1.SettleDonationRequest,
) (*notedv1.SettleDonationResponse, error) {
	if err := contract.CheckSettle(r); err != nil {
		return nil, err
	}
	note, err := s.Store.Settle(ctx, r.GetReceipt())
	if err != nil {
		return nil, contract.Refuse(err)
	}
	if r.GetReason() != "" && !store.IsShadow(r.GetReceipt()) {
		s.Audit.Write(
			ctx,
			"settled a donation by hand",
			"ledger", note.Donation.Ledger,
			"series_id", note.Donation.SeriesID,
			"donation_id", note.DonationID,
			"attempt", note.Attempt,
			"reason", r.GetReason(),
		)
	}
	return &notedv1.SettleDonationResponse{Note: contract.NoteMessage(note)}, nil
}

// ReleaseDonation gives a hold up.
func (s *Service) ReleaseDonation(
	ctx context.Context,
	r *notedv1.ReleaseDonationRequest,
) (*notedv1.ReleaseDonationResponse, error) {
	if err := contract.CheckRelease(r); err != nil {
		return nil, err
	}
	note, err := s.Store.Release(ctx, r.GetReceipt())
	if err != nil {
		return nil, contract.Refuse(err)
	}
	if !store.IsShadow(r.GetReceipt()) {
		s.Metrics.Floods.Log(
			ctx,
			"released a donation",
			slog.LevelInfo,
			"released a donation",
			"caller", metrics.CallerOf(ctx),
			"peer", metrics.PeerOf(ctx),
			"ledger", note.Donation.Ledger,
			"donation_id", note.DonationID,
			"attempt", note.Attempt,
			"reason", r.GetReason(),
		)
	}
	return &notedv1.ReleaseDonationResponse{Note: contract.NoteMessage(note)}, nil
}

// ExtendHold prolongs a hold.
func (s *Service) ExtendHold(ctx context.Context, r *notedv1.ExtendHoldRequest) (*notedv1.ExtendHoldResponse, error) {
	if err := contract.CheckExtend(r); err != nil {
		return nil, err
	}
	note, err := s.Store.Extend(ctx, r.GetReceipt(), contract.HoldOf(r.GetHold()))
	if err != nil {
		return nil, contract.Refuse(err)
	}
	return &notedv1.ExtendHoldResponse{Note: contract.NoteMessage(note)}, nil
}

// ListDonations gives a page of notes.
func (s *Service) ListDonations(
	ctx context.Context,
	r *notedv1.ListDonationsRequest,
) (*notedv1.ListDonationsResponse, error) {
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
	if err := s.listings.Begin(ctx); err != nil {
		return nil, err
	}
	defer s.listings.End()
	reply, err := s.Store.List(ctx, request)
	if err != nil {
		return nil, contract.Refuse(err)
	}
	response := &notedv1.ListDonationsResponse{
		Notes:         make([]*notedv1.Note, len(reply.Notes)),
		NextPageToken: reply.NextPageToken,
	}
	for i, note := range reply.Notes {
		response.Notes[i] = contract.NoteMessage(note)
	}
	return response, nil
}

// ForgetDonation undoes a note, and writes to the audit which note and why.
func (s *Service) ForgetDonation(
	ctx context.Context,
	r *notedv1.ForgetDonationRequest,
) (*notedv1.ForgetDonationResponse, error) {
	if err := contract.CheckForget(r); err != nil {
		return nil, err
	}
	note, err := s.Store.Forget(ctx, r.GetLedger(), r.GetSeriesId(), r.GetDonationId())
	if err != nil {
		return nil, contract.Refuse(err)
	}
	s.Metrics.Forgot(r.GetLedger())
	s.Audit.Write(
		ctx,
		"forgot a donation",
		"ledger", r.GetLedger(),
		"series_id", r.GetSeriesId(),
		"donation_id", r.GetDonationId(),
		"state", notedv1.State(note.State).String(),
		"reason", r.GetReason(),
	)
	return &notedv1.ForgetDonationResponse{Note: contract.NoteMessage(note)}, nil
}
