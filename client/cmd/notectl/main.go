// Command notectl calls Noted from a terminal or a script: it notes donations, shows
// notes, and corrects them by hand.
//
// This file runs a command: it reads the command line and returns the exit code. Each
// command has a file with its name. Only print.go writes answers, and only complain.go
// writes errors. Answers go to stdout, everything else to stderr with the prefix
// "notectl: ". Output for programs (-o json, identify) does not depend on the terminal.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmd/notectl/completion"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/urfave/cli/v3"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes. first is also the success of every command that has no verdict.
const (
	exitFirst     = 0
	exitError     = 1
	exitUsage     = 2
	exitDuplicate = 10
	exitHeld      = 11
	exitDisagree  = 12 // of reconcile
)

// app is one run of the program.
type app struct {
	environ cmdline.Environ
	env     cmdline.Env // of environ
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	code    int // the command's exit code
}

// usageError is an error of the command line: the caller must correct the command.
type usageError struct{ error }

// commandError is an error of a command. Every other error comes from the parsing of the
// command line.
type commandError struct{ error }

func (e usageError) Unwrap() error   { return e.error }
func (e commandError) Unwrap() error { return e.error }

func run(
	ctx context.Context,
	args []string,
	environ cmdline.Environ,
	stdin io.Reader,
	stdout, stderr io.Writer,
) int {
	if len(args) == 2 && cmdline.Version("notectl", args, stdout) { // version -server is a command
		return 0
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{environ: environ, env: environ.Lookup, stdin: stdin, stdout: stdout, stderr: stderr}
	if len(args) > 2 && args[1] == completion.Word {
		words := completion.Complete(a.command(), args[3:], a.fewValues())
		fmt.Fprint(stdout, completion.Print(args[2], words))
		return 0
	}
	err := a.command().Run(ctx, args)
	if err == nil {
		return a.code
	}
	_, met := errors.AsType[commandError](err)
	if _, usage := errors.AsType[usageError](err); usage || !met {
		a.complainOfUsage(err)
		return exitUsage
	}
	a.complain(err)
	return exitError
}

// act wraps the work of a command: it keeps the exit code, and marks the error as a
// commandError. It refuses a misspelled variable: without its NOTED_LEDGER a command would
// look and note in the empty ledger.
func (a *app) act(do func(context.Context, *cli.Command) (int, error)) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		if wrong := a.strangers(cmd.Root()); len(wrong) > 0 {
			return usageError{errors.Join(wrong...)}
		}
		code, err := do(ctx, cmd)
		a.code = code
		if err != nil {
			return commandError{err}
		}
		return nil
	}
}

// strangers returns errors for the unknown variables that begin with NOTED_.
func (a *app) strangers(root *cli.Command) []error {
	var settings cmdline.Settings
	for _, flag := range root.Flags {
		if f, ok := flag.(cli.DocGenerationFlag); ok && len(f.GetEnvVars()) > 0 {
			settings = append(settings, flag)
		}
	}
	return cmdline.Prefix("NOTED_").Unknown(a.environ, settings, cmdline.ServerVariables...)
}

// dial makes the client for a command.
func (a *app) dial(cmd *cli.Command) (*client.Client, error) {
	return a.dialOne(cmd, cmd.String("addr"))
}

