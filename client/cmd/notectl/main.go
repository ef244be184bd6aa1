// Command notectl asks Noted from a terminal or a script: it notes donations, looks at
// notes, and mends them by hand.
//
// This file is the frame: what happens between the shell and a command. Each command has
// a file named after what it does; print.go is the only one that writes answers,
// complain.go the only one that writes troubles. Its rules: answers go to stdout,
// everything else to stderr behind "notectl: "; what a program reads (-o json, identify)
// never changes with the terminal.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/urfave/cli/v3"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes. first is also the success of every command that has no verdict.
const (
	exitFirst     = 0
	exitError     = 1
	exitUsage     = 2
	exitDuplicate = 10
	exitHeld      = 11
)

// app is one run of the program.
type app struct {
	env    cmdline.Env
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	code   int // what the command answered
}

// usageError is a trouble that the caller mends by typing something else.
type usageError struct{ error }

// commandError is a trouble that a command met. Every other error comes from the parsing
// of the command line.
type commandError struct{ error }

func (e usageError) Unwrap() error   { return e.error }
func (e commandError) Unwrap() error { return e.error }

func run(
	ctx context.Context,
	args []string,
	env cmdline.Env,
	stdin io.Reader,
	stdout, stderr io.Writer,
) int {
	if cmdline.Version("notectl", args, stdout) {
		return 0
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
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

// act wraps what a command does: its exit code is kept, its error told from one of the
// command line.
func (a *app) act(do func(context.Context, *cli.Command) (int, error)) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		code, err := do(ctx, cmd)
		a.code = code
		if err != nil {
			return commandError{err}
		}
		return nil
	}
}

// dial makes the client that a command asks.
func (a *app) dial(cmd *cli.Command) (*client.Client, error) {
	config := client.Config{Timeout: cmd.Duration("timeout"), Plaintext: cmd.Bool("plaintext")}
	if err := identity(cmd, &config); err != nil {
		return nil, err
	}
	return client.New(cmd.String("addr"), config)
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

What a script may rely on is the exit code:

     0   FIRST: process the donation; also the success of a command that has no verdict
    10   DUPLICATE: nothing to process
    11   HELD: somebody is processing it; come back later
     1   error: nothing is known; do not process it, and do not take it for a duplicate
     2   wrong usage

Answers go to standard output, everything else to standard error. With -o json each answer
is one line of JSON, with the names of the contract (api/noted/v1/noted.proto). Times are
shown in the local time zone (TZ), and in UTC in JSON. Colours appear only on a terminal,
and not where NO_COLOR is set.

To another machine notectl speaks TLS, to this one plaintext; see -plaintext.

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
				Usage:   "`NAME` of the book that the donations belong to, such as paypal-live; empty is a ledger too",
			},
			&cli.DurationFlag{
				Name:    "timeout",
				Value:   client.DefaultTimeout,
				Sources: a.from("NOTED_TIMEOUT"),
				Usage:   "`DURATION` that one question may take",
			},
			&cli.BoolFlag{
				Name:    "plaintext",
				Sources: a.from("NOTED_PLAINTEXT"),
				Usage:   "no TLS, also to another machine: only in a network that you trust",
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
			a.listCommand(), a.closeCommand(), a.forgetCommand(), a.identifyCommand(), a.tokenCommand(),
		},
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(cmd *cli.Command) {
			cmd.Hidden = false
			cmd.Usage = "print the script that completes notectl's commands for bash, zsh, fish or pwsh"
		},
		Suggest:        true,
		Reader:         a.stdin,
		Writer:         a.stdout,
		ErrWriter:      a.stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // run decides
		Action: func(_ context.Context, cmd *cli.Command) error {
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

// from reads a flag's value from the environment that run was given.
func (a *app) from(name string) cli.ValueSourceChain { return a.env.Source(name) }

// now is when ages and holds are counted from.
func now() time.Time { return time.Now() }
