package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/donation-dedupe/noted/client/terminal/terminaltest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"noted-replay": main})
}

// Every script in testdata is a session at a terminal in Berlin. Beside testscript's own
// commands there is "exits N noted-replay …", which wants that exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "Europe/Berlin")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // by default every exit takes a second
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": terminaltest.Exits},
	})
}
