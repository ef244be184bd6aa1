package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/donation-dedupe/noted/client/cmdline"
	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server"
)

// The test binary is the program too: with asProgram in its environment it runs main, in
// the control group that inGroup names, if any.
const (
	asProgram = "NOTED_TEST_AS_PROGRAM"
	inGroup   = "NOTED_TEST_IN_GROUP"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if group := os.Getenv(inGroup); group != "" {
			if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o600); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// program starts noted as a process of its own.
func program(t *testing.T, args ...string) (*exec.Cmd, io.Reader, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self, args...)
	command.Env = append(os.Environ(), asProgram+"=1")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill() })
	return command, stdout, &stderr
}

// trial starts a trial as a process of its own, and returns its banner.
func trial(t *testing.T) (command *exec.Cmd, banner string, stderr *bytes.Buffer) {
	t.Helper()
	command, stdout, stderr := program(t, onAnyPort("-dev", "-http-listen", "127.0.0.1:0")...)
	banner, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("reading the banner: %v\n%s", err, stderr)
	}
	return command, banner, stderr
}

func TestDev(t *testing.T) {
	command, banner, stderr := trial(t)
	if !strings.Contains(banner, "NOTHING SURVIVES A RESTART") {
		t.Errorf("the banner is %q", banner)
	}
	conn, err := grpc.NewClient(
		regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(banner),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := notedv1.NewDedupeServiceClient(conn)
	for _, want := range []notedv1.Verdict{notedv1.Verdict_VERDICT_FIRST, notedv1.Verdict_VERDICT_DUPLICATE} {
		response, err := client.NoteDonation(
			t.Context(),
			&notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-ABC"}},
		)
		if err != nil || response.Verdict != want {
			t.Fatalf("NoteDonation = %v, %v, want %v", response.GetVerdict(), err, want)
		}
	}
	reflected, cancel := context.WithCancel(t.Context())
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(reflected)
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(
		&grpc_reflection_v1.ServerReflectionRequest{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{
				FileContainingSymbol: "noted.v1.DedupeService",
			},
		},
	)
	if answer, err := stream.Recv(); err != nil || answer.GetFileDescriptorResponse() == nil {
		t.Errorf("reflection: %v, %v", answer, err)
	}
	cancel()

	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit 0\n%s", err, stderr)
	}
}

// A SIGHUP for new certificates does not end a process that still waits for its store.
func TestHangupAtTheStart(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	command, _, stderr := program(
		t,
		"-redis",
		"redis://"+silent.Addr().String(),
		"-listen",
		"127.0.0.1:0",
		"-admin-listen",
		"off",
		"-drain",
		"0s",
	)
	if _, err := silent.Accept(); err != nil { // noted has connected to the store, which stays silent
		t.Fatal(err)
	}
	command.Process.Signal(syscall.SIGHUP)
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("after SIGHUP and SIGTERM: %v, want exit 0\n%s", err, stderr)
	}
}

// cmdline has the list of the variables, for notectl, which cannot ask for the flags.
func TestVariablesAreListed(t *testing.T) {
	var names []string
	for _, flag := range (&settings{}).flags(nil) {
		names = append(names, strings.TrimPrefix(variables.Variable(flag.Names()[0]), "NOTED_"))
	}
	slices.Sort(names)
	if !slices.Equal(names, cmdline.ServerVariables) {
		t.Errorf("cmdline.ServerVariables are\n%q\nthe flags have\n%q", cmdline.ServerVariables, names)
	}
}

