// Command noted-replay shows how Noted would have answered the messages of the past.
// `noted-replay -help` is its manual.
//
// # Design
//
// The program contains the whole service, because a second copy of the rules would drift
// away from the first. So it is separate from notectl, which is half the size without the
// service. A running service cannot answer for the past: its clock does not go back, it
// has one set of windows, and a sweep needs nine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/donation-dedupe/noted/client/cmdline"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/terminal"
	"github.com/donation-dedupe/noted/server"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes.
const (
	exitDone  = 0
	exitError = 1
	exitUsage = 2
)

// program is one run: its arguments, its streams and its settings.
type program struct {
	env            cmdline.Env
	stdin          io.Reader
	stdout, stderr io.Writer

	format         string
	keyFile        string
	keys           []inbox.Key // in that file
	sweep, summary bool
	rules          server.Rules
}

func run(
	ctx context.Context, args []string, env cmdline.Env, stdin io.Reader, stdout, stderr io.Writer,
) int {
	if cmdline.Version("noted-replay", args, stdout) {
		return exitDone
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	whole := true
	settings := p.flags()
	cli.FlagStringer = cmdline.SingleDash
	command := &cli.Command{
		Name:                          "noted-replay",
		Usage:                         "show how Noted would have answered the messages of the past",
		UsageText:                     "noted-replay [options] FILE|INBOX…",
		Description:                   manual,
		CustomRootCommandHelpTemplate: cli.CommandHelpTemplate, // its flags are not global
		Flags:                         settings,
		HideVersion:                   true,
		HideHelpCommand:               true,
		Writer:                        stdout,
		ErrWriter:                     io.Discard,
		ExitErrHandler:                func(context.Context, *cli.Command, error) {},
		OnUsageError: func(_ context.Context, _ *cli.Command, err error, _ bool) error {
			return cmdline.Usagef("%w", err)
		},
		Action: func(ctx context.Context, c *cli.Command) (err error) {
			wrong := settings.Mistakes()
			if c.NArg() == 0 {
				wrong = append(wrong, cmdline.Usagef("name the files to replay"))
			} else if err := p.readKeys(c.Args().Slice()); err != nil {
				wrong = append(wrong, err)
			}
			if len(wrong) > 0 {
				return errors.Join(wrong...)
			}
			whole, err = p.replay(ctx, c.Args().Slice())
			return err
		},
	}
	err := command.Run(ctx, args)
	if err != nil {
		p.warn(err.Error())
	}
	switch {
	case errors.Is(err, cmdline.ErrUsage):
		p.warn("hint: noted-replay -help")
		return exitUsage
	case err != nil, !whole:
		return exitError
	}
	return exitDone
}

// warn writes to standard error, each line after the program's name.
func (p *program) warn(text string) {
	for line := range strings.SplitSeq(terminal.Printable(text), "\n") {
		fmt.Fprintln(p.stderr, "noted-replay: "+line)
	}
}

// replay reads messages, asks about them and reports. whole is false if a line has no
// message or a body cannot be opened.
func (p *program) replay(ctx context.Context, files []string) (whole bool, err error) {
	past := &archive{stdin: p.stdin, keys: p.keys}
	defer past.close()
	if err := past.find(ctx, files); err != nil {
		return false, err
	}
	r := &replay{past: past, rules: p.rules, windows: []time.Duration{p.rules.MatchWindow}}
	if p.sweep {
		r.windows = sweepWindows(p.rules.MatchWindow)
	}
	if err := p.timed("reading", past.size, func(progress func(int64)) error {
		return past.read(ctx, r.identify, progress)
	}); err != nil {
		return false, err
	}
	r.sort()
	if err := p.timed("replaying", r.size(), func(progress func(int64)) error {
		return r.run(ctx, progress)
	}); err != nil {
		return false, err
	}
	report := &report{
		replay: r, out: terminal.NewPrinter(p.stdout, p.format == "json", p.env), rows: !p.summary,
	}
	if p.sweep {
		err = report.sweep()
	} else {
		err = report.donations()
	}
	if err != nil {
		return false, err
	}
	p.warnOf(past)
	return len(past.bad) == 0, nil
}

// timed shows the progress of a step.
func (p *program) timed(what string, size int64, do func(progress func(int64)) error) error {
	bar := terminal.NewProgress(p.stdout, p.stderr, max(size, 1), what)
	defer bar.Clear()
	return do(bar.Set)
}

// warnOf reports the lines without a message.
func (p *program) warnOf(past *archive) {
	for _, bad := range past.bad {
		p.warn(bad.Error())
	}
	if past.more > 0 {
		p.warn(fmt.Sprintf("and %d more lines like these", past.more))
	}
	p.warnOfInboxes(past)
	if len(past.arrivals) == 0 {
		p.warn("no messages")
	}
}
