package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/terminal/terminaltest"
	"github.com/donation-dedupe/noted/server/servertest"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"notectl": main})
}

// Every script is a session at a terminal in Berlin, from $NOW on, with a new server whose
// clock "advance 61s" sets forward. The further commands are "exits N notectl …", which
// wants the exit code N, and "keep NAME PATTERN", which puts the match of the pattern's
// group in stdout into $NAME.
// The server has the ledger "dark" in shadow.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("finding scripts: %d, %v", len(scripts), err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			server := servertest.Start(t, servertest.Options{ShadowLedgers: []string{"dark"}})
			testscript.Run(t, testscript.Params{
				Files: []string{script},
				Setup: func(env *testscript.Env) error {
					env.Setenv("NOTED_ADDR", server.Addr())
					env.Setenv("TZ", "Europe/Berlin")
					env.Setenv("NOW", time.Now().Format(time.RFC3339))
					env.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise every exit takes a second
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits": terminaltest.Exits,
					"keep":  keep,
					"advance": func(ts *testscript.TestScript, neg bool, args []string) {
						d, err := time.ParseDuration(args[0])
						ts.Check(err)
						server.Advance(d)
					},
				},
			})
		})
	}
}

func keep(ts *testscript.TestScript, neg bool, args []string) {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("no %s in stdout", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// A misspelled variable is refused, since its setting would keep the default. Those of the
// server and of other programs are no mistakes, and the help comes all the same.
func TestMisspelledVariable(t *testing.T) {
	s := servertest.New(t)
	misspelled := "NOTED_" + "LEGDER" // cmdline's test looks for the variables that the tree reads
	for _, c := range []struct {
		environ cmdline.Environ
		more    []string
		code    int
		says    string
	}{
		{cmdline.Environ{misspelled + "=x"}, nil, exitUsage, misspelled + "; the nearest is NOTED_LEDGER\n"},
		{cmdline.Environ{misspelled + "=x"}, []string{"-help"}, exitFirst, ""},
		{cmdline.Environ{"NOTED_RETENTION=60d", "NOTED_HANDLER=x.php", "GATEWAY_X=1"}, nil, exitFirst, "no such notes"},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"notectl", "-addr", s.Addr(), "list"}, c.more...)
		code := run(t.Context(), args, c.environ, nil, &stdout, &stderr)
		if code != c.code || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%v with %v exits with %d: %s", args, c.environ, code, stderr.String())
		}
	}
}

// replay was a command of notectl's. It is told where it is now.
func TestReplayIsAProgram(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"notectl", "replay", "sqlite:///inbox.db"}, nil, nil, &stdout, &stderr)
	if code != exitUsage || !strings.Contains(stderr.String(), "replay is a program of its own: noted-replay") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}
