package ops_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRules lets promtool test the rules. Each alert must fire in a test, and must have a
// runbook of three parts.
func TestRules(t *testing.T) {
	promtool := tool(t, "promtool")
	run(t, promtool, "check", "rules", "prometheus/noted.rules.yaml")
	run(t, promtool, "check", "config", "prometheus/prometheus.yaml")
	run(t, promtool, "test", "rules", "prometheus/noted.rules.test.yaml", "prometheus/silent.rules.test.yaml")

	rules := read(t, "prometheus/noted.rules.yaml")
	fired := map[string]bool{}
	tests := read(t, "prometheus/noted.rules.test.yaml") + read(t, "prometheus/silent.rules.test.yaml")
	for _, m := range regexp.MustCompile(`ALERTS\{alertname="(\w+)"`).FindAllStringSubmatch(tests, -1) {
		fired[m[1]] = true
	}
	alerts := strings.Split(rules, "- alert: ")[1:]
	for _, alert := range alerts {
		name, text, _ := strings.Cut(alert, "\n")
		if !fired[name] {
			t.Errorf("no test lets %s fire", name)
		}
		for _, part := range []string{
			"runbook: >-\n            Means: ", "\n            Look: ", "\n            Do: ",
		} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %q", name, strings.TrimSpace(part))
			}
		}
		if !regexp.MustCompile(`severity: (page|ticket)`).MatchString(text) {
			t.Errorf("%s has neither the severity page nor ticket", name)
		}
	}
	if len(alerts) < 20 || len(alerts) != len(fired) {
		t.Errorf("the rules have %d alerts, the tests %d", len(alerts), len(fired))
	}
}

// A dashboard is the part of Grafana's JSON that the tests look at.
type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name string }
	}
	Annotations struct {
		List []struct{ Expr string }
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ UID string }
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ RefID, Expr, LegendFormat string }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "grafana/noted.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDashboard checks that the dashboard is valid for Grafana, and complete for its
// reader.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	known := []string{"__rate_interval"}
	for _, v := range d.Templating.List {
		known = append(known, v.Name)
	}
	ids := map[int]string{}
	for i, p := range d.Panels {
		if other, taken := ids[p.ID]; taken || p.ID == 0 {
			t.Errorf("the panels %q and %q have the id %d", p.Title, other, p.ID)
		}
		ids[p.ID] = p.Title
		at := p.GridPos
		if at.W < 1 || at.H < 1 || at.X < 0 || at.X+at.W > 24 {
			t.Errorf("%q is outside the 24 columns: %+v", p.Title, at)
		}
		for _, other := range d.Panels[:i] {
			of := other.GridPos
			if at.X < of.X+of.W && of.X < at.X+at.W && at.Y < of.Y+of.H && of.Y < at.Y+at.H {
				t.Errorf("%q covers %q", p.Title, other.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 ||
			p.Datasource.UID != "${datasource}" {
			t.Errorf("%q lacks a title, a description, a unit, a query or the variable of the data source", p.Title)
		}
		for _, target := range p.Targets {
			for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("%q asks with the unknown variable %s", p.Title, m[0])
				}
			}
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				by := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(target.Expr)
				if by != nil && !slices.Contains(strings.Split(by[1], ", "), m[1]) {
					t.Errorf("%q shows the label %s, which the query drops", p.Title, m[1])
				}
			}
		}
	}
}

// TestAlertsHavePanels wants a panel for each metric that an alert asks for: its runbook's
// reader looks at the dashboard first.
func TestAlertsHavePanels(t *testing.T) {
	var shown strings.Builder
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			shown.WriteString(target.Expr + "\n")
		}
	}
	asked := 0
	expr := regexp.MustCompile(`(?m)^        expr:.*\n(?:          .*\n)*`)
	for _, query := range expr.FindAllString(read(t, "prometheus/noted.rules.yaml"), -1) {
		for _, m := range regexp.MustCompile(`\bnoted_\w+`).FindAllString(query, -1) {
			asked++
			name := strings.TrimSuffix(m, "_count") // of a histogram, which a panel may show by its buckets
			if !strings.Contains(shown.String(), name) {
				t.Errorf("no panel shows %s, for which an alert asks", name)
			}
		}
	}
	if asked < 20 {
		t.Errorf("the alerts ask for %d metrics, want at least 20", asked)
	}
}

