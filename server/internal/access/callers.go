package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/jsonfile"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// A verb is a right that a caller has in its ledgers.
type verb string

// The verbs.
const (
	read  verb = "read"  // look and list
	note  verb = "note"  // note, settle, release, extend
	admin verb = "admin" // forget
)

var verbs = []string{string(read), string(note), string(admin)}

// everyLedger grants every ledger in the callers' file.
const everyLedger = "*"

// A right is what a caller needs for a method.
type right struct {
	open   bool                              // every client has it
	verb   verb                              // empty: every known caller has it
	ledger func(request any) (string, error) // nil: the call has no ledger
}

// rights has a row for each method. A method without a row is refused to every caller, so
// that a new method is closed until it has one.
var rights = map[string]right{
	notedv1.DedupeService_NoteDonation_FullMethodName:    {verb: note, ledger: ledgerOfDonation},
	notedv1.DedupeService_NoteDonations_FullMethodName:   {verb: note}, // Access.Note checks the ledger of each request
	notedv1.DedupeService_DonationExists_FullMethodName:  {verb: read, ledger: ledgerOfDonation},
	notedv1.DedupeService_SettleDonation_FullMethodName:  {verb: note, ledger: ledgerOfReceipt},
	notedv1.DedupeService_ReleaseDonation_FullMethodName: {verb: note, ledger: ledgerOfReceipt},
	notedv1.DedupeService_ExtendHold_FullMethodName:      {verb: note, ledger: ledgerOfReceipt},
	notedv1.DedupeService_ListDonations_FullMethodName:   {verb: read, ledger: ledgerOfRequest},
	notedv1.DedupeService_ForgetDonation_FullMethodName:  {verb: admin, ledger: ledgerOfRequest},

	healthpb.Health_Check_FullMethodName:                                   {open: true},
	healthpb.Health_Watch_FullMethodName:                                   {},
	healthpb.Health_List_FullMethodName:                                    {},
	reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName:      {}, // answered only with Config.Reflection
	reflectionalphapb.ServerReflection_ServerReflectionInfo_FullMethodName: {},
}

func ledgerOfDonation(request any) (string, error) {
	return request.(interface{ GetDonation() *notedv1.Donation }).GetDonation().GetLedger(), nil
}

func ledgerOfRequest(request any) (string, error) {
	return request.(interface{ GetLedger() string }).GetLedger(), nil
}

func ledgerOfReceipt(request any) (string, error) {
	return store.LedgerOf(request.(interface{ GetReceipt() string }).GetReceipt())
}

// A caller is a program that may call.
type caller struct {
	name    string
	ledgers []string // nil: every ledger
	verbs   []string
}

// everyone is the caller of a server without a file of callers.
func everyone(name string) *caller { return &caller{name: name, verbs: verbs} }

func (c *caller) has(ledger string) bool {
	return c.ledgers == nil || slices.Contains(c.ledgers, ledger)
}

// A token is the SHA-256 of the secret that a caller presents. A salt would protect
// nothing: tokens are 256 random bits.
type token struct {
	sum    [sha256.Size]byte
	caller *caller
}

// callers are the content of the callers' file.
type callers struct {
	tokens       []token
	certificates map[string]*caller // :: SPIFFE id or DNS name → its caller
	count        int
}

// byToken finds the caller of a token. It takes equally long for every token, known or
// not: it compares every sum, and the whole of it.
func (c *callers) byToken(presented string) *caller {
	sum := sha256.Sum256([]byte(presented))
	found := -1
	for i := range c.tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], c.tokens[i].sum[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return c.tokens[found].caller
}

// byCertificate finds the caller of a certificate. A certificate with the names of two
// callers belongs to neither.
func (c *callers) byCertificate(names []string) *caller {
	var found *caller
	for _, name := range names {
		switch owner := c.certificates[name]; {
		case owner == nil || owner == found:
		case found != nil:
			return nil
		default:
			found = owner
		}
	}
	return found
}

// callerSettings are the settings of a caller in the file.
var callerSettings = []string{"token_sha256", "certificate", "ledgers", "verbs"}

