package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// NewRequestID makes an id for NoteRequest.RequestId. It is random, because the receipt
// can be made from it.
func NewRequestID() string { return rand.Text() }

// Note decides whether the donation has been noted already, and notes it, in one step. It
// sends a RequestId even if the request has no RequestId, and does not change the
// request.
//
// With a Hold, First comes with a receipt, which the caller must Settle or Release: Once
// does that. Without a Hold the note is final at once.
//
// In a ledger that is in shadow the verdict is First for every message, and ShadowVerdict
// is the true one; see TrueVerdict.
func (c *Client) Note(ctx context.Context, request *NoteRequest) (*NoteResponse, error) {
	act := "noting " + request.GetDonation().GetSeriesId()
	response, err := call(ctx, c, act, unary(c.rpc.NoteDonation), withRequestID(request))
	if err != nil {
		return nil, err
	}
	if err := checkNote(act, request.GetDonation(), response.GetNote()); err != nil {
		return nil, err
	}
	return response, nil
}

// withRequestID returns the request, or a copy that has a request id.
func withRequestID(request *NoteRequest) *NoteRequest {
	if request.GetRequestId() != "" {
		return request
	}
	request = proto.CloneOf(request)
	if request == nil {
		request = &NoteRequest{}
	}
	request.RequestId = NewRequestID()
	return request
}

// Exists decides as Note does, and notes nothing. It is for looking: another caller may
// come between a look and a note. Existence.Exists is true for a settled or held note,
// and false for an open note, which is returned. The message may be nil.
func (c *Client) Exists(ctx context.Context, donation *Donation, message *Message) (*Existence, error) {
	act := "looking for " + donation.GetSeriesId()
	found, err := call(ctx, c, act, unary(c.rpc.DonationExists), &ExistsRequest{Donation: donation, Message: message})
	if err != nil {
		return nil, err
	}
	if found.GetExists() || found.GetNote() != nil {
		if err := checkNote(act, donation, found.GetNote()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Settle makes the note of a receipt final. A repeat is safe. ErrSettledByAnother means
// that the donation has been processed twice. The reason is for the server's audit when a
// person settles by hand; receivers leave it empty.
func (c *Client) Settle(ctx context.Context, receipt, reason string) (*Note, error) {
	request := &notedv1.SettleDonationRequest{Receipt: receipt, Reason: reason}
	response, err := call(ctx, c, "settling", unary(c.rpc.SettleDonation), request)
	return response.GetNote(), err
}

// Release gives a hold up: the next message of the donation is First again. The reason is
// for the server's log, without personal data.
func (c *Client) Release(ctx context.Context, receipt, reason string) (*Note, error) {
	response, err := call(
		ctx,
		c,
		"releasing",
		unary(c.rpc.ReleaseDonation),
		&notedv1.ReleaseDonationRequest{Receipt: receipt, Reason: reason},
	)
	return response.GetNote(), err
}

// Extend makes a hold last until now plus hold. A hold that has run out can be extended
// until another attempt takes over.
func (c *Client) Extend(ctx context.Context, receipt string, hold time.Duration) (*Note, error) {
	response, err := call(
		ctx,
		c,
		"extending a hold",
		unary(c.rpc.ExtendHold),
		&notedv1.ExtendHoldRequest{Receipt: receipt, Hold: durationpb.New(hold)},
	)
	return response.GetNote(), err
}

// List yields every note that the request describes, page by page. An error is its last
// result. Config.Timeout bounds each page; a deadline of ctx bounds all of them.
func (c *Client) List(ctx context.Context, request *ListRequest) iter.Seq2[*Note, error] {
	return func(yield func(*Note, error) bool) {
		request := proto.CloneOf(request)
		if request == nil {
			request = &ListRequest{}
		}
		for {
			page, err := c.Page(ctx, request)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, note := range page.GetNotes() {
				if !yield(note, nil) {
					return
				}
			}
			if page.GetNextPageToken() == "" {
				return
			}
			request.PageToken = page.GetNextPageToken()
		}
	}
}

// Page is one page of a listing. A page may be short or empty and still not be the last,
// which has no NextPageToken.
func (c *Client) Page(ctx context.Context, request *ListRequest) (*Page, error) {
	page, err := call(ctx, c, "listing", unary(c.rpc.ListDonations), request)
	if err != nil {
		return nil, err
	}
	for _, note := range page.GetNotes() {
		asked := &Donation{Ledger: request.GetLedger(), SeriesId: request.GetSeriesId()}
		if asked.SeriesId == "" { // every series
			asked.SeriesId = note.GetDonation().GetSeriesId()
		}
		if err := checkNote("listing", asked, note); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// Forget undoes a note and returns it as it was: the next message of the donation is
// First. It is tried once: after ErrUnavailable, look before asking again, since a repeat
// would find no note.
func (c *Client) Forget(ctx context.Context, request *ForgetRequest) (*Note, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	act := "forgetting " + request.GetDonationId()
	response, err := c.rpc.ForgetDonation(ctx, request)
	if err != nil {
		return nil, failing(act, err)
	}
	asked := &Note{
		DonationId: request.GetDonationId(),
		Donation:   &Donation{Ledger: request.GetLedger(), SeriesId: request.GetSeriesId()},
	}
	if err := checkSameNote(act, asked, response.GetNote()); err != nil {
		return nil, err
	}
	return response.GetNote(), nil
}

// Serving returns nil while the server can use its store. It asks gRPC's health service,
// which is open to every caller, so it says nothing of this client's rights. It is tried
// once. ErrStoreUnavailable means that the server answers and its store does not.
func (c *Client) Serving(ctx context.Context) error {
	const act = "asking for health"
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := &healthpb.HealthCheckRequest{Service: notedv1.DedupeService_ServiceDesc.ServiceName}
	response, err := healthpb.NewHealthClient(c.conn).Check(ctx, request)
	switch {
	case err != nil:
		return failing(act, err, contextError(ctx, err)...)
	case response.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		const why = "the server cannot use its store; its log and its /readyz say why"
		return failed(act, codes.Unavailable, why, "STORE_UNAVAILABLE")
	}
	return nil
}

// checkNote refuses a note of another ledger or series than the request's. A gRPC library
// that forked with open connections has been seen to give one process the answer to
// another's request.
func checkNote(act string, asked *Donation, note *Note) error {
	got := note.GetDonation()
	if got.GetLedger() == asked.GetLedger() && got.GetSeriesId() == asked.GetSeriesId() {
		return nil
	}
	return wrongAnswer(act, fmt.Sprintf("series %q of ledger %q", got.GetSeriesId(), got.GetLedger()))
}

// checkSameNote refuses another note than the known one.
func checkSameNote(act string, known, note *Note) error {
	if err := checkNote(act, known.GetDonation(), note); err != nil {
		return err
	}
	if note.GetDonationId() != known.GetDonationId() {
		return wrongAnswer(act, "donation "+note.GetDonationId())
	}
	return nil
}

// unary drops the call options, which no method of this package uses.
func unary[Request, Response any](
	rpc func(context.Context, *Request, ...grpc.CallOption) (*Response, error),
) func(context.Context, *Request) (*Response, error) {
	return func(ctx context.Context, request *Request) (*Response, error) { return rpc(ctx, request) }
}