// TestQueries lets a Prometheus with our configuration scrape a noted and gateways that
// have done work and met faults. Then each query of the dashboard must return data, and
// each alert must query existing series.
func TestQueries(t *testing.T) {
	prometheus, promtool := tool(t, "prometheus"), tool(t, "promtool")
	notedAdmin, gatewayAdmins := busy(t)

	// promtool finds names, types and help texts that break Prometheus's rules.
	for _, addr := range append(gatewayAdmins, notedAdmin) {
		check := exec.Command(promtool, "check", "metrics")
		check.Stdin = strings.NewReader(fetched(t, "http://"+addr+"/metrics"))
		if output, err := check.CombinedOutput(); err != nil || len(output) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, output)
		}
	}

	dir, addr := t.TempDir(), freeAddr()
	write(t, dir+"/noted.rules.yaml", read(t, "prometheus/noted.rules.yaml"))
	config := read(t, "prometheus/prometheus.yaml")
	for from, to := range map[string]string{
		"15s": "250ms", "noted:9090": notedAdmin, "gateway:9091": strings.Join(gatewayAdmins, `", "`),
	} {
		if !strings.Contains(config, from) {
			t.Fatalf("prometheus.yaml does not have %s", from)
		}
		config = strings.ReplaceAll(config, from, to)
	}
	start(t, addr, exec.Command(prometheus, "--config.file="+write(t, dir+"/prometheus.yaml", config),
		"--storage.tsdb.path="+dir+"/data", "--web.listen-address="+addr))
	await(t, "ready Prometheus", func() bool { return answers("http://" + addr + "/-/ready") })
	ask := func(query string) (series []map[string]string) {
		var answer struct {
			Status, Error string
			Data          struct {
				Result []struct{ Metric map[string]string }
			}
		}
		response, err := http.Get("http://" + addr + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
			t.Fatalf("asking %s: %v %s", query, err, answer.Error)
		}
		for _, result := range answer.Data.Result {
			series = append(series, result.Metric)
		}
		return series
	}
	// Three scrapes of each: a rate needs two.
	await(t, "third scrape", func() bool { return len(ask(`count_over_time(up[1m]) >= 3 and up == 1`)) == 3 })

	asked := 0
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			query := strings.NewReplacer("$__rate_interval", "1m", "$ledger", ".*").Replace(target.Expr)
			asked++
			if len(ask(query)) == 0 {
				t.Errorf("%q shows nothing for\n%s", p.Title, query)
			}
			wantLabels(t, ask, p.Title, query, target.LegendFormat)
		}
	}
	if asked < 50 {
		t.Errorf("asked %d queries of the dashboard, want at least 50", asked)
	}

	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name, Query, Health, LastError string
					Annotations                    map[string]string
				}
			}
		}
	}
	evaluated := func() (all bool) {
		if err := json.Unmarshal([]byte(fetched(t, "http://"+addr+"/api/v1/rules")), &rules); err != nil {
			t.Fatal(err)
		}
		for _, group := range rules.Data.Groups {
			for _, rule := range group.Rules {
				if rule.Health == "unknown" {
					return false
				}
			}
		}
		return len(rules.Data.Groups) == 2
	}
	await(t, "evaluation of the rules", evaluated)
	for _, group := range rules.Data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				t.Errorf("%s: %s", rule.Name, rule.LastError)
			}
			text := rule.Annotations["summary"] + rule.Annotations["runbook"]
			legend := strings.ReplaceAll(text, "$labels.", "")
			wantLabels(t, ask, rule.Name, rule.Query, legend)
		}
	}
}

var (
	selector  = regexp.MustCompile(`\b((?:noted|grpc|process|go)_\w+|up)\b(\{[^}]*\})?`)
	grouping  = regexp.MustCompile(`\bby \(([^)]*)\)`)
	mentioned = regexp.MustCompile(`\{\{ ?(\w+) ?\}\}`)
)

// wantLabels wants a series for each selector of a query. One of these series must have
// each label that the query groups by or that its text mentions.
func wantLabels(t *testing.T, ask func(string) []map[string]string, name, query, text string) {
	t.Helper()
	labels := map[string]bool{}
	for _, of := range selector.FindAllString(grouping.ReplaceAllString(query, ""), -1) {
		found := ask(of)
		if len(found) == 0 {
			t.Errorf("%s asks for %s, which neither noted nor the gateway has", name, of)
		}
		for _, series := range found {
			for label := range series {
				labels[label] = true
			}
		}
	}
	var want []string
	for _, by := range grouping.FindAllStringSubmatch(query, -1) {
		want = append(want, strings.Split(by[1], ", ")...)
	}
	for _, m := range mentioned.FindAllStringSubmatch(text, -1) {
		want = append(want, m[1])
	}
	for _, label := range want {
		if !labels[label] {
			t.Errorf("%s names the label %q, which no series of %s has", name, label, query)
		}
	}
}
