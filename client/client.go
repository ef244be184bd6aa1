// Package client asks Noted whether a donation has been noted already, so that each is
// processed once.
//
//	noted, err := client.New("127.0.0.1:50051", client.Config{})
//	if err != nil { … }
//	defer noted.Close()
//
//	verdict, err := noted.Once(ctx, donation, message, func(ctx context.Context, note *client.Note) error {
//		return book(ctx, note.GetDonationId(), donation)
//	})
//	if err != nil || verdict == client.Held { // Once's comment names the errors with another answer
//		http.Error(w, "come back later", http.StatusServiceUnavailable)
//	}
//
// Most programs need only New and [Client.Once]. Once notes the donation with a hold,
// runs the function if the donation is the caller's to process, and settles or releases
// the note. Its comment lists every outcome and the answer to PayPal. client/paypal turns
// PayPal's messages into donations and messages ([FromPayPal] converts them);
// client/clienttest is a fake for unit tests, and server/servertest starts a server in a
// test.
//
// # Calls
//
// Each RPC of the contract has a method: [Client.Note], [Client.Notes] (the stream),
// [Client.Exists], [Client.Settle], [Client.Release], [Client.Extend], [Client.List],
// [Client.Forget]. [Client.Serving] asks for the server's health. A context without a
// deadline gets [Config].Timeout. Goroutines may share a Client; one for each server is
// enough.
//
// # Errors
//
// On an error nothing is known of the donation: do not process it, and do not take it for
// a duplicate. Every reason of the contract has a sentinel for errors.Is, such as
// [ErrSeriesFull]. [ErrUnavailable] matches each error that another try may cure. An
// answer about another series than the request's is an error too, [ErrWrongAnswer]. The
// gRPC status stays readable with status.FromError, context.Canceled and
// context.DeadlineExceeded match as they do elsewhere, and [RetryAfter] and [Violations]
// read the details.
//
// # Retries
//
// The client makes an UNAVAILABLE call up to four times in all, within the caller's
// deadline. The wait between two tries grows, is jittered, and is never shorter than the
// server asks for. Retries cannot double or lose a donation: every note has a request id,
// and its repeat gets the same answer. The client repeats no call that failed otherwise,
// and it never repeats Forget, whose repeat would not find the note.
//
// A program that repeats a Note by itself, such as after a restart, must give the same
// RequestId. [Client.Once] tries to settle until SettleTimeout is over, and to extend
// until the hold is over, whatever is left of the budget below: by then the donation is
// processed, or about to be.
//
// # Security
//
// The client speaks plaintext to this machine (127.0.0.1, ::1, localhost, a unix socket),
// and TLS with the system's certificates to every other, unless Config says otherwise. It
// never sends a token in plaintext over a network.
//
// # Design
//
// The retries are not gRPC's service config, which ignores google.rpc.RetryInfo. The
// client also begins no try that could not end in time, so the caller learns why the last
// try failed and not only that time was up. A budget for each client bounds the retries:
// when most calls fail, each is tried once. The client ignores a resolver's service
// config, so that DNS cannot turn other retries on.
//
// The calls go round the addresses by gRPC's round_robin. It connects to each of them, so
// a server that dies costs the calls under way there one more try, and no call a dial.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// The defaults of Config.
const (
	DefaultTimeout       = 5 * time.Second
	DefaultHold          = 60 * time.Second // longer than a PayPal listener may take, which is 30 s
	DefaultSettleTimeout = 15 * time.Second
)

// maxHold is the longest hold of the contract.
const maxHold = 15 * time.Minute

// Config says how to reach a server and how long to wait for it. The zero value is ready
// to use.
type Config struct {
	// Timeout bounds a call without a deadline, its retries included. 0 means
	// DefaultTimeout.
	Timeout time.Duration

	// Hold is how long Once holds a donation at a time. Once extends it while the function
	// runs, so it bounds how long a donation waits after a crash and not how long the
	// function may take. Up to 15 minutes; 0 means DefaultHold.
	Hold time.Duration

	// SettleTimeout bounds how long Once tries to settle or release after the function has
	// ended, even when the caller's context has ended. 0 means DefaultSettleTimeout.
	SettleTimeout time.Duration

	// TLS turns TLS on, also to this machine. If it is nil, the client uses TLS with the
	// system's certificates to every other machine.
	TLS *tls.Config

	// CA holds PEM certificates. One of them must have signed the server's; the system's and
	// TLS.RootCAs do not count. Turns TLS on.
	CA []byte

	// Plaintext turns TLS off, also to another machine. Anyone on the way can then read,
	// forge and suppress donations.
	Plaintext bool

	// Token returns the bearer token of a call, so that a program may renew it; an empty
	// token is not sent. Needs TLS, except to this machine.
	Token func(context.Context) (string, error)

	// DialOptions come after the client's own and so outweigh them: interceptors, a stats
	// handler, a dialer. OpenTelemetry's stats handler traces a call, and Noted continues
	// the trace:
	//
	//	grpc.WithStatsHandler(otelgrpc.NewClientHandler())
	DialOptions []grpc.DialOption
}

