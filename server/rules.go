package server

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// transactionIDs are the settings in the store's form.
var transactionIDs = map[TransactionIDs]store.TransactionIDs{
	Auto:       store.Auto,
	PerChannel: store.PerChannel,
	Shared:     store.Shared,
}

// everyLedger stands for every ledger in Config.ShadowLedgers, as it does in the file of
// callers.
const everyLedger = "*"

// shadows names the ledgers in shadow for a person; empty if there is none.
func (c Config) shadows() string {
	if slices.Contains(c.ShadowLedgers, everyLedger) {
		return "every ledger"
	}
	names := slices.Clone(c.ShadowLedgers)
	for i, name := range names {
		names[i] = cmp.Or(name, "the ledger without a name")
	}
	return strings.Join(names, ", ")
}

// shadowSetting is -shadow-ledgers in one spelling.
func (c Config) shadowSetting() string {
	if slices.Contains(c.ShadowLedgers, everyLedger) {
		return everyLedger
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(c.ShadowLedgers))), ",")
}

// rulesByLedger gives a function that finds the rules of a ledger.
func (c Config) rulesByLedger() func(ledger string) store.Rules {
	common := store.Rules{
		MatchWindow:    c.Rules.MatchWindow,
		ArrivalWindow:  c.Rules.ArrivalWindow,
		Retention:      c.Rules.Retention,
		SkewAhead:      c.Rules.SkewAhead,
		TransactionIDs: transactionIDs[c.Rules.TransactionIDs],
		SeriesLimit:    c.SeriesLimit,
		Shadow:         slices.Contains(c.ShadowLedgers, everyLedger),
	}
	named := make(map[string]store.Rules, len(c.Ledgers)) // :: ledger → its rules
	for ledger, own := range c.Ledgers {
		rules := common
		rules.MatchWindow = cmp.Or(own.MatchWindow, common.MatchWindow)
		rules.ArrivalWindow = cmp.Or(own.ArrivalWindow, common.ArrivalWindow)
		rules.Retention = cmp.Or(own.Retention, common.Retention)
		if own.TransactionIDs != "" {
			rules.TransactionIDs = transactionIDs[own.TransactionIDs]
		}
		named[ledger] = rules
	}
	for _, ledger := range c.ShadowLedgers {
		rules, ok := named[ledger]
		if !ok {
			rules = common
		}
		rules.Shadow = true
		named[ledger] = rules
	}
	return func(ledger string) store.Rules {
		if rules, ok := named[ledger]; ok {
			return rules
		}
		return common
	}
}

// commonRules are the rules of a ledger that Ledgers does not name.
func (c Config) commonRules() store.Rules {
	c.Ledgers = nil
	return c.rulesByLedger()("")
}

// From these windows on, two payments of a series of that frequency can be taken for one.
const (
	longMatch   = 24 * time.Hour
	longArrival = 7 * 24 * time.Hour
)

// adviseOnRules warns of windows that join payments that should stay apart. The operator
// may mean them, so they are not refused: if all series are monthly they cost nothing.
func adviseOnRules(config Config, logger *slog.Logger) {
	advise := func(fields []any, r store.Rules) {
		if r.MatchWindow >= longMatch {
			logger.Warn("the match window is a day or longer, so of a daily series today's payment can be taken for "+
				"yesterday's, and is lost; the times that the channels tell agree within seconds, "+
				"so set -match-window to hours", append(fields, "match_window_hours", r.MatchWindow.Hours())...)
		}
		if r.ArrivalWindow >= longArrival {
			logger.Warn(
				"the arrival window is a week or longer, so of a weekly series a payment that bears no time can "+
					"be taken for last week's, and is lost; PayPal repeats itself for four days, "+
					"so set -arrival-window to days",
				append(fields, "arrival_window_hours", r.ArrivalWindow.Hours())...)
		}
	}
	advise(nil, config.commonRules())
	rulesOf := config.rulesByLedger()
	for _, ledger := range slices.Sorted(maps.Keys(config.Ledgers)) {
		if own := config.Ledgers[ledger]; own.MatchWindow != 0 || own.ArrivalWindow != 0 {
			advise([]any{"ledger", ledger}, rulesOf(ledger))
		}
	}
}
