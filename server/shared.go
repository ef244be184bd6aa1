package server

import (
	"fmt"
	"strconv"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// shared are the settings that must be alike on all servers of a store, by their flags.
// Servers that differ in them answer the same message differently. For a ledger of
// Ledgers it has the rules that follow.
func (c Config) shared() map[string]string {
	loss := "report"
	if c.RefuseAfterLoss {
		loss = "refuse"
	}
	settings := map[string]string{
		"-redis-mode":     c.RedisMode,
		"-replicas":       strconv.Itoa(c.Replicas),
		"-series-limit":   strconv.Itoa(c.SeriesLimit),
		"-allow-eviction": strconv.FormatBool(c.AllowEviction),
		"-on-loss":        loss,
		"-epoch":          c.Epoch,
		"-shadow-ledgers": c.shadowSetting(),
	}
	add := func(in string, r store.Rules) {
		settings["-match-window"+in] = r.MatchWindow.String()
		settings["-arrival-window"+in] = r.ArrivalWindow.String()
		settings["-retention"+in] = r.Retention.String()
		settings["-transaction-ids"+in] = r.TransactionIDs.String()
	}
	rulesOf := c.rulesByLedger()
	add("", c.commonRules())
	for ledger := range c.Ledgers {
		add(fmt.Sprintf(" of the ledger %q", ledger), rulesOf(ledger))
	}
	return settings
}
