package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

func sumOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func TestReadCallers(t *testing.T) {
	text := fmt.Sprintf(`{
		"gateway": {"token_sha256": [%q, %q], "ledgers": ["paypal-live", ""], "verbs": ["note"]},
		"operator": {"certificate": "spiffe://example.org/operator", "ledgers": ["*"], "verbs": ["read", "admin"]}
	}`, sumOf("one"), strings.ToUpper(sumOf("two")))
	known, err := readCallers("callers.json", []byte(text), true)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{"one": "gateway", "two": "gateway", "three": "", "": ""} {
		got := ""
		if who := known.byToken(token); who != nil {
			got = who.name
		}
		if got != want {
			t.Errorf("token %q is that of %q, want %q", token, got, want)
		}
	}
	gateway, operator := known.byToken(
		"one",
	), known.byCertificate(
		[]string{"elsewhere", "spiffe://example.org/operator"},
	)
	if !gateway.has("paypal-live") || !gateway.has("") || gateway.has("paypal-sandbox") || gateway.has("*") {
		t.Errorf("the gateway's ledgers are %q", gateway.ledgers)
	}
	if operator == nil || !operator.has("anything") || !operator.has("") {
		t.Errorf("the operator is %+v, want every ledger", operator)
	}

	good := `"ledgers": ["*"], "verbs": ["read"]`
	bad := map[string]string{
		"":                        "callers.json line 1: the file ends too early",
		"{\n}":                    "line 2: it names no caller",
		"[]":                      "line 1: an object, {…}, must be here",
		"{\n\"a b\": {}}":         `line 2: caller "a b": its name may hold printable ASCII`,
		"{\"a\": {" + good + "}}": `caller "a": nothing says how it is known`,
		"{\"a\": {\"token_sha256\": [], " + good + "}}":                                                                             `caller "a": nothing says how it is known`,
		"{\"a\": {\n\"token_sha256\": [\"secretcanary\"]}}":                                                                         `line 2: caller "a": token_sha256 holds a text that is not a SHA-256`,
		"{\"a\": {\"token_sha256\": \"x\"}}":                                                                                        "token_sha256 must be a list of texts",
		"{\"a\": {\"token_sha256\": [1]}}":                                                                                          "token_sha256 must be a text",
		"{\"a\": {\"token_sha256\": [\"" + sumOf("1") + "\", \"" + sumOf("2") + "\",\n\"" + sumOf("3") + "\"]}}":                    "line 2: caller \"a\": token_sha256 has more than two",
		"{\"a\": {\"token_sha256\": [\"" + sumOf("1") + "\"], " + good + "},\n\"b\": {\"token_sha256\": [\"" + sumOf("1") + "\"]}}": `line 2: caller "b": token_sha256 holds a token that caller "a" has already`,
		"{\"a\": {\"certificate\": \"a.example\", " + good + "},\n\"b\": {\"certificate\": \"a.example\"}}":                         `line 2: caller "b": certificate belongs to caller "a" already`,
		"{\"a\": {\"certificate\": \"*.example\", " + good + "}}":                                                                   "neither may hold a *",
		"{\"a\": {\"certificate\": \"A.example\", " + good + "}}":                                                                   "small letters",
		"{\"a\": {\"certificate\": \"\", " + good + "}}":                                                                            "write a SPIFFE id or a DNS name",
		"{\"a\": {\"certificate\": \"spiffe:///x\", " + good + "}}":                                                                 "not a SPIFFE id",
		"{\"a\": {\"certificate\": \"a.example\", \"verbs\": [\"read\"]}}":                                                          "ledgers is missing",
		"{\"a\": {\"certificate\": \"a.example\", \"ledgers\": [], \"verbs\": [\"read\"]}}":                                         "ledgers is missing",
		"{\"a\": {\"certificate\": \"a.example\", \"ledgers\": [\"*\"]}}":                                                           "verbs is missing",
		"{\"a\": {\"certificate\": \"a.example\", \"ledgers\": [\"*\"], \"verbs\": [\"write\"]}}":                                   `there is no verb "write"; there are read, note, admin`,
		"{\"a\": {\"certificate\": \"a.example\", \"ledgers\": [\"a b\"], \"verbs\": [\"read\"]}}":                                  `ledger "a b" may hold`,
		"{\"a\": {\"ledger\": [\"*\"]}}":                                                                                            `there is no setting "ledger"; there are token_sha256, certificate, ledgers, verbs`,
		"{\"a\": {" + good + ",\n\"verbs\": [\"note\"]}}":                                                                           `line 2: caller "a": "verbs" is there twice`,
		"{\"a\": {\"certificate\": \"a.example\", " + good + "},\n\n\"a\": {}}":                                                     `line 3: caller "a" is there twice`,
		"{\"a\": {\"certificate\": \"a.example\", " + good + "}}\n\n{}":                                                             "line 3: there is more after the end",
		"{\"a\": {\"certificate\": \"a.example\", \"ledgers\": [\"*\"\n\"verbs\"]}}":                                                "line 2",
	}
	for text, want := range bad {
		if _, err := readCallers(
			"callers.json",
			[]byte(text),
			true,
		); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s\nis read with %v, want %q", text, err, want)
		} else if strings.Contains(
			err.Error(),
			"canary",
		) {
			t.Errorf("the error repeats what may be a token: %v", err)
		}
	}
	if _, err := readCallers(
		"callers.json",
		[]byte(`{"a": {"certificate": "a.example", `+good+`}}`),
		false,
	); err == nil ||
		!strings.Contains(err.Error(), "-tls-client-ca") {
		t.Errorf("a certificate without -tls-client-ca: %v, want an error that names the flag", err)
	}
}

