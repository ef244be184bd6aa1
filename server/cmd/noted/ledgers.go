package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/server"
)

// ledgerSettings are what the ledgers file can say of a ledger.
var ledgerSettings = []string{"match_window", "arrival_window", "retention", "transaction_ids"}

// readLedgers reads the file of -ledgers. A word that it does not know, or a ledger or setting that is there twice, is refused: a typing error must
// not leave a ledger on the default in silence. Errors name the line.
func readLedgers(path string) (map[string]server.LedgerRules, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := ledgerReader{decoder: json.NewDecoder(bytes.NewReader(text))}
	ledgers := map[string]server.LedgerRules{}
	err = r.object(func(ledger string) error {
		if _, twice := ledgers[ledger]; twice {
			return fmt.Errorf("ledger %q is there twice", ledger)
		}
		rules, err := r.rules()
		if err != nil {
			return fmt.Errorf("ledger %q: %w", ledger, err)
		}
		ledgers[ledger] = rules
		return nil
	})
	if err == nil {
		if _, err = r.decoder.Token(); err == nil {
			err = errors.New("there is more after the end")
		} else if err == io.EOF {
			return ledgers, nil
		}
	}
	line := 1 + bytes.Count(text[:r.decoder.InputOffset()], []byte("\n"))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line = 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends too early")
	}
	return nil, fmt.Errorf("%s line %d: %w", path, line, err)
}

// ledgerReader reads token by token, so that it knows at which line it is.
type ledgerReader struct{ decoder *json.Decoder }

func (r ledgerReader) rules() (rules server.LedgerRules, err error) {
	var seen []string
	err = r.object(func(setting string) error {
		if slices.Contains(seen, setting) {
			return fmt.Errorf("%q is there twice", setting)
		}
		seen = append(seen, setting)
		switch setting {
		case "match_window":
			return r.duration(setting, &rules.MatchWindow)
		case "arrival_window":
			return r.duration(setting, &rules.ArrivalWindow)
		case "retention":
			return r.duration(setting, &rules.Retention)
		case "transaction_ids":
			value, err := r.text(setting)
			if err == nil && !slices.Contains(transactionIDs, value) {
				err = fmt.Errorf("%s is %q; it must be one of %s", setting, value, strings.Join(transactionIDs, ", "))
			}
			isShared := value == shared
			rules.SharedTransactionIDs = &isShared
			return err
		}
		return fmt.Errorf("there is no setting %q; there are %s", setting, strings.Join(ledgerSettings, ", "))
	})
	return rules, err
}

// object reads an object and hands each name on, to whoever reads its value.
func (r ledgerReader) object(each func(name string) error) error {
	if token, err := r.decoder.Token(); err != nil {
		return err
	} else if token != json.Delim('{') {
		return fmt.Errorf("here must be an object, {…}, and is %v", token)
	}
	for r.decoder.More() {
		name, err := r.decoder.Token()
		if err != nil {
			return err
		}
		if err := each(name.(string)); err != nil { // the decoder sees to it that a name is a string
			return err
		}
	}
	_, err := r.decoder.Token()
	return err
}

func (r ledgerReader) text(setting string) (string, error) {
	token, err := r.decoder.Token()
	if err != nil {
		return "", err
	}
	value, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%s must be a text in quotes", setting)
	}
	return value, nil
}

func (r ledgerReader) duration(setting string, d *time.Duration) error {
	value, err := r.text(setting)
	if err != nil {
		return err
	}
	if *d, err = parseDuration(value); err != nil || *d < time.Millisecond {
		return fmt.Errorf("%s is %q; write a time such as \"2h\" or \"45d\"", setting, value)
	}
	return nil
}
