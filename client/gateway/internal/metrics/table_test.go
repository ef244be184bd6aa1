package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestTable compares the table with the metrics that a gateway registers and with those
// in README.md, label by label.
func TestTable(t *testing.T) {
	var want []string
	for _, m := range Table {
		if m.Meaning == "" || !strings.HasSuffix(m.Meaning, ".") {
			t.Errorf("%s has no sentence as its meaning", m.Name)
		}
		want = append(want, m.Name+" "+strings.Join(m.Labels, ", "))
	}
	slices.Sort(want)

	var made []string
	descriptions := make(chan *prometheus.Desc, 1000)
	New().registry.Describe(descriptions)
	close(descriptions)
	described := regexp.MustCompile(`fqName: "(noted_\w+)".*variableLabels: \{([^}]*)\}`)
	for d := range descriptions {
		if m := described.FindStringSubmatch(d.String()); m != nil {
			made = append(made, m[1]+" "+strings.ReplaceAll(m[2], ",", ", "))
		}
	}
	slices.Sort(made)
	if !slices.Equal(made, want) {
		t.Errorf("a gateway has the metrics\n%q\nthe table\n%q", made, want)
	}

	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	rows := regexp.MustCompile("(?m)^\\| `(noted_[a-z_]+)` \\| ([a-z, ]*)\\|")
	for _, m := range rows.FindAllStringSubmatch(string(readme), -1) {
		told = append(told, m[1]+" "+strings.TrimSpace(m[2]))
	}
	slices.Sort(told)
	if !slices.Equal(told, want) {
		t.Errorf("client/gateway/README.md tells of the metrics\n%q\nthe gateway has\n%q", told, want)
	}
}
