package server_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
)

var (
	unauthenticated = told{code: codes.Unauthenticated, reason: "noted.v1/UNAUTHENTICATED"}
	verbDenied      = told{code: codes.PermissionDenied, reason: "noted.v1/VERB_DENIED"}
	ledgerDenied    = told{code: codes.PermissionDenied, reason: "noted.v1/LEDGER_DENIED"}
	allowed         = told{code: codes.OK}
)

// withRights starts a server whose callers have different rights.
func withRights(t *testing.T) configuredServer {
	t.Helper()
	path := callersFile(
		t,
		inDir(t, "callers.json"),
		byToken("reader", "reads", `"live"`, `"read"`),
		byToken("gateway", "notes", `"live"`, `"note"`),
		byToken(
			"operator",
			"operates",
			`"*"`,
			`"read", "note", "admin"`,
		),
		byToken("nameless", "unnamed", `""`, `"read", "note", "admin"`),
	)
	return startConfigured(t, func(c *server.Config) { c.Callers, c.HTTPListen = path, "127.0.0.1:0" })
}

// A rightsCall is a call that needs a verb.
type rightsCall struct {
	verb, name string
	call       func(c client, ledger string) error
}

// Each caller may make only the calls that it has rights for, by either door.
func TestRights(t *testing.T) {
	s := withRights(t)
	operator := s.as(t, nil, "operates")
	receipts := map[string]string{}
	for _, ledger := range []string{"live", "sandbox", ""} {
		first, err := operator.NoteDonation(t.Context(), held(inLedger(ledger, "I-held"), time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		receipts[ledger] = first.Receipt
	}
	// An answer of the store means that the call was admitted: another caller has settled
	// before, or the donation is unknown.
	asked := func(err error) error {
		if code := status.Code(err); code == codes.FailedPrecondition || code == codes.InvalidArgument {
			return nil
		}
		return err
	}
	calls := []rightsCall{
		{"read", "DonationExists", func(c client, ledger string) error {
			_, err := c.DonationExists(
				t.Context(),
				&notedv1.DonationExistsRequest{Donation: &notedv1.Donation{Ledger: ledger, SeriesId: "I-1"}},
			)
			return err
		}},
		{"read", "ListDonations", func(c client, ledger string) error {
			_, err := c.ListDonations(t.Context(), &notedv1.ListDonationsRequest{Ledger: ledger})
			return err
		}},
		{"note", "NoteDonation", func(c client, ledger string) error {
			_, err := c.NoteDonation(t.Context(), inLedger(ledger, "I-1"))
			return err
		}},
		// In this way a gateway finds out whether it may note.
		{"note", "NoteDonation of no series", func(c client, ledger string) error {
			_, err := c.NoteDonation(t.Context(), inLedger(ledger, ""))
			if status.Code(err) == codes.OK {
				t.Errorf("a donation without a series was noted in ledger %q", ledger)
			}
			return asked(err)
		}},
		{"note", "ExtendHold", func(c client, ledger string) error {
			_, err := c.ExtendHold(
				t.Context(),
				&notedv1.ExtendHoldRequest{Receipt: receipts[ledger], Hold: durationpb.New(time.Minute)},
			)
			return asked(err)
		}},
		{"note", "SettleDonation", func(c client, ledger string) error {
			_, err := c.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: receipts[ledger]})
			return err
		}},
		{"note", "ReleaseDonation", func(c client, ledger string) error {
			_, err := c.ReleaseDonation(t.Context(), &notedv1.ReleaseDonationRequest{Receipt: receipts[ledger]})
			return asked(err)
		}},
		{"admin", "ForgetDonation", func(c client, ledger string) error {
			_, err := c.ForgetDonation(
				t.Context(),
				&notedv1.ForgetDonationRequest{Ledger: ledger, SeriesId: "I-none", DonationId: "none", Reason: "test"},
			)
			return asked(err)
		}},
	}
	wantEveryCall(t, func(rpc string) bool {
		return rpc == "NoteDonations" || // see TestRightsOnAStream
			slices.ContainsFunc(calls, func(c rightsCall) bool { return c.name == rpc })
	})
	grants := map[string]struct {
		token, verbs string
		ledgers      []string
	}{
		"reader":  {"reads", "read", []string{"live"}},
		"gateway": {"notes", "note", []string{"live"}},
		"operator": {
			"operates",
			"read note admin",
			[]string{"live", "sandbox", ""},
		},
		"nameless": {"unnamed", "read note admin", []string{""}},
		"stranger": {"guess", "", nil},
	}
	admitted := map[string]bool{}
	for who, granted := range grants {
		caller := s.as(t, nil, granted.token)
		for _, call := range calls {
			for ledger := range receipts {
				want := allowed
				switch {
				case who == "stranger":
					want = unauthenticated
				case !strings.Contains(granted.verbs, call.verb):
					want = verbDenied
				case !strings.Contains("|"+strings.Join(granted.ledgers, "|")+"|", "|"+ledger+"|"):
					want = ledgerDenied
				}
				if got := toldBy(call.call(caller, ledger)); got != want {
					t.Errorf("%s of %s in ledger %q: %+v, want %+v", call.name, who, ledger, got, want)
				}
				admitted[call.name] = admitted[call.name] || want == allowed
			}
		}
	}
	for _, call := range calls {
		if !admitted[call.name] {
			t.Errorf("no caller here has the verb %q, so %s was never allowed", call.verb, call.name)
		}
	}
	if got := s.logged(
		`"msg":"audit: denied a call"`,
		`"caller":"gateway"`,
		`"reason":"LEDGER_DENIED"`,
		`"ledger":"sandbox"`,
		`"peer":"127.0.0.1:`,
		"SettleDonation",
	); got != 1 {
		t.Errorf("the log has %d lines about the gateway settling in another's ledger, want 1", got)
	}
	if got := s.logged(
		`"msg":"audit: denied a call"`,
		`"reason":"UNAUTHENTICATED"`,
		"its token is not known",
	); got < 3*len(
		calls,
	) {
		t.Errorf("%d denials of the stranger are logged, want at least %d", got, 3*len(calls))
	}
	if s.logged("guess") != 0 {
		t.Error("the log has a token that was presented")
	}
	if got := s.metric(t, "noted_refusals_total", `reason="LEDGER_DENIED"`, `rpc="SettleDonation"`); got != 4 {
		t.Errorf("noted_refusals_total has %v denied settlements, want 4", got)
	}
}

