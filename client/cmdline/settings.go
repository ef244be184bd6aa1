package cmdline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// Settings are the flags of a program, in the order of its help.
type Settings []cli.Flag

// Settings keeps the mistakes in the values of flags for Mistakes. With an environment
// each flag also has a variable, and the flag wins. The flags must have one of the types
// below.
func (p Prefix) Settings(env Env, flags ...cli.Flag) Settings {
	settings := make(Settings, len(flags))
	for i, flag := range flags {
		variable := p.Variable(flag.Names()[0])
		switch f := flag.(type) {
		case *cli.StringFlag:
			settings[i] = newSetting(f, env, variable, "")
		case *cli.BoolFlag:
			settings[i] = newSetting(f, env, variable, "must be true or false")
		case *cli.IntFlag:
			f.Config.Base = 10 // 010 is ten
			settings[i] = newSetting(f, env, variable, "is not a number; write a number such as 1000")
		case *cli.FloatFlag:
			settings[i] = newSetting(f, env, variable, "is not a number")
		case *cli.DurationFlag:
			settings[i] = newSetting(f, env, variable, "is not a time; write 20s, 5m or 73h")
		case *cli.TimestampFlag:
			f.Config.Layouts = []string{time.DateOnly, time.RFC3339}
			not := "is not a time; write 2026-03-01 or 2026-03-01T10:00:00Z"
			settings[i] = newSetting(f, env, variable, not)
		case *SpanFlag:
			settings[i] = newSetting(f, env, variable, "")
		case *SizeFlag:
			settings[i] = newSetting(f, env, variable, "")
		default:
			panic(fmt.Sprintf("a setting cannot be a %T", flag))
		}
	}
	return settings
}

// Mistakes returns the errors of refused values, in the order of the flags.
func (s Settings) Mistakes() (wrong []error) {
	for _, flag := range s {
		if err := flag.(interface{ refused() error }).refused(); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// Changed returns the settings that differ from their defaults, as flags on a command line,
// without the named flags.
func (s Settings) Changed(without ...string) []string {
	var changed []string
	for _, flag := range s {
		name := flag.Names()[0]
		value, differs := flag.(interface{ changed() (string, bool) }).changed()
		if !differs || slices.Contains(without, name) {
			continue
		}
		changed = append(changed, "-"+name+"="+value)
	}
	return changed
}

// setting is a flag with the error of its value.
type setting[T, C any, V cli.ValueCreator[T, C]] struct {
	*cli.FlagBase[T, C, V]
	names   string // its names in errors
	not     string // why a text is unreadable; empty: the library's error says it
	valid   func(T) error
	mistake error
}

func newSetting[T, C any, V cli.ValueCreator[T, C]](
	flag *cli.FlagBase[T, C, V], env Env, variable, not string,
) *setting[T, C, V] {
	s := &setting[T, C, V]{FlagBase: flag, names: "-" + flag.Name, not: not, valid: flag.Validator}
	flag.Validator = nil // Set calls it, to tell its errors from those of reading
	if env != nil {
		s.names += " (" + variable + ")"
		flag.Sources = env.Source(variable)
	}
	return s
}

func (s *setting[T, C, V]) refused() error { return s.mistake }

// Set belongs to cli.Flag. A repeated flag has its last value.
func (s *setting[T, C, V]) Set(name, text string) error {
	err := s.FlagBase.Set(name, text)
	switch {
	case err != nil && s.not != "":
		err = fmt.Errorf("%q %s", text, s.not)
	case err == nil && s.valid != nil:
		err = s.valid(s.Get().(T))
	}
	if s.mistake = err; err != nil {
		s.mistake = Usagef("%s: %w", s.names, err)
	}
	return nil
}

// changed returns the value as on a command line, and whether it differs from the default.
func (s *setting[T, C, V]) changed() (value string, differs bool) {
	var creator V
	value = creator.ToString(s.Get().(T))
	differs = value != s.GetValue()
	if text, err := strconv.Unquote(value); err == nil { // the library quotes strings
		value = text
	}
	return value, differs
}

// PostParse belongs to cli.Flag. It reads the variable if the flag is absent.
func (s *setting[T, C, V]) PostParse() error {
	if s.Count() > 0 {
		return nil
	}
	for _, source := range s.Sources.Chain {
		if text, found := source.Lookup(); found {
			return s.Set(s.Name, text)
		}
	}
	return nil
}

// helpWidth is the column at which help wraps.
const helpWidth = 100

// Help is the settings' part of a manual: each flag with its variable, its meaning and its
// default.
func (s Settings) Help() string {
	var b strings.Builder
	for _, flag := range s {
		f := flag.(cli.DocGenerationFlag)
		placeholder, usage := "", f.GetUsage()
		if _, rest, found := strings.Cut(usage, "`"); found {
			placeholder, usage, _ = strings.Cut(rest, "`")
		}
		head := strings.TrimSpace("-" + flag.Names()[0] + " " + placeholder)
		line := fmt.Sprintf("  %-34s%s", head, strings.Join(f.GetEnvVars(), ""))
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
		if value := Default(flag); value != "" {
			usage += " Default " + value + "."
		}
		for _, line := range wrap(usage, helpWidth-6) {
			fmt.Fprintf(&b, "      %s\n", line)
		}
	}
	return b.String()
}

// Default is the default of a flag in the help, or empty without a default.
func Default(flag cli.Flag) string {
	f := flag.(cli.DocGenerationFlag)
	switch text := f.GetDefaultText(); {
	case text != "":
		return text
	case !f.TakesValue():
		return ""
	}
	if text, err := strconv.Unquote(f.GetValue()); err == nil { // the library quotes strings
		return text
	}
	return f.GetValue()
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line+" "+word)) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
