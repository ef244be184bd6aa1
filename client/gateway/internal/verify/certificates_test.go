package verify

import "testing"

// A certificate is kept under one address, and fetched from it, however a header spells
// it. The paths are those that PayPal has sent, and others.
func TestCertificateHasOneAddress(t *testing.T) {
	c := &certificates{hosts: []string{"api.paypal.com", "127.0.0.1:8443"}}
	const want = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5a29e601"
	for address, want := range map[string]string{
		want: want,
		"https://API.PayPal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5a29e601":     want,
		"https://api.paypal.com:443/v1/notifications/certs/CERT-360caa42-fca2a594-5a29e601": want,
		"HTTPS://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5a29e601#":    want,
		"https://127.0.0.1:8443/v1/notifications/certs/a_B-9":                               "https://127.0.0.1:8443/v1/notifications/certs/a_B-9",

		"https://api.paypal.com/v1/notifications/certs/CERT-1?n=1":               "",
		"https://api.paypal.com/v1/notifications/certs/CERT-1?":                  "",
		"https://api.paypal.com/v1/notifications/certs/CERT-1#a":                 "",
		"https://api.paypal.com/v1/notifications/certs/CERT-1/":                  "",
		"https://api.paypal.com/v1/notifications/certs/CERT-1\n":                 "",
		"https://api.paypal.com/v1/notifications/certs/CERT%2D1":                 "",
		"https://api.paypal.com/v1/notifications/certs/a%2Fb":                    "",
		"https://api.paypal.com/v1/notifications/certs/a;b":                      "",
		"https://api.paypal.com/v1/notifications/certs/":                         "",
		"https://api.paypal.com/v1/notifications/certs/../certs/CERT-1":          "",
		"https://api.paypal.com//v1/notifications/certs/CERT-1":                  "",
		"https://api.paypal.com/V1/notifications/certs/CERT-1":                   "",
		"https://api.paypal.com/other/v1/notifications/certs/CERT-1":             "",
		"https://api.paypal.com":                                                 "",
		"https://api.paypal.com.:443/v1/notifications/certs/CERT-1":              "",
		"https://api.paypal.com:444/v1/notifications/certs/CERT-1":               "",
		"https://api.paypal.com@example.org/v1/notifications/certs/CERT-1":       "",
		"https://x@api.paypal.com/v1/notifications/certs/CERT-1":                 "",
		"http://api.paypal.com/v1/notifications/certs/CERT-1":                    "",
		"https:api.paypal.com/v1/notifications/certs/CERT-1":                     "",
		"https://127.0.0.1/v1/notifications/certs/CERT-1":                        "",
		"https://example.org/v1/notifications/certs/CERT-1":                      "",
		"//api.paypal.com/v1/notifications/certs/CERT-1":                         "",
		"https://example.org/https://api.paypal.com/v1/notifications/certs/CERT": "",
	} {
		if got, ok := c.address(address); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", address, got, ok, want)
		}
	}
}
