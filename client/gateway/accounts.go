package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/gateway/internal/peer"
	"github.com/donation-dedupe/noted/client/gateway/internal/process"
	"github.com/donation-dedupe/noted/client/gateway/internal/setting"
	"github.com/donation-dedupe/noted/client/gateway/internal/verify"
)

// An Account is one of several PayPal accounts in one gateway. Each message goes to the
// ledger and the downstream of its account: an IPN by its receiver, a webhook by the
// webhook's id.
type Account struct {
	// Name is the account in the inbox, which finds the account's messages by it even
	// after a restart with other settings. Empty means the name of the ledger.
	Name string
	// Receivers are the account's receiver ids and e-mail addresses, including those of
	// its sandbox account, for IPNs.
	Receivers []string
	// WebhookIDs and SandboxWebhookIDs are the ids of its webhooks, as PayPal's dashboard
	// shows them for live and for sandbox apps.
	WebhookIDs, SandboxWebhookIDs []string
	// API and SandboxAPI are the apps of the webhooks. VerifyByAPI needs them.
	API, SandboxAPI API
	// Ledger is the ledger of the donations. Required.
	Ledger string
	// SandboxLedger is the ledger of PayPal's tests. Empty refuses them.
	SandboxLedger string
	// These fields have the same meaning as in Config.
	ForwardAs, ForwardTo           string
	ForwardSecrets                 []string
	ForwardIPNTo, ForwardWebhookTo string
	ForwardUnknown                 bool
}

// API is a REST app at PayPal.
type API struct {
	// URL is the API. Default DefaultPayPalAPI, or the sandbox's for a sandbox app.
	URL                    string
	ClientID, ClientSecret string
}

// oneAccount lists the fields of Config about one account, and whether each is set.
func (c Config) oneAccount() map[string]bool {
	return map[string]bool{
		"Ledger": c.Ledger != "", "SandboxLedger": c.SandboxLedger != "", "Accounts": len(c.Accounts) > 0,
		"WebhookID": c.WebhookID != "", "PayPalClientID": c.PayPalClientID != "",
		"PayPalClientSecret": c.PayPalClientSecret != "", "ForwardTo": c.ForwardTo != "",
		"ForwardSecrets": len(c.ForwardSecrets) > 0, "ForwardIPNTo": c.ForwardIPNTo != "",
		"ForwardWebhookTo": c.ForwardWebhookTo != "", "ForwardUnknown": c.ForwardUnknown,
		"ForwardAs": c.ForwardAs != ForwardEvent, "PayPalAPI": c.PayPalAPI != DefaultPayPalAPI,
	}
}

// A listed account is one of the accounts of a Config, with its defaults.
type listed struct {
	Account
	part  string // the prefix of its fields in errors; empty for the fields of Config
	named bool   // by its Name, not by its ledger
}

// accounts are PayPalAccounts, or the single account of Config.
func (c Config) accounts() (all []listed) {
	for i, a := range c.PayPalAccounts {
		l := listed{a, fmt.Sprintf("PayPalAccounts[%d].", i), a.Name != ""}
		l.Name = cmp.Or(a.Name, a.Ledger)
		l.ForwardAs = cmp.Or(a.ForwardAs, ForwardEvent)
		l.API.URL = cmp.Or(a.API.URL, DefaultPayPalAPI)
		l.SandboxAPI.URL = cmp.Or(a.SandboxAPI.URL, verify.APISandbox)
		all = append(all, l)
	}
	if len(all) > 0 {
		return all
	}
	one := Account{
		Name: c.Ledger, Receivers: c.Accounts, Ledger: c.Ledger, SandboxLedger: c.SandboxLedger,
		API:       API{c.PayPalAPI, c.PayPalClientID, c.PayPalClientSecret},
		ForwardAs: c.ForwardAs, ForwardTo: c.ForwardTo, ForwardSecrets: c.ForwardSecrets,
		ForwardIPNTo: c.ForwardIPNTo, ForwardWebhookTo: c.ForwardWebhookTo, ForwardUnknown: c.ForwardUnknown,
	}
	if c.WebhookID != "" {
		one.WebhookIDs = []string{c.WebhookID}
	}
	return []listed{{Account: one}}
}

// webhooks are the ids of all webhooks of an account.
func (a Account) webhooks() []string { return slices.Concat(a.WebhookIDs, a.SandboxWebhookIDs) }

// subscriptions are the webhooks of an account with their apps. With VerifyBySignature
// the certificate distinguishes a live message from a test, even if the id is in the
// other list.
func (a Account) subscriptions() (all []verify.Subscription) {
	for _, id := range a.WebhookIDs {
		all = append(all, verify.Subscription{ID: id, API: verify.Credentials(a.API)})
	}
	for _, id := range a.SandboxWebhookIDs {
		all = append(all, verify.Subscription{ID: id, API: verify.Credentials(a.SandboxAPI), Test: true})
	}
	return all
}

