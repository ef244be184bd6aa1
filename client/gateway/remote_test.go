package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/server/servertest"
)

// The log shows the address that a trusted proxy wrote, and never an address that the
// sender could have made up.
func TestRemoteAddress(t *testing.T) {
	const proxies = "127.0.0.1/32 10.0.0.0/8 fd00::/8"
	for name, c := range map[string]struct {
		trusted string
		headers []string // name and value in turn
		want    string
	}{
		"no proxy is trusted":         {"", []string{"X-Forwarded-For", "203.0.113.9"}, "127.0.0.1"},
		"another proxy is trusted":    {"10.0.0.0/8", []string{"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.9"}, "127.0.0.1"},
		"no header":                   {proxies, nil, "127.0.0.1"},
		"one proxy":                   {proxies, []string{"X-Forwarded-For", "203.0.113.9"}, "203.0.113.9"},
		"the sender wrote before it":  {proxies, []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		"a line before it":            {proxies, []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.9"}, "203.0.113.9"},
		"two proxies":                 {proxies, []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.9, 10.1.2.3"}, "203.0.113.9"},
		"a proxy as the sender":       {proxies, []string{"X-Forwarded-For", "10.1.2.3"}, "10.1.2.3"},
		"a port":                      {proxies, []string{"X-Forwarded-For", "203.0.113.9:4711"}, "203.0.113.9"},
		"IPv6":                        {proxies, []string{"X-Forwarded-For", "2001:db8::9, fd00::1"}, "2001:db8::9"},
		"no address":                  {proxies, []string{"X-Forwarded-For", "203.0.113.9, unknown, 10.1.2.3"}, "10.1.2.3"},
		"a forged line of the log":    {proxies, []string{"X-Forwarded-For", `203.0.113.9","reason":"x`}, "127.0.0.1"},
		"Forwarded":                   {proxies, []string{"Forwarded", `for=203.0.113.9;proto=https;by=10.0.0.1`}, "203.0.113.9"},
		"Forwarded, over two proxies": {proxies, []string{"Forwarded", `For="[2001:db8::9]:4711", for=10.1.2.3;host=h`}, "2001:db8::9"},
		"Forwarded that hides":        {proxies, []string{"Forwarded", `for=203.0.113.9, for=_hidden, for=10.1.2.3`}, "10.1.2.3"},
		"Forwarded without a for":     {proxies, []string{"Forwarded", `proto=https`}, "127.0.0.1"},
		"both, agreeing":              {proxies, []string{"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.9"}, "203.0.113.9"},
		"both, one by the sender":     {proxies, []string{"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=198.51.100.1"}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(c2 *gateway.Config, _ *servertest.Options) {
				for _, network := range strings.Fields(c.trusted) {
					c2.TrustedProxies = append(c2.TrustedProxies, netip.MustParsePrefix(network))
				}
			})
			d := h.payPal.IPN(payment("I-REMOTE").fields()).Flipped("I-REMOTE") // PayPal has not sent it
			for i := 0; i < len(c.headers); i += 2 {
				d.Header.Add(c.headers[i], c.headers[i+1])
			}
			if status, _ := h.deliver(d); status != 400 {
				t.Fatalf("got %d, want 400", status)
			}
			if want := `"remote":"` + c.want + `"`; !strings.Contains(h.log.String(), want) {
				t.Errorf("the log lacks %s:\n%s", want, h.log)
			}
		})
	}
}

// A proxy with Go's standard library, between a sender and the gateway.
func TestRemoteBehindAProxy(t *testing.T) {
	h := newHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(must(url.Parse(h.front.URL)))
		r.Out.Header["X-Forwarded-For"] = []string{"198.51.100.1"} // the sender's own text
		r.Out.Header.Add("X-Forwarded-For", "203.0.113.9")         // as if it had come from there
	}})
	defer front.Close()
	d := h.payPal.IPN(payment("I-PROXY").fields()).Flipped("I-PROXY")
	if status, reason, err := deliver(front.URL, d); err != nil || status != http.StatusBadRequest {
		t.Fatalf("got %d %s %v, want 400", status, reason, err)
	}
	if !strings.Contains(h.log.String(), `"remote":"203.0.113.9"`) {
		t.Errorf("the log lacks the sender:\n%s", h.log)
	}
}
