package server

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

// A verb is what a caller may be granted in its ledgers.
type verb string

// The verbs.
const (
	read  verb = "read"  // look and list
	note  verb = "note"  // note, settle, release, extend
	admin verb = "admin" // forget
)

var verbs = []string{string(read), string(note), string(admin)}

// everyLedger, in the callers' file, grants every ledger, named or not.
const everyLedger = "*"

// A right is what a call needs.
type right struct {
	open   bool                              // everybody has it
	verb   verb                              // empty where every known caller has it
	ledger func(request any) (string, error) // nil where the call is of no ledger
}

// rights are what each method needs. A method that is not here is refused to everybody, so that a new one is closed until somebody has thought of it.
var rights = map[string]right{
	notedv1.DedupeService_NoteDonation_FullMethodName:    {verb: note, ledger: ledgerOfDonation},
	notedv1.DedupeService_NoteDonations_FullMethodName:   {verb: note}, // the ledger of each request is looked at where it is answered
	notedv1.DedupeService_DonationExists_FullMethodName:  {verb: read, ledger: ledgerOfDonation},
	notedv1.DedupeService_SettleDonation_FullMethodName:  {verb: note, ledger: ledgerOfReceipt},
	notedv1.DedupeService_ReleaseDonation_FullMethodName: {verb: note, ledger: ledgerOfReceipt},
	notedv1.DedupeService_ExtendHold_FullMethodName:      {verb: note, ledger: ledgerOfReceipt},
	notedv1.DedupeService_ListDonations_FullMethodName:   {verb: read, ledger: ledgerOfRequest},
	notedv1.DedupeService_ForgetDonation_FullMethodName:  {verb: admin, ledger: ledgerOfRequest},

	healthpb.Health_Check_FullMethodName:                                   {open: true},
	healthpb.Health_Watch_FullMethodName:                                   {},
	healthpb.Health_List_FullMethodName:                                    {},
	reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName:      {}, // answered only where Config.Reflection says so
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

// A caller is somebody who may call.
type caller struct {
	name    string
	ledgers []string // nil where every ledger is granted
	verbs   []string
}

// everybody is who calls a server that has no file of callers.
func everybody(name string) *caller { return &caller{name: name, verbs: verbs} }

func (c *caller) has(ledger string) bool {
	return c.ledgers == nil || slices.Contains(c.ledgers, ledger)
}

// A token is how one of the callers is known: the SHA-256 of what it presents. A salt would protect nothing: tokens are 256 random bits.
type token struct {
	sum    [sha256.Size]byte
	caller *caller
}

// callers are the content of the callers' file.
type callers struct {
	tokens       []token
	certificates map[string]*caller // :: SPIFFE id or DNS name → who it is
	count        int
}

// byToken finds who presents a token. It takes as long for one that is known as for one that is not: every sum is compared, wholly.
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

// byCertificate finds whose certificate it is. One that bears the names of two callers is nobody's.
func (c *callers) byCertificate(names []string) *caller {
	var found *caller
	for _, name := range names {
		switch who := c.certificates[name]; {
		case who == nil || who == found:
		case found != nil:
			return nil
		default:
			found = who
		}
	}
	return found
}

// callerSettings are what the file can say of a caller.
var callerSettings = []string{"token_sha256", "certificate", "ledgers", "verbs"}

// readCallers reads the file of callers. What it does not understand, or what could not be meant, is refused with its line.
func readCallers(path string, text []byte, certificates bool) (*callers, error) {
	all := &callers{certificates: map[string]*caller{}}
	err := jsonfile.Read(path, text, func(r *jsonfile.Reader) error {
		err := r.Object("caller", func(name string) error { return all.readCaller(r, name, certificates) })
		if err == nil && all.count == 0 {
			err = errors.New("it names no caller, so nobody could call")
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
	who := &caller{name: name}
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
					return fmt.Errorf("%s has more than two; a caller has one token, and a second while the first is being replaced", setting)
				}
				sum, err := hex.DecodeString(value)
				if err != nil || len(sum) != sha256.Size {
					return fmt.Errorf("%s holds a text that is no SHA-256 of 64 hexadecimal digits; notectl token makes one", setting) // not repeated: it may be the token itself
				}
				for _, other := range c.tokens {
					if [sha256.Size]byte(sum) == other.sum {
						return fmt.Errorf("%s holds what caller %q has already", setting, other.caller.name)
					}
				}
				c.tokens = append(c.tokens, token{sum: [sha256.Size]byte(sum), caller: who})
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
				return fmt.Errorf("%s is that of caller %q already", setting, other.name)
			}
			c.certificates[value] = who
			return nil
		case "ledgers":
			who.ledgers = []string{}
			return r.Texts(setting, func(value string) error {
				if value == everyLedger {
					anyLedger = true
				} else if err := contract.Word(value, contract.MaxLedger); err != nil {
					return fmt.Errorf("ledger %q %w", value, err)
				}
				who.ledgers = append(who.ledgers, value)
				return nil
			})
		case "verbs":
			return r.Texts(setting, func(value string) error {
				if !slices.Contains(verbs, value) {
					return fmt.Errorf("there is no verb %q; there are %s", value, strings.Join(verbs, ", "))
				}
				who.verbs = append(who.verbs, value)
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
	case len(who.ledgers) == 0:
		return errors.New(`ledgers is missing; name each, or write ["*"] for every one ("" is a ledger too)`)
	case len(who.verbs) == 0:
		return fmt.Errorf("verbs is missing; there are %s", strings.Join(verbs, ", "))
	}
	if anyLedger {
		who.ledgers = nil
	}
	return nil
}

func certificateName(name string) error {
	if strings.HasPrefix(name, "spiffe://") {
		if id, err := url.Parse(name); err != nil || id.Host == "" || id.String() != name {
			return errors.New("that is no SPIFFE id; write it as the certificate has it, such as spiffe://example.org/gateway")
		}
		return nil
	}
	for _, letter := range name {
		if letter != '-' && letter != '.' && (letter < '0' || letter > '9') && (letter < 'a' || letter > 'z') {
			return errors.New("write a SPIFFE id, or a DNS name in small letters as the certificate has it; neither may hold a *")
		}
	}
	if name == "" {
		return errors.New("write a SPIFFE id or a DNS name")
	}
	return nil
}

// certificateNames are the names that a certificate is known by: its SPIFFE ids and DNS names. Its common name is none: no CA vouches for what it says.
func certificateNames(certificate *x509.Certificate) []string {
	var names []string
	for _, uri := range certificate.URIs {
		if uri.Scheme == "spiffe" {
			names = append(names, uri.String())
		}
	}
	return append(names, certificate.DNSNames...)
}