// Client asks one Noted server, or several behind one name.
type Client struct {
	conn          *grpc.ClientConn
	rpc           notedv1.DedupeServiceClient
	budget        *budget
	timeout       time.Duration
	hold          time.Duration
	settleTimeout time.Duration
}

// New makes a client of the server at target, such as "127.0.0.1:50051" or
// "dns:///noted.internal:50051". It does not connect: the first call does, and fails with
// ErrUnavailable if the server is away.
//
// Servers that share a store may share the calls: a name with several addresses means all
// of them, and so does a list such as "noted-1:50051,noted-2:50051". The calls go to the
// addresses in turn. An address that is away is left out until it is back, and a call that
// was under way there is tried at another.
func New(target string, config Config) (*Client, error) {
	c := &Client{
		budget:        newBudget(),
		timeout:       orDefault(config.Timeout, DefaultTimeout),
		hold:          orDefault(config.Hold, DefaultHold),
		settleTimeout: orDefault(config.SettleTimeout, DefaultSettleTimeout),
	}
	if c.timeout < 0 || c.settleTimeout < 0 || c.hold < time.Millisecond || c.hold > maxHold {
		return nil, fmt.Errorf(
			"making a client of %s: Timeout and SettleTimeout must not be negative, and Hold must be between 1ms and %s",
			target,
			maxHold,
		)
	}
	options, err := config.dialOptions(target)
	if err != nil {
		return nil, fmt.Errorf("making a client of %s: %w", target, err)
	}
	name := target
	if isList(target) {
		name = listScheme + ":///" + target
	}
	c.conn, err = grpc.NewClient(name, options...)
	if err != nil {
		return nil, fmt.Errorf("making a client of %s: %w", target, err)
	}
	c.rpc = notedv1.NewDedupeServiceClient(c.conn)
	return c, nil
}

// Close closes the connection. Calls under way fail.
func (c *Client) Close() error { return c.conn.Close() }

// bounded gives ctx the default deadline if it has no deadline.
func (c *Client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (config Config) dialOptions(target string) ([]grpc.DialOption, error) {
	transport, err := config.transport(target)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(), // that of a resolver; the next one holds
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		// A page of a thousand notes of sixteen sightings is larger than gRPC's 4 MiB.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
		// A server that restarts is found again within the retries of a call; gRPC's own
		// first wait is a second.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  baseBackoff,
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   5 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		// A connection that a router has forgotten is noticed before the next call has to
		// wait for it. The server tolerates a ping every 10 s.
		grpc.WithKeepaliveParams(
			keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true},
		),
	}
	if isList(target) {
		addresses, err := listed(target)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithResolvers(addresses))
	}
	if config.Token != nil {
		options = append(options, grpc.WithPerRPCCredentials(bearer{token: config.Token, local: loopback(target)}))
	}
	return append(options, config.DialOptions...), nil
}

func (config Config) transport(target string) (credentials.TransportCredentials, error) {
	encrypt := config.TLS != nil || config.CA != nil
	switch {
	case encrypt && config.Plaintext:
		return nil, errors.New("both Plaintext and TLS or CA are set: choose one")
	case config.Plaintext && config.Token != nil && !loopback(target):
		return nil, errors.New("a token is not sent in plaintext over a network: use TLS")
	case config.Plaintext, !encrypt && loopback(target):
		return insecure.NewCredentials(), nil
	}
	settings := config.TLS.Clone()
	if settings == nil {
		settings = &tls.Config{}
	}
	if config.CA != nil {
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(config.CA) {
			return nil, errors.New("reading CA: no PEM certificate in it")
		}
	}
	return credentials.NewTLS(settings), nil
}

// bearer sends a token with each call.
type bearer struct {
	token func(context.Context) (string, error)
	local bool
}

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a token: %w", err)
	}
	if token == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return !b.local }
