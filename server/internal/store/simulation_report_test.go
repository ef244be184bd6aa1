package store_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/paypaltest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// report writes the tables as the README quotes them.
func report(results []*result, all *tally) string {
	var b strings.Builder
	columns := []string{"payments"}
	for _, d := range designs(nil) {
		columns = append(columns, d.name)
	}
	tableHead(&b, append(slices.Clone(columns), "Noted")...)
	for _, r := range results {
		fmt.Fprintf(&b, "| %s %s |", thousands(r.donations[paypaltest.Payment]), r.row)
		for _, o := range r.others {
			fmt.Fprintf(&b, " %s |", o)
		}
		fmt.Fprintf(&b, " %s |\n", r.wrongs.Sum())
	}
	fmt.Fprintf(&b, "\nThe same messages, had no receiver crashed or hung and no reply been lost:\n\n")
	tableHead(&b, columns...)
	for _, r := range results {
		fmt.Fprintf(&b, "| %s %s |", thousands(r.donations[paypaltest.Payment]), r.row)
		for _, o := range r.healthy {
			fmt.Fprintf(&b, " %s |", o)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nIn all %s payments, told by %s messages, which took PayPal %s tries to deliver. "+
		"Receivers crashed:\n\n",
		thousands(all.donations[paypaltest.Payment]), thousands(all.sent), thousands(all.tries))
	for c := paypaltest.BeforeNoting; c < paypaltest.Crashes; c++ {
		fmt.Fprintf(&b, "- %s: %s times\n", c, thousands(all.crashed[c]))
	}
	fmt.Fprintf(&b, "\nOf what receivers asked the store %s requests and %s replies were lost. "+
		"%s tries were answered HELD, and %s took a donation over. "+
		"The books were given a donation that they had %s times, each under its donation id, and refused it.\n",
		thousands(all.lost[paypaltest.RequestLost]), thousands(all.lost[paypaltest.ReplyLost]),
		thousands(all.held), thousands(all.takenOver), thousands(all.repeats))
	return b.String()
}

// reportTrials writes what each setting loses and doubles.
func reportTrials(trials []trial) string {
	var b strings.Builder
	for _, event := range []store.Event{paypaltest.Payment, paypaltest.Refund} {
		name := paypaltest.EventName(event)
		plural := strings.ToLower(name[1:]) + "s"
		fmt.Fprintf(&b, "%s by the setting of `-transaction-ids`:\n\n", name[:1]+plural)
		tableHead(&b, strings.ToLower(name[:1])+plural, "auto", "per-channel", "shared")
		for _, trial := range trials {
			fmt.Fprintf(&b, "| %s, %s |", thousands(trial.settings[store.Auto].donations[event]), trial.row)
			for _, setting := range settings {
				fmt.Fprintf(&b, " %s |", trial.settings[setting].wrongs[event])
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	others := []store.Event{
		paypaltest.PaymentFailed, paypaltest.Signup, paypaltest.Suspension, paypaltest.Reactivation,
		paypaltest.Cancellation,
	}
	all := newTally()
	for _, trial := range trials {
		all.add(trial.settings[store.Auto].tally)
	}
	b.WriteString("The other events of all these ledgers, which bear no transaction id, with `auto`:\n\n")
	tableHead(&b, "event", "told", "Noted")
	for _, event := range others {
		told := thousands(all.donations[event])
		fmt.Fprintf(&b, "| %s | %s | %s |\n", paypaltest.EventName(event), told, all.wrongs[event])
	}
	return b.String()
}

func tableHead(b *strings.Builder, columns ...string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
}

func thousands(n int) string { return paypaltest.Thousands(n) }

// golden compares got with a file, which go test -run Simulation -update writes.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what came out; -update writes it anew (-file +now):\n%s", file, diff)
	}
}
