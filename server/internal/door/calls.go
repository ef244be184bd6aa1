package door

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// NoteDonation is of notedv1connect.DedupeServiceHandler, as are all that follow.
func (d *Door) NoteDonation(
	ctx context.Context,
	r *notedv1.NoteDonationRequest,
) (*notedv1.NoteDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_NoteDonation_FullMethodName, r, d.Service.NoteDonation)
}

// DonationExists looks.
func (d *Door) DonationExists(
	ctx context.Context,
	r *notedv1.DonationExistsRequest,
) (*notedv1.DonationExistsResponse, error) {
	return through(ctx, d, notedv1.DedupeService_DonationExists_FullMethodName, r, d.Service.DonationExists)
}

// SettleDonation settles.
func (d *Door) SettleDonation(
	ctx context.Context,
	r *notedv1.SettleDonationRequest,
) (*notedv1.SettleDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_SettleDonation_FullMethodName, r, d.Service.SettleDonation)
}

// ReleaseDonation releases.
func (d *Door) ReleaseDonation(
	ctx context.Context,
	r *notedv1.ReleaseDonationRequest,
) (*notedv1.ReleaseDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ReleaseDonation_FullMethodName, r, d.Service.ReleaseDonation)
}

// ExtendHold extends.
func (d *Door) ExtendHold(ctx context.Context, r *notedv1.ExtendHoldRequest) (*notedv1.ExtendHoldResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ExtendHold_FullMethodName, r, d.Service.ExtendHold)
}

// ListDonations lists.
func (d *Door) ListDonations(
	ctx context.Context,
	r *notedv1.ListDonationsRequest,
) (*notedv1.ListDonationsResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ListDonations_FullMethodName, r, d.Service.ListDonations)
}

// ForgetDonation forgets.
func (d *Door) ForgetDonation(
	ctx context.Context,
	r *notedv1.ForgetDonationRequest,
) (*notedv1.ForgetDonationResponse, error) {
	return through(ctx, d, notedv1.DedupeService_ForgetDonation_FullMethodName, r, d.Service.ForgetDonation)
}

func (d *Door) check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return through(ctx, d, healthProcedure, r, d.Health.Check)
}

// through passes a call through the interceptors, outermost first, to the method that
// answers it.
func through[Request, Response any](ctx context.Context, d *Door, method string, request *Request,
	answer func(context.Context, *Request) (*Response, error),
) (*Response, error) {
	info := &grpc.UnaryServerInfo{Server: d.Service, FullMethod: method}
	handler := func(ctx context.Context, request any) (any, error) { return answer(ctx, request.(*Request)) }
	for _, interceptor := range slices.Backward(d.Unary) {
		inner := handler
		handler = func(ctx context.Context, request any) (any, error) { return interceptor(ctx, request, info, inner) }
	}
	response, err := handler(ctx, request)
	if err != nil {
		return nil, connectError(err)
	}
	return response.(*Response), nil
}
