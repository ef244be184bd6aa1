// Package cmdline reads the command lines of the project's programs: flags with variables
// in the environment, all mistakes in one report, and the help.
//
// It is for the project's own programs, and promises nothing to others.
//
// # Design
//
// Flags are those of the library, github.com/urfave/cli. The library stops at the first
// wrong value. Settings keeps each mistake until all values are read, so that an operator
// corrects them all together.
//
// The programs of server/cmd and of client/cmd share this package. A package internal to
// one side is closed to the other, the top level of the repository is fixed, and client
// must not import server. So the package is in client, where server/cmd may import it. It
// imports neither side.
package cmdline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// ErrUsage marks an error that the person who starts the program can correct.
var ErrUsage = errors.New("usage")

// usageError is an error whose text is a whole sentence.
type usageError struct{ error }

func (usageError) Is(target error) bool { return target == ErrUsage }
func (e usageError) Unwrap() error      { return e.error }

// Usagef returns an error that matches ErrUsage.
func Usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Env looks up a variable of the environment, as the standard library does.
type Env func(name string) (string, bool)

// Source gives a flag its variable. An empty variable counts as not set.
func (e Env) Source(name string) cli.ValueSourceChain {
	return cli.NewValueSourceChain(variable{name: name, env: e})
}

type variable struct {
	name string
	env  Env
}

// Lookup and the next two methods belong to cli.ValueSource. The last two belong to
// cli.EnvValueSource.
func (v variable) Lookup() (string, bool) {
	value, ok := v.env(v.name)
	return value, ok && value != ""
}

func (v variable) String() string   { return "environment variable " + v.name }
func (v variable) GoString() string { return v.String() }
func (v variable) IsFromEnv() bool  { return true }
func (v variable) Key() string      { return v.name }

// Prefix begins the names of a program's variables.
type Prefix string

// Variable is the name of a flag in the environment.
func (p Prefix) Variable(flag string) string {
	return string(p) + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Both is a flag's name with its variable's, because the mistake may be in either.
func (p Prefix) Both(flag string) string { return fmt.Sprintf("-%s (%s)", flag, p.Variable(flag)) }

// Run reads the arguments into the settings and acts, or prints the help. Errors of the
// command line are ErrUsage.
func Run(
	ctx context.Context, name, help string, settings Settings, args []string, stdout io.Writer, act cli.ActionFunc,
) error {
	command := &cli.Command{
		Name:                          name,
		Flags:                         settings,
		CustomRootCommandHelpTemplate: help,
		HideVersion:                   true,
		HideHelpCommand:               true,
		Writer:                        stdout,
		ErrWriter:                     io.Discard, // main prints the error, once
		ExitErrHandler:                func(context.Context, *cli.Command, error) {},
		OnUsageError: func(_ context.Context, _ *cli.Command, err error, _ bool) error {
			text := strings.Replace(err.Error(), "flag provided but not defined: ", "there is no flag ", 1)
			return Usagef("%s; %s -help lists the flags", text, name)
		},
		Action: act,
	}
	return command.Run(ctx, args)
}

// NoArguments refuses arguments, most often flags without their dash.
func NoArguments(c *cli.Command) error {
	if !c.Args().Present() {
		return nil
	}
	return Usagef("%q is not a flag, and %s takes only flags; write -flag=value if a value looks like a flag",
		c.Args().First(), c.Name)
}

// OneOf validates a choice.
func OneOf(values ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(values, s) {
			return fmt.Errorf("%q must be one of %s", s, strings.Join(values, ", "))
		}
		return nil
	}
}

// AtLeast validates a number.
func AtLeast(least int) func(int) error {
	return func(n int) error {
		if n < least {
			return fmt.Errorf("\"%d\" is too small: it must be at least %d", n, least)
		}
		return nil
	}
}

// Lasting validates a time that must not be shorter than another.
func Lasting(least time.Duration) func(time.Duration) error {
	return func(d time.Duration) error {
		if d < least {
			return fmt.Errorf("%q is too short: it must be %s at least", FormatSpan(d), FormatSpan(least))
		}
		return nil
	}
}

var libraryFlagStringer = cli.FlagStringer

// SingleDash shows flags with one dash in the library's own help. The library reads one
// dash and two dashes.
func SingleDash(flag cli.Flag) string {
	names, rest, _ := strings.Cut(libraryFlagStringer(flag), "\t")
	return strings.ReplaceAll(names, "--", "-") + "\t" + rest
}
