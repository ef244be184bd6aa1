package verify

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
)

// A Host is a PayPal host that verification calls.
type Host struct {
	Name   string
	url    string
	client *http.Client
}

// Hosts are the hosts that verification calls with these settings.
func Hosts(config Config, ipns, tests bool) (hosts []Host) {
	client := peer.Client(nil)
	add := func(name, url string) { hosts = append(hosts, Host{name, url, client}) }
	switch {
	case !ipns:
	case config.IPNVerifyURL != "":
		add("PayPal, for IPNs", config.IPNVerifyURL)
	default:
		add("PayPal, for IPNs", IPNURL)
		if tests {
			add("PayPal's sandbox, for IPNs", IPNURLSandbox)
		}
	}
	switch {
	case len(config.Webhooks) == 0:
	case config.ByAPI:
		asked := make(map[string]bool)
		for _, s := range config.Webhooks {
			name := "PayPal's API"
			if len(asked) > 0 {
				name = "PayPal's API at " + peer.Host(s.API.URL)
			}
			if !asked[s.API.URL] {
				add(name, s.API.URL)
			}
			asked[s.API.URL] = true
		}
	default:
		if c, err := newCertificates(config); err == nil {
			client = c.client // trusts config.CertRoots
		}
		for _, host := range config.CertHosts {
			add(strings.TrimSpace(host), "https://"+strings.TrimSpace(host)+"/")
		}
	}
	return hosts
}

// Ask makes an empty request and returns the host's date. Any answer will do.
func (h Host) Ask(ctx context.Context) (date time.Time, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, h.url, nil)
	if err != nil {
		return date, err
	}
	response, err := h.client.Do(request)
	if err != nil {
		return date, err
	}
	defer response.Body.Close()
	date, _ = http.ParseTime(response.Header.Get("Date"))
	return date, nil
}

// IDTrouble is the trouble with a webhook's id, or with the id and secret of its app.
// Only the API knows, so it is empty without ByAPI.
func (w *Webhook) IDTrouble(ctx context.Context, s Subscription) string {
	if w.apis == nil {
		return ""
	}
	api := w.apis[s.API]
	token, err := api.authorise(ctx)
	if err != nil {
		return "PayPal cannot confirm the id: " + peer.Trouble(err)
	}
	address := api.base + "/v1/notifications/webhooks/" + url.PathEscape(s.ID)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err == nil {
		request.Header.Set("Authorization", "Bearer "+token)
		var response *http.Response
		if response, err = api.client.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusNotFound {
				return "the app has no such webhook; copy the id from PayPal's dashboard"
			}
			if response.StatusCode != http.StatusOK {
				err = errors.New("it answered " + response.Status)
			}
		}
	}
	if err != nil {
		return "PayPal cannot confirm the id: " + peer.Trouble(err)
	}
	return ""
}