// The same rights count over HTTP.
func TestRightsOverHTTP(t *testing.T) {
	s := withRights(t)
	for token, want := range map[string]string{
		"notes": `200 {"verdict":`, "reads": `403 {"code":"permission_denied"`,
		"guess": `401 {"code":"unauthenticated"`, "": `401 {"code":"unauthenticated"`,
	} {
		response, body := noteAtTheDoor(
			t, http.DefaultClient, "http://"+s.HTTPAddr(), `{"donation":{"ledger":"live","series_id":"I-http"}}`, token,
		)
		got := strings.ReplaceAll(fmt.Sprintf("%d %s", response.StatusCode, body), ": ", ":")
		if !strings.HasPrefix(got, strings.ReplaceAll(want, ": ", ":")) {
			t.Errorf("over HTTP with token %q: %s, want %s…", token, got, want)
		}
	}
}

// Rights are checked before the store is asked. While the store is away, an unknown
// caller still gets UNAUTHENTICATED only.
func TestRightsBeforeTheStore(t *testing.T) {
	path := callersFile(t, inDir(t, "callers.json"), byToken("gateway", "right", `"live"`, `"note"`))
	s := startConfigured(t, func(c *server.Config) { c.Callers, c.Redis = path, "redis://127.0.0.1:1" })
	c := s.as(t, nil, "right")
	for ledger, want := range map[string]codes.Code{
		"live": codes.Unavailable, "sandbox": codes.PermissionDenied, "LIVE": codes.PermissionDenied, "live ": codes.PermissionDenied, "": codes.PermissionDenied, "*": codes.PermissionDenied,
		strings.Repeat("x", 5000) + "\n": codes.PermissionDenied,
	} {
		if _, err := c.NoteDonation(t.Context(), inLedger(ledger, "I-1")); status.Code(err) != want {
			t.Errorf("ledger %.20q: %v, want %v", ledger, err, want)
		}
	}
	if got := toldBy(func() error {
		_, err := c.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: "no-receipt"})
		return err
	}()); got != (told{code: codes.InvalidArgument, reason: "noted.v1/INVALID_REQUEST", fields: "receipt"}) {
		t.Errorf("no receipt: %+v, want INVALID_REQUEST", got)
	}
	for line := range strings.Lines(s.log.String()) {
		if len(line) > 2000 {
			t.Errorf("a stranger's ledger fills the log: %d bytes", len(line))
		}
	}
}

