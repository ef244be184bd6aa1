package main

import (
	"os"
	"regexp"
	"strings"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway"
)

// readAccounts reads the accounts file, and reports all mistakes in it.
func (s *settings) readAccounts() (wrong []error) {
	tell := func(err error) { wrong = append(wrong, cmdline.Usagef("%s: %w", variables.Both("accounts-file"), err)) }
	text, err := readFile("accounts-file", s.files.accounts)
	if err != nil {
		return []error{err}
	}
	read, err := parseJSON(text)
	if err != nil {
		tell(err)
		return wrong
	}
	r, accounts, listed := &strict{}, &s.config.PayPalAccounts, false
	r.object(map[string]field{"accounts": func(path string, value any) {
		listed = true
		r.list("accounts", func() field {
			*accounts = append(*accounts, gateway.Account{})
			return r.account(&(*accounts)[len(*accounts)-1])
		})(path, value)
	}})("", read)
	if !listed {
		r.mistake("accounts", `is missing: {"accounts": [{…}, {…}]}`)
	}
	for _, err := range r.wrong {
		tell(err)
	}
	return wrong
}

// account reads an account.
func (s *strict) account(a *gateway.Account) field {
	return s.object(map[string]field{
		"name":        s.into(&a.Name),
		"receivers":   s.texts("receivers", &a.Receivers),
		"webhook_ids": s.texts("ids", &a.WebhookIDs),
		"api":         s.api(&a.API),
		"ledger":      s.into(&a.Ledger),
		"sandbox": s.object(map[string]field{
			"webhook_ids": s.texts("ids", &a.SandboxWebhookIDs),
			"api":         s.api(&a.SandboxAPI),
			"ledger":      s.into(&a.SandboxLedger),
		}),
		"forward": s.object(map[string]field{
			"as":          s.into(&a.ForwardAs),
			"to":          s.into(&a.ForwardTo),
			"secret_file": s.file(func(content string) { a.ForwardSecrets = strings.Fields(content) }),
			"ipn_to":      s.into(&a.ForwardIPNTo),
			"webhook_to":  s.into(&a.ForwardWebhookTo),
			"unknown":     s.yes(&a.ForwardUnknown),
		}),
	})
}

// api reads a REST app.
func (s *strict) api(a *gateway.API) field {
	return s.object(map[string]field{
		"url":                s.into(&a.URL),
		"client_id":          s.into(&a.ClientID),
		"client_secret_file": s.file(func(content string) { a.ClientSecret = strings.TrimSpace(content) }),
	})
}

// file reads the content of a file that a field names.
func (s *strict) file(take func(content string)) field {
	return s.text(func(path, name string) {
		content, err := os.ReadFile(name)
		switch {
		case err != nil:
			s.mistake(path, "cannot be read: %v", err)
		case strings.TrimSpace(string(content)) == "":
			s.mistake(path, "cannot be used: the file %s is empty", name)
		default:
			take(string(content))
		}
	})
}

// accountFields maps fields of gateway.Account to their place in the accounts file.
var accountFields = map[string]string{
	"Name":                    "name",
	"Receivers":               "receivers",
	"WebhookIDs":              "webhook_ids",
	"API.URL":                 "api.url",
	"API.ClientID":            "api.client_id",
	"API.ClientSecret":        "api.client_secret_file",
	"Ledger":                  "ledger",
	"SandboxWebhookIDs":       "sandbox.webhook_ids",
	"SandboxAPI.URL":          "sandbox.api.url",
	"SandboxAPI.ClientID":     "sandbox.api.client_id",
	"SandboxAPI.ClientSecret": "sandbox.api.client_secret_file",
	"SandboxLedger":           "sandbox.ledger",
	"ForwardAs":               "forward.as",
	"ForwardTo":               "forward.to",
	"ForwardSecrets":          "forward.secret_file",
	"ForwardIPNTo":            "forward.ipn_to",
	"ForwardWebhookTo":        "forward.webhook_to",
	"ForwardUnknown":          "forward.unknown",
}

// accountField matches a field of an account in the form of gateway.Config.
var accountField = regexp.MustCompile(`PayPalAccounts(\[\d+\])\.([A-Z][A-Za-z]*(?:\.[A-Z][A-Za-z]*)?)`)

// inAccountsFile rewrites fields of accounts within a text into the form of the accounts
// file.
func inAccountsFile(text string) string {
	return accountField.ReplaceAllStringFunc(text, func(name string) string {
		found := accountField.FindStringSubmatch(name)
		return "accounts" + found[1] + "." + accountFields[found[2]]
	})
}

// wrongAccounts are the mistakes that only show when all settings are known.
func (s *settings) wrongAccounts() []error {
	err := s.config.Validate()
	if err == nil {
		return nil
	}
	return []error{inFlags(err)}
}
