package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/donation-dedupe/noted/client"
)

// versionHeader is the metadata with which a server sends its version beside its health.
const versionHeader = "noted-version"

// soon is the time before a certificate's end at which the doctor advises its renewal.
const soon = 14 * 24 * time.Hour

// A Wire remembers the metadata of the last answer.
type Wire struct {
	header metadata.MD
	peer   peer.Peer
}

// Option makes a client's calls fill the Wire.
func (w *Wire) Option() grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		w.header, w.peer = nil, peer.Peer{}
		return invoke(ctx, method, request, reply, conn, append(options, grpc.Header(&w.header), grpc.Peer(&w.peer))...)
	})
}

// Version is the server's version, after a health call; empty if the server did not send
// it.
func (w *Wire) Version() string {
	if values := w.header.Get(versionHeader); len(values) > 0 {
		return values[0]
	}
	return ""
}

// overContract makes the calls that every client may make, then the calls that its rights
// allow.
func (v *visit) overContract(ctx context.Context) {
	v.told.address = v.server.Address
	var wire Wire
	noted, err := v.server.Dial(wire.Option())
	if err != nil {
		v.tell("connection", Fault, err.Error(), v.Hint(err))
		return
	}
	defer noted.Close()
	asking, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	err = noted.Serving(asking)
	answered := err == nil || errors.Is(err, client.ErrStoreUnavailable)
	if !answered {
		v.tell("connection", Fault, err.Error(), v.Hint(err))
		return
	}
	v.connection(wire.peer)
	if v.told.version = wire.Version(); v.told.version != "" {
		v.tell("version", Well, v.told.version, "")
	} else {
		v.tell(
			"version",
			Unseen,
			"it does not send its version, like releases before this one",
			"run noted -version there",
		)
	}
	if err != nil {
		v.tell("health", Fault, "NOT_SERVING: it answers, but cannot note a donation",
			"its log and /readyz on its -admin-listen say why; -admin shows it here")
	} else {
		v.tell("health", Well, "SERVING", "")
	}
	if v.rights(ctx, noted) {
		v.notes(ctx, noted)
	} else {
		v.tell("notes", Unseen, "how far notes reach back, and whether the channels' ids agree",
			"needs the verb read in the ledger; noted_channel_pairs_total on its -admin-listen shows the ids too")
	}
}

func (v *visit) connection(p peer.Peer) {
	secure, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		if onThisMachine(p.Addr) {
			v.tell("connection", Well, "plaintext, on this machine", "")
		} else {
			v.tell(
				"connection",
				Advice,
				"plaintext over a network: a machine in between can read, forge and suppress donations",
				"give the server -tls-cert and -tls-key",
			)
		}
		return
	}
	found := tls.VersionName(secure.State.Version)
	if len(secure.State.PeerCertificates) == 0 {
		v.tell("connection", Well, found, "")
		return
	}
	ends := secure.State.PeerCertificates[0].NotAfter
	found += ", the certificate ends at " + ends.Local().Format("2006-01-02 15:04:05 MST")
	if ends.Sub(v.Now()) < soon {
		v.tell("connection", Advice, found, "renew it; the server reads the new file by itself")
		return
	}
	v.tell("connection", Well, found, "")
}

func onThisMachine(addr net.Addr) bool {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.IP.IsLoopback()
	}
	return addr != nil && addr.Network() == "unix"
}

// rights finds the verbs that this caller has in the ledger, and whether read is among
// them. Each request is malformed. A server that grants the verb refuses it as malformed.
func (v *visit) rights(ctx context.Context, noted *client.Client) (read bool) {
	ask := func(question func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, v.Timeout)
		defer cancel()
		return question(ctx)
	}
	var granted, denied []string
	var unknown error
	for _, verb := range []struct {
		name     string
		question func(context.Context) error
	}{
		{"read", func(ctx context.Context) error {
			_, err := noted.Page(ctx, &client.ListRequest{Ledger: v.Ledger, PageSize: -1})
			return err
		}},
		{"note", func(ctx context.Context) error {
			_, err := noted.Note(ctx, &client.NoteRequest{Donation: &client.Donation{Ledger: v.Ledger}})
			return err
		}},
		{"admin", func(ctx context.Context) error {
			_, err := noted.Forget(ctx, &client.ForgetRequest{Ledger: v.Ledger})
			return err
		}},
	} {
		switch err := ask(verb.question); {
		case status.Code(err) == codes.InvalidArgument:
			granted = append(granted, verb.name)
		case errors.Is(err, client.ErrUnauthenticated):
			v.tell("rights", Unseen, "none: the server requires a caller's identity", v.Hint(err))
			return false
		case errors.Is(err, client.ErrLedgerDenied):
			v.tell("rights", Unseen, fmt.Sprintf("none in the ledger %q", v.Ledger), v.Hint(err))
			return false
		case errors.Is(err, client.ErrVerbDenied):
			denied = append(denied, verb.name)
		default:
			unknown = err
		}
	}
	found := fmt.Sprintf("in the ledger %q: %s", v.Ledger, strings.Join(granted, ", "))
	if len(granted) == 0 {
		found += "none"
	}
	if len(denied) > 0 {
		found += "; not " + strings.Join(denied, ", ")
	}
	if unknown != nil {
		v.tell("rights", Unseen, found+"; the others are unknown: "+unknown.Error(), v.Hint(unknown))
	} else {
		v.tell("rights", Well, found, "")
	}
	return slices.Contains(granted, "read")
}