// readCallers reads the file of callers. It refuses a setting that it does not know or
// that makes no sense, and names the line.
func readCallers(path string, text []byte, certificates bool) (*callers, error) {
	all := &callers{certificates: map[string]*caller{}}
	err := jsonfile.Read(path, text, func(r *jsonfile.Reader) error {
		err := r.Object("caller", func(name string) error { return all.readCaller(r, name, certificates) })
		if err == nil && all.count == 0 {
			err = errors.New("it names no caller, so no client could call")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (c *callers) readCaller(r *jsonfile.Reader, name string, certificates bool) error {
	c.count++
	reading := &caller{name: name}
	if err := contract.Word(name, contract.MaxLedger); err != nil {
		return fmt.Errorf("its name %w", err)
	}
	var tokens int
	var certificate string
	var anyLedger bool
	err := r.Object("", func(setting string) error {
		switch setting {
		case "token_sha256":
			return r.Texts(setting, func(value string) error {
				if tokens++; tokens > 2 {
					return fmt.Errorf(
						"%s has more than two; a caller has one token, and a second while the first is being replaced",
						setting,
					)
				}
				sum, err := hex.DecodeString(value)
				if err != nil || len(sum) != sha256.Size {
					return fmt.Errorf(
						"%s holds a text that is not a SHA-256 of 64 hexadecimal digits; notectl token makes one",
						setting,
					) // not repeated: it may be the token itself
				}
				for _, other := range c.tokens {
					if [sha256.Size]byte(sum) == other.sum {
						return fmt.Errorf("%s holds a token that caller %q has already", setting, other.caller.name)
					}
				}
				c.tokens = append(c.tokens, token{sum: [sha256.Size]byte(sum), caller: reading})
				return nil
			})
		case "certificate":
			value, err := r.Text(setting)
			if err != nil {
				return err
			}
			certificate = value
			if !certificates {
				return fmt.Errorf("%s needs -tls-client-ca, against which it is checked", setting)
			}
			if err := certificateName(value); err != nil {
				return fmt.Errorf("%s is %q; %w", setting, value, err)
			}
			if other := c.certificates[value]; other != nil {
				return fmt.Errorf("%s belongs to caller %q already", setting, other.name)
			}
			c.certificates[value] = reading
			return nil
		case "ledgers":
			reading.ledgers = []string{}
			return r.Texts(setting, func(value string) error {
				if value == everyLedger {
					anyLedger = true
				} else if err := contract.Word(value, contract.MaxLedger); err != nil {
					return fmt.Errorf("ledger %q %w", value, err)
				}
				reading.ledgers = append(reading.ledgers, value)
				return nil
			})
		case "verbs":
			return r.Texts(setting, func(value string) error {
				if !slices.Contains(verbs, value) {
					return fmt.Errorf("there is no verb %q; there are %s", value, strings.Join(verbs, ", "))
				}
				reading.verbs = append(reading.verbs, value)
				return nil
			})
		}
		return fmt.Errorf("there is no setting %q; there are %s", setting, strings.Join(callerSettings, ", "))
	})
	switch {
	case err != nil:
		return err
	case tokens == 0 && certificate == "":
		return errors.New("nothing says how it is known; give token_sha256, certificate, or both")
	case len(reading.ledgers) == 0:
		return errors.New(`ledgers is missing; name each, or write ["*"] for every one ("" is a ledger too)`)
	case len(reading.verbs) == 0:
		return fmt.Errorf("verbs is missing; there are %s", strings.Join(verbs, ", "))
	}
	if anyLedger {
		reading.ledgers = nil
	}
	return nil
}

func certificateName(name string) error {
	if strings.HasPrefix(name, "spiffe://") {
		if id, err := url.Parse(name); err != nil || id.Host == "" || id.String() != name {
			return errors.New(
				"that is not a SPIFFE id; write it as the certificate has it, such as spiffe://example.org/gateway",
			)
		}
		return nil
	}
	for _, letter := range name {
		if letter != '-' && letter != '.' && (letter < '0' || letter > '9') && (letter < 'a' || letter > 'z') {
			return errors.New(
				"write a SPIFFE id, or a DNS name in small letters as the certificate has it; neither may hold a *",
			)
		}
	}
	if name == "" {
		return errors.New("write a SPIFFE id or a DNS name")
	}
	return nil
}

// certificateNames are the names that identify a certificate: its SPIFFE ids and DNS
// names. The common name does not count: no CA vouches for it.
func certificateNames(certificate *x509.Certificate) []string {
	var names []string
	for _, uri := range certificate.URIs {
		if uri.Scheme == "spiffe" {
			names = append(names, uri.String())
		}
	}
	return append(names, certificate.DNSNames...)
}