func (a *app) command() *cli.Command {
	cli.FlagStringer = cmdline.SingleDash
	root := &cli.Command{
		Name:      "notectl",
		Usage:     "ask Noted whether a donation has been noted already",
		UsageText: "notectl [options] COMMAND [options]",
		Description: `PayPal tells of one donation several times. Noted remembers which donations have been
noted, so that each is processed once.

Try it:

    notectl note -series I-ABC        FIRST: the donation is yours to process
    notectl note -series I-ABC        DUPLICATE: it has been noted before

Scripts can rely on the exit code:

     0   FIRST: process the donation; also the success of commands without a verdict
    10   DUPLICATE: nothing to process
    11   HELD: somebody is processing it; come back later
    12   of reconcile: PayPal and Noted do not agree
     1   error: the answer is unknown; do not process it, and do not treat it as a duplicate
     2   wrong usage

Answers go to standard output, everything else to standard error. With -o json each answer
is one line of JSON, with the names of the contract (api/noted/v1/noted.proto). Times are in
the local time zone (TZ), and in UTC in JSON. Colours appear only on a terminal, and not if
NO_COLOR is set.

notectl uses TLS to other machines and plaintext to this machine; see -plaintext.

notectl -version prints the version, its commit and its time.

Completion with the Tab key:

    bash    echo 'source <(notectl completion bash)' >> ~/.bashrc
    zsh     echo 'source <(notectl completion zsh)' >> ~/.zshrc
    fish    notectl completion fish > ~/.config/fish/completions/notectl.fish`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{
				Name:    "addr",
				Value:   "127.0.0.1:50051",
				Sources: a.from("NOTED_ADDR"),
				Usage:   "the server's `HOST:PORT`",
			},
			&cli.StringFlag{
				Name:    "ledger",
				Sources: a.from("NOTED_LEDGER"),
				Usage:   "`NAME` of the donations' ledger, such as paypal-live; empty is a ledger too",
			},
			&cli.DurationFlag{
				Name:    "timeout",
				Value:   client.DefaultTimeout,
				Sources: a.from("NOTED_TIMEOUT"),
				Usage:   "`DURATION` that one call may take, with its retries",
			},
			&cli.BoolFlag{
				Name:    "plaintext",
				Sources: a.from("NOTED_PLAINTEXT"),
				Usage:   "no TLS, not even to another machine: only in a network that you trust",
			},
			&cli.StringFlag{
				Name:      "o",
				Value:     "text",
				Usage:     "`FORMAT` of the answers: text for people, json for programs",
				Validator: cmdline.OneOf("text", "json"),
			},
		}, a.identityFlags()...),
		Commands: []*cli.Command{
			a.noteCommand(), a.existsCommand(), a.settleCommand(), a.releaseCommand(), a.extendCommand(),
			a.listCommand(), a.closeCommand(), a.forgetCommand(), a.reconcileCommand(), a.identifyCommand(),
			a.tokenCommand(), a.watchCommand(), a.doctorCommand(), a.versionCommand(),
		},
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(cmd *cli.Command) {
			cmd.Hidden = false
			cmd.Usage = "print the script that completes notectl's commands for bash, zsh, fish or pwsh"
			for _, shell := range cmd.Commands {
				if script, ours := completion.Scripts[shell.Name]; ours {
					shell.Action = func(context.Context, *cli.Command) error {
						_, err := fmt.Fprintf(a.stdout, script, "notectl")
						return err
					}
				}
			}
		},
		Suggest:        true,
		Reader:         a.stdin,
		Writer:         a.stdout,
		ErrWriter:      a.stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run decides
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().First() == "replay" {
				return usagef("replay is a program of its own: noted-replay, which reads the inbox of a gateway")
			}
			if cmd.Args().Present() {
				return usagef("there is no command %q", cmd.Args().First())
			}
			return usagef("which command?")
		},
	}
	_ = root.Walk(func(cmd *cli.Command) error {
		cmd.OnUsageError = func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
			return usageError{inCommand{error: err, name: cmd.FullName()}}
		}
		return nil
	})
	return root
}

// fewValues are the flags whose values completion offers. Its ledgers are those of the
// manuals and the environment's: the contract lists no ledgers.
func (a *app) fewValues() map[string][]string {
	ledgers := []string{"paypal-live", "paypal-sandbox"}
	if own, ok := a.env("NOTED_LEDGER"); ok && own != "" && !slices.Contains(ledgers, own) {
		ledgers = append(ledgers, own)
	}
	channels := []string{"ipn", "webhook"}
	return map[string][]string{
		"o": {"text", "json"}, "ledger": ledgers, "ledgers": ledgers, "verbs": grantable,
		"event": eventNames(), "state": {"held", "open", "settled"}, "sort": {"noted", "occurred", "series"},
		"channel": channels, "seen-only-on": channels,
	}
}

// from reads a flag's value from the environment of run.
func (a *app) from(name string) cli.ValueSourceChain { return a.env.Source(name) }

// now is the time from which ages and holds are counted.
func now() time.Time { return time.Now() }