// takesIPNs reports whether any account has receivers. takesTests reports whether any
// account has a ledger for tests.
func takesIPNs(accounts []listed) bool {
	return slices.ContainsFunc(accounts, func(a listed) bool { return len(a.Receivers) > 0 })
}

func takesTests(accounts []listed) bool {
	return slices.ContainsFunc(accounts, func(a listed) bool { return a.SandboxLedger != "" })
}

// checkAccounts finds impossible settings of each account, and values that two accounts
// must not share.
func (c Config) checkAccounts() (wrong []error) {
	accounts := c.accounts()
	for _, a := range accounts {
		wrong = append(wrong, setting.In(a.part, errors.Join(c.checkAccount(a)...)))
	}
	if len(c.PayPalAccounts) == 0 {
		return wrong
	}
	one := c.oneAccount()
	for _, field := range slices.Sorted(maps.Keys(one)) {
		if one[field] {
			wrong = append(wrong, setting.Wrong(field, "is for one account, but each of several accounts has its "+
				"own; leave it out"))
		}
	}
	return append(wrong, checkShared(accounts)...)
}

// checkShared finds values that two accounts must not share.
func checkShared(accounts []listed) (wrong []error) {
	taken := make(map[string]string) // :: kind and value → its field
	claim := func(kind, value, field, advice string) {
		switch other, ok := taken[kind+" "+value]; {
		case value == "" && kind != "name":
			wrong = append(wrong, setting.Wrong(field, "is empty; leave it out"))
		case ok:
			wrong = append(wrong, setting.Wrong(field, "is %q, which %s has already; %s", value, other, advice))
		default:
			taken[kind+" "+value] = field
		}
	}
	live := make(map[string]bool) // ledgers of donations
	for _, a := range accounts {
		live[a.Ledger] = true
		if a.named {
			claim("name", a.Name, a.part+"Name", "each account needs its own name")
		} else if a.Ledger != "" {
			claim("name", a.Name, a.part+"Ledger", "accounts that share a ledger need names")
		}
		for i, receiver := range a.Receivers {
			claim("receiver", strings.ToLower(strings.TrimSpace(receiver)), fmt.Sprintf("%sReceivers[%d]", a.part, i),
				"a receiver belongs to one account")
		}
		for i, id := range a.WebhookIDs {
			claim("webhook", id, fmt.Sprintf("%sWebhookIDs[%d]", a.part, i), "a webhook belongs to one account")
		}
		for i, id := range a.SandboxWebhookIDs {
			claim(
				"webhook",
				id,
				fmt.Sprintf("%sSandboxWebhookIDs[%d]", a.part, i),
				"a webhook is live or the sandbox's",
			)
		}
	}
	for _, a := range accounts {
		if a.SandboxLedger != "" && live[a.SandboxLedger] {
			wrong = append(wrong, setting.Wrong(a.part+"SandboxLedger",
				"is %q, and so is the ledger of donations: PayPal's tests would count as donations", a.SandboxLedger))
		}
	}
	return wrong
}

// checkAccount finds impossible settings of one account.
func (c Config) checkAccount(a listed) (wrong []error) {
	unless := func(ok bool, field, format string, args ...any) {
		if !ok {
			wrong = append(wrong, setting.Wrong(field, format, args...))
		}
	}
	if a.part == "" {
		unless(a.SandboxLedger == "" || a.SandboxLedger != a.Ledger, "SandboxLedger",
			"is %q, and so is the ledger of donations: PayPal's tests would count as donations", a.SandboxLedger)
		unless(
			len(a.Receivers)+len(a.webhooks()) > 0,
			"Accounts",
			"is missing, and so is the id of a webhook: set your accounts to take IPNs, the id to take webhooks, or both",
		)
	} else {
		unless(a.Ledger != "", "Ledger", "is missing: the ledger of the donations, such as paypal-live")
		unless(
			len(a.Receivers)+len(a.webhooks()) > 0,
			"Receivers",
			"is missing, and so are the ids of webhooks: set the receivers to take IPNs, the ids to take webhooks, or both",
		)
	}
	unless(a.part == "" || a.SandboxLedger != "" || len(a.SandboxWebhookIDs) == 0, "SandboxLedger",
		"is missing: the ledger of PayPal's tests, because there are webhooks of the sandbox")
	checkAPI := func(app API, id, secret, url string) {
		const advice = "is missing: copy it from the REST app of the webhook"
		unless(app.ClientID != "", id, advice)
		unless(app.ClientSecret != "", secret, advice)
		unless(
			peer.Confidential(app.URL),
			url,
			"must be an https URL, because the gateway sends the app's secret to it",
		)
	}
	switch byAPI := c.WebhookVerify == VerifyByAPI; {
	case byAPI && a.part == "":
		checkAPI(a.API, "PayPalClientID", "PayPalClientSecret", "PayPalAPI")
	case byAPI:
		if len(a.WebhookIDs) > 0 {
			checkAPI(a.API, "API.ClientID", "API.ClientSecret", "API.URL")
		}
		if len(a.SandboxWebhookIDs) > 0 {
			checkAPI(a.SandboxAPI, "SandboxAPI.ClientID", "SandboxAPI.ClientSecret", "SandboxAPI.URL")
		}
	}
	return append(wrong, a.checkForward()...)
}

