package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/jsonfile"
)

// ledgerSettings are the settings of a ledger in the file.
var ledgerSettings = []string{"match_window", "arrival_window", "retention", "transaction_ids"}

// readLedgers reads the file of -ledgers. It refuses an unknown setting, and a repeated
// ledger or setting: a misspelled setting must not silently leave a ledger on the
// defaults. Errors name the line.
func readLedgers(path string) (map[string]server.LedgerRules, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	ledgers := map[string]server.LedgerRules{}
	err = jsonfile.Read(path, text, func(r *jsonfile.Reader) error {
		return r.Object("ledger", func(ledger string) (err error) {
			ledgers[ledger], err = readRules(r)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return ledgers, nil
}

func readRules(r *jsonfile.Reader) (rules server.LedgerRules, err error) {
	err = r.Object("", func(setting string) error {
		switch setting {
		case "match_window":
			return readDuration(r, setting, &rules.MatchWindow)
		case "arrival_window":
			return readDuration(r, setting, &rules.ArrivalWindow)
		case "retention":
			return readDuration(r, setting, &rules.Retention)
		case "transaction_ids":
			value, err := r.Text(setting)
			if err == nil && !slices.Contains(transactionIDs, value) {
				err = fmt.Errorf("%s is %q; it must be one of %s", setting, value, strings.Join(transactionIDs, ", "))
			}
			rules.TransactionIDs = server.TransactionIDs(value)
			return err
		}
		return fmt.Errorf("there is no setting %q; there are %s", setting, strings.Join(ledgerSettings, ", "))
	})
	return rules, err
}

func readDuration(r *jsonfile.Reader, setting string, d *time.Duration) error {
	value, err := r.Text(setting)
	if err != nil {
		return err
	}
	if *d, err = cmdline.ParseSpan(value); err != nil || *d < time.Millisecond {
		return fmt.Errorf("%s is %q; write a time such as \"2h\" or \"45d\"", setting, value)
	}
	return nil
}
