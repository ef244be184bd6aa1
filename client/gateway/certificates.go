package gateway

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The names in the certificates that PayPal signs webhooks with: for donations, and for
// tests of the sandbox.
const (
	certName        = "messageverificationcerts.paypal.com"
	certNameSandbox = "messageverificationcerts.sandbox.paypal.com"
)

const (
	maxCertificates = 16          // PayPal uses one or two at a time; only trusted ones are kept, each under one address, so nobody else can fill this
	maxFetches      = 8           // at a time; forged messages can cause no more
	maxChain        = 64 << 10    // bytes
	renewEvery      = time.Minute // how soon one that has ended, and still had when it was fetched again, is fetched once more
)

// certPath is what PayPal's certificates are called.
var certPath = regexp.MustCompile(`^/v1/notifications/certs/[A-Za-z0-9_-]+$`)

var (
	errCertURL = &refusal{
		status: http.StatusBadRequest,
		reason: "certificate",
		text:   "the certificate's URL is not one of PayPal's",
	}
	errUntrusted = &refusal{
		status: http.StatusBadRequest,
		reason: "certificate",
		text:   "the certificate is not PayPal's, or not of this time",
	}
)

// certificates fetches and keeps what webhooks are signed with. Name, chain and dates are
// judged at every use, so a kept one ends with its dates; then it is fetched again, since
// PayPal may have renewed it where it is.
type certificates struct {
	hosts   []string
	roots   *x509.CertPool // nil for the system's
	client  *http.Client
	timeout time.Duration
	now     func() time.Time

	mu    sync.Mutex
	known map[string]*keptCertificate  // :: address → the certificate
	under map[string]*fetch // :: address → the fetch under way
	slots chan struct{}
}

// A keptCertificate was PayPal's when it was fetched.
type keptCertificate struct {
	chain []*x509.Certificate // the leaf first
	renew time.Time           // when it may be fetched again, if it has ended
}

// A fetch is waited for by all who want the same certificate.
type fetch struct {
	done  chan struct{}
	chain []*x509.Certificate
	err   error
}

func newCertificates(config Config) (*certificates, error) {
	c := &certificates{
		timeout: config.VerifyTimeout, now: config.Now,
		known: make(map[string]*keptCertificate), under: make(map[string]*fetch), slots: make(chan struct{}, maxFetches),
	}
	for _, host := range config.CertHosts {
		c.hosts = append(c.hosts, strings.TrimSuffix(strings.ToLower(strings.TrimSpace(host)), ":443"))
	}
	var hostRoots *x509.CertPool
	if config.CertRoots != nil {
		c.roots = x509.NewCertPool()
		if !c.roots.AppendCertsFromPEM(config.CertRoots) {
			return nil, wrongField("CertRoots", "holds no PEM certificate")
		}
		// The host that serves certificates is known by the system's roots too: CertRoots
		// may name no more than an issuer between.
		var err error
		if hostRoots, err = x509.SystemCertPool(); err != nil {
			hostRoots = x509.NewCertPool()
		}
		hostRoots.AppendCertsFromPEM(config.CertRoots)
	}
	c.client = newHTTPClient(hostRoots)
	return c, nil
}

// trusted returns the certificate at a URL, if PayPal may serve it there and it is
// PayPal's now; test where it is the sandbox's.
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

// address returns the one spelling of a certificate's URL: https, a host of the list in
// lower case, and a path that PayPal's have. All else is refused, since the URL is in a
// header that nobody has verified: a query, or a host in capitals, would make a new
// certificate of a kept one as often as a stranger likes.
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
			// It is a server's certificate by its issue and signs messages by its use:
			// the name says whose it is.
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return name == certNameSandbox, nil
		}
	}
	return false, errUntrusted
}

// get returns the chain at an address, fetching it at most once however many wait; ended
// is the kept one that will not do. A trouble is not kept: the next message tries again.
func (c *certificates) get(address string, ended *keptCertificate) ([]*x509.Certificate, error) {
	c.mu.Lock()
	f := c.under[address]
	if k := c.known[address]; f == nil && k != nil && (k != ended || c.now().Before(k.renew)) {
		c.mu.Unlock()
		return k.chain, nil // another message has fetched it, or it was no better a moment ago
	}
	if f == nil {
		f = &fetch{done: make(chan struct{})}
		select {
		case c.slots <- struct{}{}:
			c.under[address] = f
			go c.fetch(address, f) // for all who wait
		default:
			c.mu.Unlock()
			return nil, again("verifier", "too many certificates at once; come again")
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
	trusted, answered := false, f.err == nil || f.err == errUntrusted
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

// download fetches a chain. What the host says for good is a refusal for good; else
// PayPal comes again.
func (c *certificates) download(ctx context.Context, address string) ([]*x509.Certificate, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errCertURL
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, again("verifier", "PayPal's certificate could not be fetched ("+transportTrouble(err)+")")
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone, http.StatusBadRequest:
		return nil, errUntrusted
	default:
		return nil, again(
			"verifier",
			"PayPal's certificate could not be fetched (the host answered "+response.Status+")",
		)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxChain))
	if err != nil {
		return nil, again("verifier", "PayPal's certificate could not be fetched ("+transportTrouble(err)+")")
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
		return nil, again("verifier", "PayPal's certificate could not be fetched (the host answered something else)")
	}
	return chain, nil
}