// On a stream each request is checked by itself, against the present callers.
func TestRightsOnAStream(t *testing.T) {
	path := callersFile(
		t,
		inDir(t, "callers.json"),
		byToken("gateway", "right", `"live"`, `"note"`),
		byToken("reader", "reads", `"live"`, `"read"`),
	)
	s := startConfigured(t, func(c *server.Config) { c.Callers = path })
	for token, want := range map[string]told{"": unauthenticated, "wrong": unauthenticated, "reads": verbDenied} {
		stream, err := s.as(t, nil, token).NoteDonations(t.Context())
		if err == nil {
			_, err = stream.Recv()
		}
		if got := toldBy(err); got != want {
			t.Errorf("a stream with token %q: %+v, want %+v", token, got, want)
		}
	}
	stream, err := s.as(t, nil, "right").NoteDonations(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ledger, series string) string {
		t.Helper()
		if err := stream.Send(&notedv1.NoteDonationsRequest{Request: inLedger(ledger, series)}); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetError().GetReason() + answer.GetResponse().GetVerdict().String()
	}
	for _, step := range []struct{ ledger, want string }{
		{"live", "VERDICT_FIRST"}, {"sandbox", "LEDGER_DENIEDVERDICT_UNSPECIFIED"}, {"live", "VERDICT_DUPLICATE"},
	} {
		if got := ask(step.ledger, "I-1"); got != step.want {
			t.Errorf("in ledger %q: %s, want %s", step.ledger, got, step.want)
		}
	}
	callersFile(t, path, byToken("reader", "reads", `"live"`, `"read"`))
	s.Reload()
	if got, want := ask("live", "I-2"), "UNAUTHENTICATEDVERDICT_UNSPECIFIED"; got != want {
		t.Errorf("after the caller was removed: %s, want %s", got, want)
	}
	callersFile(t, path, byToken("gateway", "right", `"live"`, `"note"`))
	s.Reload()
	if got, want := ask("live", "I-2"), "VERDICT_FIRST"; got != want {
		t.Errorf("after it was added again: %s, want %s: the refused request must not have noted", got, want)
	}
	stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
}

// A caller is known by its certificate, or without one by its token. A certificate does
// not excuse an unknown token.
func TestCallersByCertificate(t *testing.T) {
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	cert, key := ca.Issue(nil).Files(t, dir)
	path := callersFile(
		t,
		inDir(t, "callers.json"),
		byCertificate("spiffe", "spiffe://example.org/gateway", `"live"`, `"note"`),
		byCertificate("dns", "backfill.example.org", `"*"`, `"read"`),
		byToken("token", "right", `"live"`, `"note"`),
	)
	s := startConfigured(t, func(c *server.Config) {
		c.TLSCert, c.TLSKey, c.TLSClientCA, c.Callers, c.HTTPListen = cert, key, pkitest.Write(
			t,
			inDir(t, "ca.pem"),
			ca.PEM(),
		), path, "127.0.0.1:0"
	})
	with := func(names ...string) *tls.Config {
		config := &tls.Config{RootCAs: ca.Pool()}
		for _, name := range names {
			config.Certificates = append(config.Certificates, ca.Named(name).TLS(t))
		}
		return config
	}
	for _, c := range []struct {
		name  string
		tls   *tls.Config
		token string
		want  told
	}{
		{"a SPIFFE id", with("spiffe://example.org/gateway"), "", allowed},
		{"a DNS name", with("backfill.example.org"), "", verbDenied},
		{"another SPIFFE id", with("spiffe://example.org/gateway2"), "", unauthenticated},
		{"the name of a caller as a DNS name", with("spiffe"), "", unauthenticated},
		{"a token alone", with(), "right", allowed},
		{"neither", with(), "", unauthenticated},
		{"both", with("backfill.example.org"), "right", allowed},
		{"a wrong token beside a certificate", with("spiffe://example.org/gateway"), "wrong", unauthenticated},
	} {
		_, err := s.as(t, c.tls, c.token).NoteDonation(t.Context(), inLedger("live", "I-1"))
		if got := toldBy(err); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		transport := &http.Transport{TLSClientConfig: c.tls.Clone(), ForceAttemptHTTP2: true}
		response, _ := noteAtTheDoor(
			t, &http.Client{Transport: transport}, "https://"+s.HTTPAddr(),
			`{"donation":{"ledger":"live","series_id":"I-1"}}`, c.token,
		)
		transport.CloseIdleConnections()
		want := map[codes.Code]int{codes.OK: 200, codes.Unauthenticated: 401, codes.PermissionDenied: 403}[c.want.code]
		if response.StatusCode != want || response.ProtoMajor != 2 {
			t.Errorf("%s, over HTTP/%d: %d, want %d", c.name, response.ProtoMajor, response.StatusCode, want)
		}
	}
}

