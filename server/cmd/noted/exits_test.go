package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

func TestMissingRedis(t *testing.T) {
	command, stdout, stderr := program(t)
	printed, _ := io.ReadAll(stdout)
	command.Wait()
	if code := command.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit %d, want 2", code)
	}
	if lines := strings.Count(
		stderr.String(),
		"\n",
	); lines != 1 || !strings.Contains(stderr.String(), "-redis") || !strings.Contains(stderr.String(), "-dev") ||
		len(printed) > 0 {
		t.Errorf("printed %q and %q, want one sentence that names -redis and -dev", printed, stderr)
	}
}

// try runs noted in this process until it ends, or until it has served for a moment.
func try(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out, log bytes.Buffer
	err = run(ctx, append([]string{"noted"}, args...), environ(env), &out, &log)
	return exitCode(err), out.String(), log.String(), err
}

// environ makes an environment of a map.
func environ(env map[string]string) (all cmdline.Environ) {
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

// An exit is how the program ends with an environment and arguments.
type exit struct {
	name string
	env  map[string]string
	args []string
	code int
	says string // in the error
}

// onAnyPort are arguments for a server that listens on a free port.
func onAnyPort(more ...string) []string {
	return append([]string{"-listen", "127.0.0.1:0", "-admin-listen", "off"}, more...)
}

// starts are starts without a mistake, and starts that the machine or Redis prevents.
func starts(redis, evicting *redistest.Server) []exit {
	return []exit{
		{"asked to stop", nil, onAnyPort("-redis", redis.URL()), 0, ""},
		{
			"all from the environment",
			map[string]string{
				"NOTED_REDIS":        redis.URL(),
				"NOTED_LISTEN":       "127.0.0.1:0",
				"NOTED_ADMIN_LISTEN": "off",
				"NOTED_RETENTION":    "60d",
			},
			nil,
			0,
			"",
		},
		{
			"the flag wins",
			map[string]string{"NOTED_LISTEN": "nowhere:nothing"},
			onAnyPort("-redis", redis.URL()),
			0,
			"",
		},
		{
			"an empty variable is not set",
			map[string]string{"NOTED_RETENTION": "", "NOTED_DEV": ""},
			onAnyPort("-redis", redis.URL()),
			0,
			"",
		},
		{"two minuses", nil, []string{"--listen=127.0.0.1:0", "--admin-listen=off", "--redis=" + redis.URL()}, 0, ""},
		{"a store that is away", nil, onAnyPort("-redis", "redis://127.0.0.1:1"), 0, ""},
		{"an evicting store", nil, onAnyPort("-redis", evicting.URL()), 1, "CONFIG SET maxmemory-policy noeviction"},
		{"an evicting store, allowed", nil, onAnyPort("-redis", evicting.URL(), "-allow-eviction"), 0, ""},
		{
			"an address that is taken",
			nil,
			[]string{"-dev", "-listen", redis.Addr(), "-admin-listen", "off"},
			1,
			"-listen",
		},
		{
			"an address for JSON that is taken",
			nil,
			onAnyPort("-redis", redis.URL(), "-http-listen", redis.Addr()),
			1,
			"-http-listen",
		},
	}
}

// mistakes are starts with a flag or variable that is wrong by itself.
func mistakes(redis *redistest.Server) []exit {
	return []exit{
		{"an unknown flag", nil, []string{"-foo"}, 2, "there is no flag -foo"},
		{"an argument", nil, []string{"-dev", "serve"}, 2, `"serve"`},
		{"a flag without its value", nil, []string{"-redis"}, 2, "-redis"},
		{"-dev with a store", nil, []string{"-dev", "-redis", redis.URL()}, 2, "-dev"},
		{"a bad time", nil, []string{"-dev", "-retention", "45x"}, 2, "-retention (NOTED_RETENTION)"},
		{
			"a bad time in the environment",
			map[string]string{"NOTED_MATCH_WINDOW": "soon"},
			[]string{"-dev"},
			2,
			"-match-window (NOTED_MATCH_WINDOW)",
		},
		{"no time at all", nil, []string{"-dev", "-arrival-window", "0s"}, 2, "-arrival-window"},
		{
			"a variable that is misspelled",
			map[string]string{"NOTED_RETENTOIN": "60d"},
			onAnyPort("-redis", redis.URL()),
			2,
			"there is no variable NOTED_RETENTOIN; the nearest is NOTED_RETENTION",
		},
		{
			"variables that are others'",
			map[string]string{"NOTED_TOKEN_FILE": "x", "NOTED_PORT": "tcp://10.0.0.1:50051", "GATEWAY_X": "x"},
			onAnyPort("-redis", redis.URL()),
			0,
			"",
		},
		{"a bad yes", map[string]string{"NOTED_DEV": "maybe"}, nil, 2, "NOTED_DEV"},
		{
			"an empty ledger in shadow", nil,
			[]string{"-dev", "-shadow-ledgers", "live,,sandbox"},
			2,
			"-shadow-ledgers (NOTED_SHADOW_LEDGERS) has a name that is empty",
		},
		{"a bad ledger in shadow", nil, []string{"-dev", "-shadow-ledgers", "live, sandbox"}, 2, `ledger " sandbox"`},
		{"a bad number", nil, []string{"-dev", "-series-limit", "many"}, 2, "-series-limit"},
		{"a bad choice", nil, []string{"-dev", "-transaction-ids", "none"}, 2, "auto, per-channel, shared"},
		{"a bad level", nil, []string{"-dev", "-log-level", "loud"}, 2, "debug, info, warn, error"},
		{
			"a bad mode",
			nil,
			onAnyPort("-redis", redis.URL(), "-redis-mode", "ring"),
			2,
			"standalone, sentinel, cluster",
		},
		{"a bad URL", nil, onAnyPort("-redis", "redis://:se/cret@h"), 2, "-redis"},
		{"a bad scheme", nil, onAnyPort("-redis", "mysql://:secret@h"), 2, "-redis"},
		{"a bad rate", nil, []string{"-dev", "-rate", "fast"}, 2, "-rate (NOTED_RATE)"},
		{"a negative burst", nil, []string{"-dev", "-burst=-1"}, 2, "-burst"},
		{"no calls at all", nil, []string{"-dev", "-max-in-flight", "0"}, 2, "-max-in-flight"},
		{"no connections at all", nil, []string{"-dev", "-max-connections", "0"}, 2, "-max-connections"},
		{
			"no connections from an address",
			nil,
			[]string{"-dev", "-max-connections-per-address", "0"},
			2,
			"-max-connections-per-address",
		},
	}
}

// mismatches are starts with flags that do not go together, or that name a missing file.
func mismatches(redis *redistest.Server) []exit {
	return []exit{
		{
			"listening for everybody",
			nil,
			[]string{"-redis", redis.URL(), "-listen", "0.0.0.0:0", "-admin-listen", "off"},
			2,
			"-insecure",
		},
		{
			"listening for everybody over HTTP",
			nil,
			onAnyPort("-redis", redis.URL(), "-http-listen", ":0"),
			2,
			"-http-listen",
		},
		{
			"a trial for everybody",
			nil,
			[]string{"-dev", "-listen", "0.0.0.0:0", "-admin-listen", "off"},
			2,
			"-insecure",
		},
		{
			"listening for everybody all the same",
			nil,
			[]string{"-redis", redis.URL(), "-listen", "0.0.0.0:0", "-admin-listen", "off", "-insecure"},
			0,
			"",
		},
		{
			"a trial with TLS",
			nil,
			[]string{"-dev", "-tls-cert", "a", "-tls-key", "b"},
			2,
			"-dev (NOTED_DEV) is plaintext",
		},
		{"a certificate without its key", nil, onAnyPort("-redis", redis.URL(), "-tls-cert", "a"), 2, "-tls-key"},
		{"CAs without TLS", nil, onAnyPort("-redis", redis.URL(), "-tls-client-ca", "a"), 2, "-tls-cert"},
		{
			"a certificate that is missing",
			nil,
			onAnyPort("-redis", redis.URL(), "-tls-cert", "/nowhere", "-tls-key", "/nowhere"),
			2,
			"/nowhere",
		},
		{"no callers file", nil, onAnyPort("-redis", redis.URL(), "-callers", "/nowhere"), 2, "-callers"},
		{"a burst of no rate", nil, []string{"-dev", "-burst", "5"}, 2, "-burst needs -rate"},
		{"no ledgers file", nil, []string{"-dev", "-ledgers", "/nowhere"}, 2, "-ledgers"},
	}
}

func TestExitCodes(t *testing.T) {
	redis := redistest.Start(t)
	evicting := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	for _, c := range slices.Concat(starts(redis, evicting), mistakes(redis), mismatches(redis)) {
		t.Run(c.name, func(t *testing.T) {
			code, _, log, err := try(t, c.env, c.args...)
			if code != c.code {
				t.Errorf("exit %d, want %d: %v", code, c.code, err)
			}
			if c.says != "" && !strings.Contains(err.Error(), c.says) {
				t.Errorf("says %q, want %q in it", err, c.says)
			}
			if err != nil && strings.Contains(err.Error(), "Default") {
				t.Errorf("the error dumps the help: %v", err)
			}
			if all := log + errText(err); strings.Contains(all, "cret") {
				t.Errorf("log or error have the password:\n%s", all)
			}
		})
	}
}

// The error names all mistakes at once: in flags, in the environment, in a file, and in
// settings that exclude each other.
func TestAllMistakes(t *testing.T) {
	code, _, _, err := try(t, map[string]string{"NOTED_RATE": "fast", "NOTED_REPLICAS": "1", "NOTED_DEVEL": "1"},
		"-dev", "-retention", "45x", "-on-loss", "ignore", "-ledgers", "/nowhere", "-redis", "redis://127.0.0.1:1")
	want := `there is no variable NOTED_DEVEL; the nearest is NOTED_DEV
-rate (NOTED_RATE): "fast" is not a number; write a number such as 1000
-retention (NOTED_RETENTION): "45x" is not a time: write 30s, 2h or 45d
-on-loss (NOTED_ON_LOSS): "ignore" must be one of report, refuse
-ledgers (NOTED_LEDGERS): open /nowhere: no such file or directory
-dev (NOTED_DEV) and -redis (NOTED_REDIS) are both given; -dev brings a store of its own, so leave one out
-replicas (NOTED_REPLICAS) asks for replicas, and -dev (NOTED_DEV) has none; leave one out`
	if code != 2 || errText(err) != want {
		t.Errorf("exit %d and\n%v\nwant 2 and\n%s", code, err, want)
	}
}

// A password stays out of the log while the store is away, refuses it, and answers.
func TestPasswordStaysOut(t *testing.T) {
	redis := redistest.Start(t, "--requirepass", "rightcanary")
	for _, url := range []string{
		"redis://:rightcanary@" + redis.Addr(), "redis://:wrongcanary@" + redis.Addr(),
		"redis://user:canary@127.0.0.1:1",
	} {
		code, stdout, log, err := try(
			t,
			nil,
			"-redis",
			url,
			"-listen",
			"127.0.0.1:0",
			"-admin-listen",
			"off",
			"-log-level",
			"debug",
		)
		if code != 0 || log == "" {
			t.Errorf("exit %d, %v, log %q", code, err, log)
		}
		if strings.Contains(stdout+log+errText(err), "canary") {
			t.Errorf("the output has the password:\n%s%s%v", stdout, log, err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
