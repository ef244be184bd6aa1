package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/donation-dedupe/noted/client/cmd/notectl/doctor"
	"github.com/donation-dedupe/noted/client/terminal/terminaltest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// withRights starts a server that knows a caller with each of the given rights, verbs
// separated by commas, and returns the files of the callers' tokens.
func withRights(t *testing.T, rights ...string) (server *servertest.Server, tokens []string) {
	t.Helper()
	dir := t.TempDir()
	var lines []string
	for _, verbs := range rights {
		var stdout, stderr bytes.Buffer
		args := []string{"notectl", "token", "-verbs", verbs, "-ledgers", "*", "with-" + verbs}
		if code := run(t.Context(), args, nil, nil, &stdout, &stderr); code != exitFirst {
			t.Fatalf("%v exits with %d: %s", args, code, &stderr)
		}
		token, line, _ := strings.Cut(stdout.String(), "\n")
		tokens = append(tokens, filepath.Join(dir, verbs))
		writeFile(t, tokens[len(tokens)-1], token)
		lines = append(lines, line)
	}
	writeFile(t, filepath.Join(dir, "callers.json"), "{"+strings.Join(lines, ",")+"}")
	return servertest.Start(t, servertest.Options{Callers: filepath.Join(dir, "callers.json")}), tokens
}

// The doctor finds each verb by itself, and makes no call that it may not make.
func TestDoctorTriesEachVerb(t *testing.T) {
	server, tokens := withRights(t, grantable...)
	for i, verb := range grantable {
		code, found := examine(t, []*servertest.Server{server}, "-token-file", tokens[i])
		others := slices.DeleteFunc(slices.Clone(grantable), func(other string) bool { return other == verb })
		check(t, "with the verb "+verb, code, exitFirst, found,
			want{"rights", doctor.Well, `in the ledger "": ` + verb + "; not " + strings.Join(others, ", ")})
		for _, f := range found {
			if strings.Contains(f.Found, "VERB_DENIED") {
				t.Errorf("with the verb %s the doctor was denied a call: %+v", verb, f)
			}
		}
	}
}

// The verbs that the help of close and forget names suffice for them.
func TestHelpNamesTheVerbs(t *testing.T) {
	named := func(command string) string {
		var stdout, stderr bytes.Buffer
		run(t.Context(), []string{"notectl", command, "-help"}, nil, nil, &stdout, &stderr)
		said := strings.Join(strings.Fields(stdout.String()), " ")
		found := regexp.MustCompile(` needs the verbs? ([a-z, ]+)[.;]`).FindStringSubmatch(said)
		if found == nil {
			t.Fatalf("the help of %s names no verb that it needs: %s%s", command, said, &stderr)
		}
		return regexp.MustCompile(`,? and |, `).ReplaceAllString(found[1], ",")
	}
	// forget needs more verbs on a terminal than elsewhere.
	server, tokens := withRights(t, strings.Join(grantable, ","), named("close"), named("forget")+",admin")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/rights",
		Setup: func(env *testscript.Env) error {
			for i, name := range []string{"all", "close", "forget"} {
				text, err := os.ReadFile(tokens[i])
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name+".token"), text, 0o600); err != nil {
					return err
				}
			}
			env.Setenv("NOTED_ADDR", server.Addr())
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": terminaltest.Exits, "keep": keep},
	})
}