// A receipt whose hold another has taken over leaves a line in the audit, and so does
// forgetting.
func TestAudit(t *testing.T) {
	path := callersFile(t, inDir(t, "callers.json"), byToken("gateway", "right", `"live"`, `"note", "admin"`))
	s := startConfigured(t, func(c *server.Config) { c.Callers = path })
	c := s.as(t, nil, "right")
	first, err := c.NoteDonation(t.Context(), held(inLedger("live", "I-1"), 20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "another takes over", func() bool {
		again, err := c.NoteDonation(t.Context(), held(inLedger("live", "I-1"), time.Minute))
		return err == nil && again.Verdict == notedv1.Verdict_VERDICT_FIRST
	})
	if _, err := c.SettleDonation(
		t.Context(),
		&notedv1.SettleDonationRequest{Receipt: first.Receipt},
	); toldBy(
		err,
	).reason != "noted.v1/HOLD_LOST" {
		t.Fatalf("SettleDonation: %v, want HOLD_LOST", err)
	}
	if got := s.logged(
		"audit: refused a receipt",
		`"caller":"gateway"`,
		`"ledger":"live"`,
		`"reason":"HOLD_LOST"`,
		"SettleDonation",
	); got != 1 {
		t.Errorf("%d lines tell of the stranger's settlement, want 1", got)
	}
	if _, err := c.ForgetDonation(
		t.Context(),
		&notedv1.ForgetDonationRequest{
			Ledger:     "live",
			SeriesId:   "I-1",
			DonationId: first.Note.DonationId,
			Reason:     "a test",
		},
	); err != nil {
		t.Fatal(err)
	}
	if got := s.logged(
		"audit: forgot a donation",
		`"caller":"gateway"`,
		first.Note.DonationId,
		`"reason":"a test"`,
		`"peer":"127.0.0.1:`,
	); got != 1 {
		t.Errorf("%d lines tell of the forgetting, want 1", got)
	}
	if s.logged(first.Receipt) != 0 {
		t.Error("the log has a receipt")
	}
}

// A denied call leaves one line, in the audit, for every caller and at both doors. If the
// audit has a file, the log gets a line too.
func TestADenialIsOneLine(t *testing.T) {
	for name, audit := range map[string]*lockedBuffer{"in the log": nil, "elsewhere": {}} {
		t.Run(name, func(t *testing.T) {
			callers := callersFile(t, inDir(t, "callers.json"), byToken("reader", "reads", `"live"`, `"read"`))
			s := startConfigured(t, func(c *server.Config) {
				c.Callers, c.HTTPListen = callers, "127.0.0.1:0"
				if audit != nil {
					c.Audit = slog.New(slog.NewJSONHandler(audit, nil))
				}
			})
			tokens := []string{"", "guess", "reads"}
			for _, token := range tokens {
				c := s.as(t, nil, token)
				if _, err := c.NoteDonation(t.Context(), inLedger("live", "I-1")); err == nil {
					t.Fatalf("%q may note", token)
				}
				stream, err := c.NoteDonations(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); err == nil {
					t.Fatalf("%q may note on a stream", token)
				}
				noteAtTheDoor(t, http.DefaultClient, "http://"+s.HTTPAddr(), `{"donation":{"series_id":"I-1"}}`, token)
			}
			s.stop()
			want, calls := 3*len(tokens), s.logged("finished call", "PermissionDenied")+s.logged("finished call", "Unauthenticated")
			audited := s.logged("audit: denied a call")
			if audit == nil && (audited != want || calls != 0) {
				t.Errorf("%d lines of the audit and %d of calls, want %d and none:\n%s", audited, calls, want, s.log)
			}
			if audit != nil && (audited != 0 || calls != want || strings.Count(audit.String(), "denied a call") != want) {
				t.Errorf("%d lines of calls, want %d, and as many in the audit:\n%s\n%s", calls, want, s.log, audit)
			}
		})
	}
}