// checkForward finds impossible settings of an account's downstream.
func (a Account) checkForward() (wrong []error) {
	switch a.ForwardAs {
	case ForwardEvent:
		if a.ForwardTo == "" {
			wrong = append(wrong, setting.Wrong("ForwardTo",
				"is missing: where to deliver donations, an http(s) URL or redis://host:port/0?stream=NAME"))
		}
		for _, l := range []struct{ field, to string }{
			{"ForwardIPNTo", a.ForwardIPNTo}, {"ForwardWebhookTo", a.ForwardWebhookTo},
		} {
			if l.to != "" {
				wrong = append(wrong, setting.Wrong(l.field, "names a listener for PayPal's own messages, but the "+
					"downstream gets events; choose one"))
			}
		}
		return wrong
	case ForwardOriginal:
	default:
		return []error{
			setting.Wrong("ForwardAs", "is %q; it must be %s or %s", a.ForwardAs, ForwardEvent, ForwardOriginal),
		}
	}
	if a.ForwardTo != "" {
		wrong = append(wrong, setting.Wrong("ForwardTo", "names a downstream for events, but listeners get PayPal's "+
			"own messages; choose one"))
	}
	if a.ForwardUnknown {
		wrong = append(wrong, setting.Wrong("ForwardUnknown", "is for events: a listener gets messages that tell of "+
			"donations"))
	}
	if len(a.Receivers) > 0 && a.ForwardIPNTo == "" {
		wrong = append(wrong, setting.Wrong("ForwardIPNTo", "is missing: the URL of the listener for IPNs, or %s",
			NoListener))
	}
	if len(a.webhooks()) > 0 && a.ForwardWebhookTo == "" {
		wrong = append(
			wrong,
			setting.Wrong("ForwardWebhookTo", "is missing: the URL of the listener for webhooks, or %s",
				NoListener),
		)
	}
	return wrong
}

// An openAccount is an account with its downstream.
type openAccount struct {
	settings listed
	*process.Account
}

// openAccounts makes the downstreams of all accounts, and reports all mistakes in them
// together.
func openAccounts(accounts []listed) (open []openAccount, err error) {
	for _, a := range accounts {
		made := &process.Account{
			Name:           a.Name,
			Receivers:      a.Receivers,
			WebhookIDs:     a.webhooks(),
			Ledger:         a.Ledger,
			SandboxLedger:  a.SandboxLedger,
			ForwardUnknown: a.ForwardUnknown,
		}
		open = append(open, openAccount{a, made})
		var wrong error
		switch {
		case a.ForwardAs == ForwardOriginal:
			made.Listeners, wrong = openListeners(a)
		case a.ForwardTo != "": // checkForward reports a missing URL
			made.Downstream, wrong = downstream.Open(a.ForwardTo, a.ForwardSecrets)
		}
		err = errors.Join(err, setting.In(a.part, wrong))
	}
	return open, err
}

// openListeners makes the listeners that get PayPal's own messages.
func openListeners(a listed) (listeners map[string]*downstream.Listener, err error) {
	listeners = make(map[string]*downstream.Listener)
	for _, l := range []struct{ channel, field, url string }{
		{"ipn", "ForwardIPNTo", a.ForwardIPNTo}, {"webhook", "ForwardWebhookTo", a.ForwardWebhookTo},
	} {
		if l.url == "" || l.url == NoListener {
			continue
		}
		listener, wrong := downstream.OpenListener(l.field, l.url)
		if wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		listeners[l.channel] = listener
	}
	return listeners, err
}

// close closes the connections to an account's downstream.
func (a openAccount) close() (err error) {
	if a.Downstream != nil {
		err = a.Downstream.Close()
	}
	for _, listener := range a.Listeners {
		listener.Close()
	}
	return err
}
