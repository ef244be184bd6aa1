package ops_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestKubernetes builds the base, and checks each object against the schemas of
// Kubernetes, unknown fields included. Then it compares the values on which objects must
// agree.
func TestKubernetes(t *testing.T) {
	built := run(t, tool(t, "kustomize"), "build", "kubernetes")
	file := write(t, t.TempDir()+"/all.yaml", built)
	run(t, tool(t, "kubernetes-validate"), "--strict", file)

	objects := strings.Split(built, "\n---\n")
	var kinds []string
	for _, object := range objects {
		kinds = append(kinds, regexp.MustCompile(`(?m)^kind: (\w+)`).FindStringSubmatch(object)[1])
	}
	slices.Sort(kinds)
	want := strings.Fields("Deployment Deployment Namespace NetworkPolicy NetworkPolicy NetworkPolicy " +
		"PodDisruptionBudget PodDisruptionBudget Service Service Service StatefulSet")
	if !slices.Equal(kinds, want) {
		t.Errorf("the base has %v, want %v", kinds, want)
	}
	for _, setting := range settings(built, "NOTED_", "GATEWAY_") {
		wantFlag(t, setting)
	}
}

// TestCompose lets the reader that docker compose uses read the file.
func TestCompose(t *testing.T) {
	output := run(t, tool(t, "compose"), "-no-interpolation", "compose.yaml")
	for _, service := range strings.Fields("redis noted gateway prometheus grafana") {
		if !strings.Contains(output, "\n    "+service+":\n") {
			t.Errorf("compose read no service %s in\n%s", service, output)
		}
	}
	// Docker turns a missing file that is mounted into an empty folder.
	for _, m := range regexp.MustCompile(`- \./(\S+?):`).FindAllStringSubmatch(read(t, "compose.yaml"), -1) {
		if !exists(m[1]) {
			t.Errorf("compose.yaml mounts %s, which is not there", m[1])
		}
	}
	for _, setting := range settings(read(t, "compose.yaml"), "NOTED_", "GATEWAY_") {
		if setting != "NOTED_VERSION" { // compose itself reads this one
			wantFlag(t, setting)
		}
	}
	// Prometheus asks for the names that compose gives.
	for _, target := range []string{"noted:9090", "gateway:9091"} {
		if !strings.Contains(read(t, "prometheus/prometheus.yaml"), target) {
			t.Errorf("prometheus.yaml does not scrape %s", target)
		}
	}
}

// settings are the variables that a text names.
func settings(text string, prefixes ...string) (found []string) {
	found = regexp.MustCompile(`\b(?:`+strings.Join(prefixes, "|")+`)[A-Z_]+\b`).FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

// helps are the manuals of the programs, by the prefix of their variables.
var helps = map[string]string{}

// wantFlag wants a variable in the manual of its program.
func wantFlag(t *testing.T, setting string) {
	t.Helper()
	prefix, _, _ := strings.Cut(setting, "_")
	program := map[string]string{"NOTED": "noted", "GATEWAY": "noted-gateway"}[prefix]
	if helps[program] == "" {
		helps[program] = run(t, built(t, program), "-help")
	}
	if !regexp.MustCompile(`\b` + setting + `\b`).MatchString(helps[program]) {
		t.Errorf("%s has no setting %s", program, setting)
	}
}

// TestUnits lets systemd verify the units, and rate how exposed they are.
func TestUnits(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	for program, environment := range map[string]string{"noted": "noted.env", "noted-gateway": "gateway.env"} {
		unit := read(t, "systemd/"+program+".service")
		dir := t.TempDir()
		// verify wants the program to exist, so its path is the only change.
		local := strings.Replace(unit, "/usr/bin/"+program, built(t, program), 1)
		file := write(t, dir+"/"+program+".service", local)
		// verify prints its complaints and exits with 0. It also reads the units of this
		// machine.
		for line := range strings.Lines(run(t, analyze, "verify", "--man=no", file)) {
			if strings.Contains(line, program+".service") {
				t.Errorf("systemd-analyze verify: %s", line)
			}
		}
		// The exposure is 0 (none) to 100 (full). Above the threshold the command fails.
		run(t, analyze, "security", "--offline=true", "--no-pager", "--threshold=20", file)
		if !strings.Contains(unit, "EnvironmentFile=/etc/noted/"+environment+"\n") {
			t.Errorf("%s.service does not read %s", program, environment)
		}
		for _, setting := range settings(read(t, "systemd/"+environment), "NOTED_", "GATEWAY_") {
			wantFlag(t, setting)
		}
	}
}
