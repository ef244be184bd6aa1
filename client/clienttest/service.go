package clienttest

import (
	"context"
	"crypto/rand"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// NoteDonation answers Client.Note.
func (f *Fake) NoteDonation(
	_ context.Context,
	r *notedv1.NoteDonationRequest,
) (*notedv1.NoteDonationResponse, error) {
	if err := check(r.GetDonation(), r.GetMessage(), r.GetHold()); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget()
	request := r.GetRequestId()
	if request == "" {
		request = rand.Text()
	}
	asked := f.asking(r.GetDonation(), r.GetMessage())
	found, evidence := f.find(asked, request)
	if found != nil && evidence == notedv1.Evidence_EVIDENCE_SAME_REQUEST && found.reused(asked) {
		return nil, invalid("REQUEST_ID_REUSED", "request_id", "belongs to another message; give each call its own")
	}
	verdict := notedv1.Verdict_VERDICT_FIRST
	switch {
	case found == nil:
		found, evidence = f.add(asked), notedv1.Evidence_EVIDENCE_NEW
		f.take(found, request, r.GetHold().AsDuration())
	case evidence == notedv1.Evidence_EVIDENCE_SAME_REQUEST && !found.released:
		if found.state(f.now) == notedv1.State_STATE_OPEN {
			found.hold(r.GetHold().AsDuration(), f.now)
		}
	case found.state(f.now) == notedv1.State_STATE_OPEN:
		evidence = notedv1.Evidence_EVIDENCE_TAKEN_OVER
		found.Attempt++
		f.take(found, request, r.GetHold().AsDuration())
		found.own = found.see(asked, f.now)
	case found.state(f.now) == notedv1.State_STATE_HELD:
		verdict = notedv1.Verdict_VERDICT_HELD
		found.see(asked, f.now)
	default:
		verdict = notedv1.Verdict_VERDICT_DUPLICATE
		found.see(asked, f.now)
	}
	response := &notedv1.NoteDonationResponse{
		Verdict: verdict, Note: found.as(f.now), Evidence: evidence, Differences: found.differences(asked),
	}
	switch {
	case f.shadow && verdict != notedv1.Verdict_VERDICT_FIRST && r.GetHold().AsDuration() > 0:
		response.Receipt = rand.Text()
		f.receipts[response.Receipt] = holding{note: found, shadow: true}
	case verdict == notedv1.Verdict_VERDICT_FIRST && r.GetHold().AsDuration() > 0:
		response.Receipt = found.receipt
	case f.shadow:
	case verdict == notedv1.Verdict_VERDICT_HELD:
		response.RetryAfter = durationpb.New(found.HeldUntil.AsTime().Sub(f.now))
	}
	if f.shadow {
		response.Verdict, response.ShadowVerdict = notedv1.Verdict_VERDICT_FIRST, verdict
	}
	return response, nil
}

// DonationExists answers Client.Exists.
func (f *Fake) DonationExists(
	_ context.Context,
	r *notedv1.DonationExistsRequest,
) (*notedv1.DonationExistsResponse, error) {
	if err := check(r.GetDonation(), r.GetMessage(), nil); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forget()
	found, evidence := f.find(f.asking(r.GetDonation(), r.GetMessage()), "")
	if found == nil {
		return &notedv1.DonationExistsResponse{}, nil
	}
	return &notedv1.DonationExistsResponse{
		Exists: found.state(f.now) != notedv1.State_STATE_OPEN, Note: found.as(f.now), Evidence: evidence,
	}, nil
}

// SettleDonation answers Client.Settle.
func (f *Fake) SettleDonation(
	_ context.Context,
	r *notedv1.SettleDonationRequest,
) (*notedv1.SettleDonationResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held, shadow, err := f.holder(r.GetReceipt())
	if err != nil {
		return nil, err
	}
	if shadow {
		return &notedv1.SettleDonationResponse{Note: held.as(f.now)}, nil
	}
	if held.released {
		return nil, f.refuseReceipt("HOLD_RELEASED")
	}
	held.HeldUntil = nil
	return &notedv1.SettleDonationResponse{Note: held.as(f.now)}, nil
}

// ReleaseDonation answers Client.Release.
func (f *Fake) ReleaseDonation(
	_ context.Context,
	r *notedv1.ReleaseDonationRequest,
) (*notedv1.ReleaseDonationResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held, shadow, err := f.holder(r.GetReceipt())
	if err != nil {
		return nil, err
	}
	if shadow {
		return &notedv1.ReleaseDonationResponse{Note: held.as(f.now)}, nil
	}
	if held.state(f.now) == notedv1.State_STATE_SETTLED {
		return nil, f.refuseReceipt("ALREADY_SETTLED")
	}
	held.HeldUntil, held.released = nil, true
	return &notedv1.ReleaseDonationResponse{Note: held.as(f.now)}, nil
}

// ExtendHold answers Client.Extend.
func (f *Fake) ExtendHold(_ context.Context, r *notedv1.ExtendHoldRequest) (*notedv1.ExtendHoldResponse, error) {
	hold := r.GetHold().AsDuration()
	if hold <= 0 || hold > maxHold {
		return nil, invalid("INVALID_REQUEST", "hold", "must be more than 0 and at most 15 minutes")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	held, shadow, err := f.holder(r.GetReceipt())
	switch {
	case err != nil:
		return nil, err
	case shadow:
		return &notedv1.ExtendHoldResponse{Note: held.as(f.now)}, nil
	case held.released:
		return nil, f.refuseReceipt("HOLD_RELEASED")
	case held.HeldUntil == nil:
		return nil, f.refuseReceipt("ALREADY_SETTLED")
	}
	held.hold(hold, f.now)
	return &notedv1.ExtendHoldResponse{Note: held.as(f.now)}, nil
}

// The calls that the fake does not know.

// NoteDonations refuses Client.Notes.
func (*Fake) NoteDonations(
	grpc.BidiStreamingServer[notedv1.NoteDonationsRequest, notedv1.NoteDonationsResponse],
) error {
	return unknown("Notes")
}

// ListDonations refuses Client.List and Client.Page.
func (*Fake) ListDonations(
	context.Context,
	*notedv1.ListDonationsRequest,
) (*notedv1.ListDonationsResponse, error) {
	return nil, unknown("List")
}

// ForgetDonation refuses Client.Forget.
func (*Fake) ForgetDonation(
	context.Context,
	*notedv1.ForgetDonationRequest,
) (*notedv1.ForgetDonationResponse, error) {
	return nil, unknown("Forget")
}

func unknown(call string) error {
	return status.Errorf(codes.Unimplemented, "the fake does not know %s; test it with server/servertest", call)
}