// The help names every flag, its variable and its default, and goes to standard output.
func TestHelp(t *testing.T) {
	for _, ask := range []string{"-help", "--help", "-h"} {
		code, stdout, stderr, err := try(t, nil, ask)
		if code != 0 || err != nil || stderr != "" {
			t.Fatalf("%s: exit %d, %v, %q", ask, code, err, stderr)
		}
		for _, flag := range []string{
			"dev", "listen", "http-listen", "redis", "redis-mode", "match-window", "arrival-window", "retention", "transaction-ids", "series-limit",
			"ledgers", "reflection", "lame-duck", "drain", "allow-eviction", "replicas", "replicas-timeout", "on-loss", "epoch", "log-level", "log-format", "audit-log", "admin-listen", "tls-cert", "tls-key", "tls-client-ca", "callers", "insecure", "rate", "burst",
			"max-in-flight", "max-connections", "max-connections-per-address",
		} {
			if !regexp.MustCompile(`(?m)^  -` + flag + `( [A-Z]+)? +` + variables.Variable(flag) + `$`).
				MatchString(stdout) {
				t.Errorf("%s does not have -%s and %s", ask, flag, variables.Variable(flag))
			}
		}
		if !strings.Contains(stdout, "noted -version prints the version") {
			t.Errorf("%s does not mention -version", ask)
		}
		for line := range strings.Lines(stdout) {
			if len([]rune(line)) > 125 {
				t.Errorf("%s has a line of %d characters: %s", ask, len([]rune(line)), line)
			}
		}
	}
}

// The defaults are written in the form in which flags are read.
func TestDefaultsAsTheyAreRead(t *testing.T) {
	for _, d := range []time.Duration{
		server.DefaultRetention, server.DefaultArrivalWindow, server.DefaultMatchWindow, server.DefaultDrain,
	} {
		if got, err := cmdline.ParseSpan(cmdline.FormatSpan(d)); err != nil || got != d {
			t.Errorf("%v is written %q and read %v, %v", d, cmdline.FormatSpan(d), got, err)
		}
	}
}

func TestLedgers(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "ledgers.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ledgers, err := readLedgers(
		write(
			"{\n" + `"": {"retention": "60d"}, "a": {"match_window": "1h", "arrival_window": "2d", "transaction_ids": "shared"}, "b": {"transaction_ids": "per-channel"}` + "\n}\n",
		),
	)
	if err != nil {
		t.Fatal(err)
	}
	if len(ledgers) != 3 || ledgers[""].Retention != 60*24*time.Hour || ledgers["a"].MatchWindow != time.Hour ||
		ledgers["a"].ArrivalWindow != 48*time.Hour ||
		ledgers["a"].TransactionIDs != server.Shared ||
		ledgers["b"].TransactionIDs != server.PerChannel ||
		ledgers[""].TransactionIDs != "" {
		t.Errorf("read %+v", ledgers)
	}
	bad := map[string]string{
		"":               "line 1: the file ends too early",
		"{\n\"a\": {":    "line 2: the file ends too early",
		"[]":             "line 1: an object, {…}, must be here",
		"{\n\n\"a\": 1}": "line 3: ledger \"a\": an object, {…}, must be here",
		"{\n\"a\": {\"retentoin\":1}}": "line 2: ledger \"a\": there is no setting \"retentoin\"; there are " +
			"match_window, arrival_window, retention, transaction_ids",
		"{\"a\": {\"retention\": 1}}":                             "line 1: ledger \"a\": retention must be a text in quotes",
		"{\"a\": {\"retention\":\"x\"}}":                          "line 1: ledger \"a\": retention is \"x\"",
		"{\"a\":{\n\"retention\":\"1d\",\n\"retention\":\"2d\"}}": "line 3: ledger \"a\": \"retention\" is there twice",
		"{\"a\":{},\n\"a\":{}}":                                   "line 2: ledger \"a\" is there twice",
		"{\"a\":{\"transaction_ids\":\"none\"}}":                  "auto, per-channel, shared",
		"{\"a\":{}}\n{}":                                          "line 2: there is more after the end",
		"{\n\"a\": {\"retention\": \"1d\"\n]":                     "line 3",
		"{\"a\":{}}\n,":                                           "line 2",
		"{\"a\":{\"match_window\":\"0s\"}}":                       "match_window",
		"{\"a\":{\"match_window\":\"2h\"\n\"b\":{}}}":             "line 2",
	}
	for text, want := range bad {
		if _, err := readLedgers(write(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	code, _, _, err := try(
		t,
		nil,
		"-dev",
		"-listen",
		"127.0.0.1:0",
		"-http-listen",
		"off",
		"-admin-listen",
		"off",
		"-ledgers",
		write(`{"a b": {}}`),
	)
	if code != 2 || err == nil || !strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("a ledger with a space in its name: exit %d, %v", code, err)
	}
}
