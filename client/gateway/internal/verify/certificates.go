package verify

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
)

// The names in the certificates that sign webhooks: for live donations, and for the
// sandbox.
const (
	certName        = "messageverificationcerts.paypal.com"
	certNameSandbox = "messageverificationcerts.sandbox.paypal.com"
)

const (
	maxCertificates = 16          // only trusted certificates are kept, so other senders cannot fill it
	maxFetches      = 8           // at once, however many forged messages arrive
	maxChain        = 64 << 10    // bytes
	renewEvery      = time.Minute // pause between fetches of an expired certificate
)

// certPath matches the path of a certificate of PayPal.
var certPath = regexp.MustCompile(`^/v1/notifications/certs/[A-Za-z0-9_-]+$`)

var (
	errCertURL = &answer.Refusal{
		Status: http.StatusBadRequest,
		Reason: "certificate",
		Text:   "the certificate's URL is not one of PayPal's",
	}
	errUntrusted = &answer.Refusal{
		Status: http.StatusBadRequest,
		Reason: "certificate",
		Text:   "the certificate is not PayPal's, or its dates do not cover this moment; compare the clocks",
	}
)

// certificates fetches and keeps the certificates that sign webhooks. It checks name,
// chain and dates at every use, so a kept certificate ends with its dates. Then it is
// fetched again, because PayPal may have renewed it at the same address.
type certificates struct {
	hosts   []string
	roots   *x509.CertPool // nil for the system's
	client  *http.Client
	timeout time.Duration
	now     func() time.Time

	mu    sync.Mutex
	known map[string]*keptCertificate // :: address → the certificate
	under map[string]*fetch           // :: address → the fetch under way
	slots chan struct{}
}

// A keptCertificate was PayPal's when it was fetched.
type keptCertificate struct {
	chain []*x509.Certificate // the leaf first
	renew time.Time           // the earliest time of another fetch, after its end
}

// A fetch is shared by all messages that need the same certificate.
type fetch struct {
	done  chan struct{}
	chain []*x509.Certificate
	err   error
}

func newCertificates(config Config) (*certificates, error) {
	c := &certificates{
		timeout: config.Timeout, now: config.Now,
		known: make(map[string]*keptCertificate),
		under: make(map[string]*fetch), slots: make(chan struct{}, maxFetches),
	}
	for _, host := range config.CertHosts {
		c.hosts = append(c.hosts, strings.TrimSuffix(strings.ToLower(strings.TrimSpace(host)), ":443"))
	}
	var hostRoots *x509.CertPool
	if config.CertRoots != nil {
		c.roots = x509.NewCertPool()
		if !c.roots.AppendCertsFromPEM(config.CertRoots) {
			return nil, setting.Wrong("CertRoots", "has no PEM certificate")
		}
		// The system's roots count for the host too: CertRoots may name only an
		// intermediate issuer.
		var err error
		if hostRoots, err = x509.SystemCertPool(); err != nil {
			hostRoots = x509.NewCertPool()
		}
		hostRoots.AppendCertsFromPEM(config.CertRoots)
	}
	c.client = peer.Client(hostRoots)
	return c, nil
}

// trusted returns the certificate at a URL. It fails unless the URL and the certificate
// are PayPal's. test means the sandbox's certificate.
func (c *certificates) trusted(address string) (leaf *x509.Certificate, test bool, err error) {
	address, ok := c.address(address)
	if !ok {
		return nil, false, errCertURL
	}
	c.mu.Lock()
	k := c.known[address]
	c.mu.Unlock()
	if k != nil {
		if test, err = c.judge(k.chain); err == nil {
			return k.chain[0], test, nil
		}
	}
	chain, err := c.get(address, k)
	if err != nil {
		return nil, false, err
	}
	test, err = c.judge(chain)
	return chain[0], test, err
}

// address returns the only accepted spelling of a certificate's URL: https, a listed host
// in lower case, and a path like PayPal's. The URL is in an unverified header. With a
// query, or a host in capitals, a stranger could turn a kept certificate into any number
// of new fetches.
func (c *certificates) address(written string) (address string, ok bool) {
	u, err := url.Parse(written)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.Fragment != "" || u.RawQuery != "" ||
		u.ForceQuery ||
		u.RawPath != "" {
		return "", false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	if !slices.Contains(c.hosts, host) || !certPath.MatchString(u.Path) {
		return "", false
	}
	return "https://" + host + u.Path, true
}

// judge checks chain, name and dates.
func (c *certificates) judge(chain []*x509.Certificate) (test bool, err error) {
	between := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		between.AddCert(certificate)
	}
	for _, name := range []string{certName, certNameSandbox} {
		_, err := chain[0].Verify(x509.VerifyOptions{
			DNSName: name, Roots: c.roots, Intermediates: between, CurrentTime: c.now(),
			// The certificate is issued for a server but signs messages. Its name says
			// that it is PayPal's.
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return name == certNameSandbox, nil
		}
	}
	return false, errUntrusted
}

// get returns the chain at an address. Callers that wait for the same address share one
// fetch. ended is the kept certificate that is no longer valid. A failure is not kept:
// the next message tries again.
func (c *certificates) get(address string, ended *keptCertificate) ([]*x509.Certificate, error) {
	c.mu.Lock()
	f := c.under[address]
	if k := c.known[address]; f == nil && k != nil && (k != ended || c.now().Before(k.renew)) {
		c.mu.Unlock()
		return k.chain, nil // fetched meanwhile, or still expired a moment ago
	}
	if f == nil {
		f = &fetch{done: make(chan struct{})}
		select {
		case c.slots <- struct{}{}:
			c.under[address] = f
			go c.fetch(address, f) // for all waiting messages
		default:
			c.mu.Unlock()
			return nil, away("too many certificates at once; come again")
		}
	}
	c.mu.Unlock()
	<-f.done
	return f.chain, f.err
}

func (c *certificates) fetch(address string, f *fetch) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	f.chain, f.err = c.download(ctx, address)
	trusted, answered := false, f.err == nil || errors.Is(f.err, errUntrusted)
	if f.err == nil {
		_, err := c.judge(f.chain)
		trusted = err == nil
	}
	c.mu.Lock()
	delete(c.under, address)
	switch k := c.known[address]; {
	case trusted:
		delete(c.known, address)
		for other := range c.known {
			if len(c.known) < maxCertificates {
				break
			}
			delete(c.known, other)
		}
		c.known[address] = &keptCertificate{chain: f.chain}
	case answered && k != nil:
		k.renew = c.now().Add(renewEvery)
	}
	<-c.slots
	c.mu.Unlock()
	close(f.done)
}

// download fetches a chain. If the host's answer is final the message is refused;
// otherwise PayPal comes again.
func (c *certificates) download(ctx context.Context, address string) ([]*x509.Certificate, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errCertURL
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, away("PayPal's certificate could not be fetched (" + peer.Trouble(err) + ")")
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone, http.StatusBadRequest:
		return nil, errUntrusted
	default:
		return nil, away("PayPal's certificate could not be fetched (the host answered " + response.Status + ")")
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxChain))
	if err != nil {
		return nil, away("PayPal's certificate could not be fetched (" + peer.Trouble(err) + ")")
	}
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, errUntrusted
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, away("PayPal's certificate could not be fetched (the answer holds no certificate)")
	}
	return chain, nil
}
