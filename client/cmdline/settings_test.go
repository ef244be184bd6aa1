package cmdline

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v3"
)

// values are the values of a program's flags.
type values struct {
	Name  string
	Yes   bool
	Count int
	Rate  float64
	Pause time.Duration
	Keep  time.Duration
	Size  int64
	At    time.Time
	Local string
}

func (v *values) settings(env map[string]string) Settings {
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	return append(
		Prefix("TEST_").Settings(lookup,
			&cli.StringFlag{
				Name:        "name",
				Destination: &v.Name,
				Value:       "a",
				Validator:   OneOf("a", "b"),
				Usage:       "`NAME`A name.",
			},
			&cli.BoolFlag{Name: "yes", Destination: &v.Yes, Usage: "A yes."},
			&cli.IntFlag{
				Name:        "a-count",
				Destination: &v.Count,
				Value:       2,
				Validator:   AtLeast(1),
				Usage:       "`N`A count.",
			},
			&cli.FloatFlag{Name: "rate", Destination: &v.Rate, Value: 10, Usage: "`N`A rate."},
			&cli.DurationFlag{
				Name:        "pause",
				Destination: &v.Pause,
				Value:       time.Minute,
				DefaultText: "60s",
				Usage:       "`TIME`A pause.",
			},
			&SpanFlag{
				Name:        "keep",
				Destination: &v.Keep,
				Value:       48 * time.Hour,
				Validator:   Lasting(time.Second),
				Usage:       "`TIME`A span.",
			},
			&cli.TimestampFlag{Name: "at", Destination: &v.At, Usage: "`TIME`A time."},
			&SizeFlag{Name: "size", Destination: &v.Size, Value: 2 << 10, Usage: "`SIZE`A size."},
		),
		Prefix(
			"TEST_",
		).Settings(nil, &cli.StringFlag{Name: "local", Destination: &v.Local, Usage: "`X`No variable."})...)
}

// run parses a command line.
func run(t *testing.T, env map[string]string, args ...string) (v values, mistakes []string, err error) {
	t.Helper()
	settings := v.settings(env)
	err = Run(t.Context(), "test", "", settings, append([]string{"test"}, args...), io.Discard,
		func(context.Context, *cli.Command) error {
			for _, wrong := range settings.Mistakes() {
				mistakes = append(mistakes, wrong.Error())
				if !errors.Is(wrong, ErrUsage) {
					t.Errorf("%v is not ErrUsage", wrong)
				}
			}
			return nil
		})
	return v, mistakes, err
}

// A flag wins over its variable, and the variable over the default. Settings without an
// environment have no variables.
func TestPrecedence(t *testing.T) {
	env := map[string]string{
		"TEST_NAME":    "b",
		"TEST_YES":     "true",
		"TEST_A_COUNT": "7",
		"TEST_KEEP":    "3d",
		"TEST_PAUSE":   "",
		"TEST_SIZE":    "1MiB",
		"TEST_LOCAL":   "x", "TEST_AT": "2026-03-01",
	}
	got, mistakes, err := run(t, env, "-a-count", "5", "-yes=false", "--rate=0.5")
	want := values{
		Name: "b", Count: 5, Rate: 0.5, Pause: time.Minute, Keep: 72 * time.Hour, Size: 1 << 20,
		At: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" || mistakes != nil || err != nil {
		t.Errorf("mistakes %q, error %v, values (-want +got):\n%s", mistakes, err, diff)
	}
}

// Changed returns the settings that differ from their defaults, as on a command line. A flag
// with its default as value is not among them.
func TestChanged(t *testing.T) {
	var v values
	settings := v.settings(map[string]string{"TEST_KEEP": "3d", "TEST_RATE": "10"})
	var got []string
	err := Run(t.Context(), "test", "", settings, strings.Fields("test -name b -yes -a-count 2 -size 1MiB -local x"),
		io.Discard, func(context.Context, *cli.Command) error {
			got = settings.Changed("local")
			return nil
		})
	if diff := cmp.Diff([]string{"-name=b", "-yes=true", "-keep=3d", "-size=1024KiB"}, got); diff != "" || err != nil {
		t.Errorf("error %v, changed (-want +got):\n%s", err, diff)
	}
}

// Mistakes has all mistakes, in flags and variables, each once and in the flags' order.
func TestMistakes(t *testing.T) {
	env := map[string]string{
		"TEST_NAME":    "c",
		"TEST_YES":     "maybe",
		"TEST_A_COUNT": "many",
		"TEST_KEEP":    "0s",
		"TEST_AT":      "noon",
	}
	args := strings.Fields("-size big -pause soon -rate fast -rate slow -a-count 0")
	_, mistakes, err := run(t, env, args...)
	want := []string{
		`-name (TEST_NAME): "c" must be one of a, b`,
		`-yes (TEST_YES): "maybe" must be true or false`,
		`-a-count (TEST_A_COUNT): "0" is too small: it must be at least 1`,
		`-rate (TEST_RATE): "slow" is not a number`,
		`-pause (TEST_PAUSE): "soon" is not a time; write 20s, 5m or 73h`,
		`-keep (TEST_KEEP): "0s" is too short: it must be 1s at least`,
		`-at (TEST_AT): "noon" is not a time; write 2026-03-01 or 2026-03-01T10:00:00Z`,
		`-size (TEST_SIZE): "big" is not a size; write 262144 or 256KiB`,
	}
	if diff := cmp.Diff(want, mistakes); diff != "" || err != nil {
		t.Errorf("error %v, mistakes (-want +got):\n%s", err, diff)
	}
	if _, mistakes, _ := run(t, nil, "-name", "c", "-name", "b"); mistakes != nil {
		t.Errorf("a repeated flag with a valid last value: mistakes %q; want none", mistakes)
	}
	if _, _, err := run(t, nil, "-foo"); !errors.Is(err, ErrUsage) ||
		!strings.Contains(err.Error(), "there is no flag -foo; test -help") {
		t.Errorf("an unknown flag: %v", err)
	}
}

func TestHelp(t *testing.T) {
	want := `  -name NAME                        TEST_NAME
      A name. Default a.
  -yes                              TEST_YES
      A yes.
  -a-count N                        TEST_A_COUNT
      A count. Default 2.
  -rate N                           TEST_RATE
      A rate. Default 10.
  -pause TIME                       TEST_PAUSE
      A pause. Default 60s.
  -keep TIME                        TEST_KEEP
      A span. Default 2d.
  -at TIME                          TEST_AT
      A time.
  -size SIZE                        TEST_SIZE
      A size. Default 2KiB.
  -local X
      No variable.
`
	if diff := cmp.Diff(want, new(values).settings(nil).Help()); diff != "" {
		t.Errorf("the help (-want +got):\n%s", diff)
	}
}