// A certificate with the names of two callers identifies neither.
func TestCertificateOfTwo(t *testing.T) {
	a, b := &caller{name: "a"}, &caller{name: "b"}
	known := &callers{certificates: map[string]*caller{"a.example": a, "b.example": b, "also-a.example": a}}
	for names, want := range map[string]*caller{
		"a.example": a, "a.example also-a.example": a, "a.example b.example": nil, "b.example other": b, "other": nil,
		"": nil,
	} {
		if got := known.byCertificate(strings.Fields(names)); got != want {
			t.Errorf("%q is %v, want %v", names, got, want)
		}
	}
}

// Every method that the server registers has a row in rights. A method without a row is
// closed even to a caller with every verb.
func TestEveryMethodHasItsRights(t *testing.T) {
	for _, service := range []grpc.ServiceDesc{notedv1.DedupeService_ServiceDesc, healthpb.Health_ServiceDesc} {
		for _, method := range service.Methods {
			if _, ok := rights["/"+service.ServiceName+"/"+method.MethodName]; !ok {
				t.Errorf("%s of %s has no rights", method.MethodName, service.ServiceName)
			}
		}
		for _, method := range service.Streams {
			if _, ok := rights["/"+service.ServiceName+"/"+method.StreamName]; !ok {
				t.Errorf("%s of %s has no rights", method.StreamName, service.ServiceName)
			}
		}
	}
	for method, right := range rights {
		if strings.HasPrefix(method, "/noted.v1.") && (right.open || right.verb == "") {
			t.Errorf("%s needs no verb", method)
		}
	}
	a := New(Config{
		Audit:   metrics.NewAudit(discard, discard),
		Denials: func(string, net.Addr) time.Duration { return 0 },
		Metrics: metrics.New(metrics.Config{Logger: discard}),
	})
	if _, err := a.Admit(
		t.Context(),
		"/noted.v1.DedupeService/SettleEverything",
		nil,
	); contract.ReasonOf(
		err,
	) != "VERB_DENIED" {
		t.Errorf("a method without a row: %v, want VERB_DENIED", err)
	}
}

// BenchmarkTokens shows that looking up a token takes the same time for every token:
// known or unknown, first or last in the file, similar to a known one or not.
func BenchmarkTokens(b *testing.B) {
	const many = 100
	var known callers
	numbered := func(i int) string { return fmt.Sprintf("noted_%043d", i) }
	for i := range many {
		known.tokens = append(
			known.tokens,
			token{sum: sha256.Sum256([]byte(numbered(i))), caller: everyone(fmt.Sprint(i))},
		)
	}
	for name, presented := range map[string]string{
		"first": numbered(0), "last": numbered(many - 1), "unknown": numbered(many),
		"unlike": strings.Repeat("x", len(numbered(0))),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				known.byToken(presented)
			}
		})
	}
}

var discard = slog.New(slog.DiscardHandler)
