package cmdline

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v3"
)

// noted is a program whose variables begin with NOTED_.
func noted() Settings {
	const p = Prefix("NOTED_")
	return p.Settings(nil, &cli.StringFlag{Name: "listen"}, &cli.StringFlag{Name: "retention"},
		&cli.StringFlag{Name: "redis"}, &cli.StringFlag{Name: "redis-mode"}, &cli.StringFlag{Name: "match-window"})
}

// An unknown variable with the program's prefix is refused, with the nearest name. The error
// does not show its value, which may be a password.
func TestUnknown(t *testing.T) {
	for entry, nearest := range map[string]string{
		"NOTED_RETENTOIN=60d":           "NOTED_RETENTION",
		"NOTED_RETENTION_DAYS=60":       "NOTED_RETENTION",
		"NOTED_REDIS_URL=redis://:hush": "NOTED_REDIS",
		"NOTED_MATCHWINDOW=2h":          "NOTED_MATCH_WINDOW",
		"NOTED_LISTEN_ADDR=x":           "NOTED_LISTEN",
		"NOTED_retention=60d":           "NOTED_RETENTION",
		"NOTED_=x":                      "",
		"NOTED_PORT=50051":              "*", // not from Kubernetes, which writes tcp://
	} {
		name, value, _ := strings.Cut(entry, "=")
		wrong := Prefix("NOTED_").Unknown(Environ{"HOME=/", entry, entry}, noted())
		if len(wrong) != 1 || !errors.Is(wrong[0], ErrUsage) {
			t.Errorf("%s: %v, want one mistake", entry, wrong)
			continue
		}
		want := "there is no variable " + name + "; the nearest is " + nearest
		if nearest == "" {
			want = "there is no variable NOTED_; leave it out"
		}
		if got := wrong[0].Error(); nearest == "*" && !strings.Contains(got, name) || nearest != "*" && got != want ||
			strings.Contains(got, value) && len(value) > 3 {
			t.Errorf("%s: %q, want %q", entry, got, want)
		}
	}
	known := Environ{
		"NOTED_RETENTION=60d", "NOTED_REDIS_MODE=cluster", "NOTED_TOKEN_FILE=x", "NOTED_HANDLER=x.php", "NOTED_TEST_X=1",
		"NOTED_RETENTOIN=", "NOTED", "NOTEDLY_X=1", "GATEWAY_X=1", "noted_x=1",
		"NOTED_SERVICE_HOST=10.0.0.1", "NOTED_SERVICE_PORT=50051", "NOTED_SERVICE_PORT_GRPC=50051",
		"NOTED_PORT=tcp://10.0.0.1:50051", "NOTED_PORT_50051_TCP=tcp://10.0.0.1:50051",
		"NOTED_PORT_50051_TCP_PROTO=tcp", "NOTED_PORT_50051_TCP_PORT=50051", "NOTED_PORT_50051_TCP_ADDR=10.0.0.1",
		"NOTED_GATEWAY_PORT=tcp://10.0.0.2:8081", "NOTED_GATEWAY_SERVICE_HOST=10.0.0.2",
	}
	if wrong := Prefix("NOTED_").Unknown(known, noted()); wrong != nil {
		t.Errorf("known variables: %v", wrong)
	}
}

// A repeated variable has its first value, as in the standard library.
func TestLookup(t *testing.T) {
	e := Environ{"A=", "B=1=2", "B=3", "C"}
	got := map[string]string{}
	for _, name := range strings.Fields("A B C D") {
		if value, ok := e.Lookup(name); ok {
			got[name] = value
		}
	}
	if diff := cmp.Diff(map[string]string{"A": "", "B": "1=2", "C": ""}, got); diff != "" {
		t.Error(diff)
	}
}

// The list of other programs' variables is complete, and has no obsolete name. The tree has
// them and those of the server's flags.
func TestOthersAreKnown(t *testing.T) {
	reads := regexp.MustCompile("(?:[\"'` ({]|^)(NOTED_[A-Z][A-Z_]*)(?:[\"'`=:)} ]|$)")
	found := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		switch base := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != "../.." && (strings.HasPrefix(base, ".") || slices.Contains(
			[]string{"gen", "node_modules", "vendor", "dist", "build", "__pycache__"}, base)):
			return fs.SkipDir
		case slices.Contains(
			[]string{"../../client/cmdline", "../../server/cmd/noted", "../../client/cmd/noted-gateway"}, path):
			return fs.SkipDir // their tests misspell names
		case entry.IsDir() || !slices.Contains(strings.Fields(
			".go .py .php .ts .mjs .sh .md .yaml .env .txtar .service"), filepath.Ext(path)):
			return nil
		}
		content, err := os.ReadFile(path)
		for line := range strings.Lines(string(content)) {
			for _, m := range reads.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
				found[strings.TrimPrefix(m[1], "NOTED_")] = path
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	flags, err := os.ReadFile("../../server/cmd/noted/flags.go")
	if err != nil {
		t.Fatal(err)
	}
	const p = Prefix("NOTED_")
	var own Settings
	for _, m := range regexp.MustCompile(`Name: +"([a-z-]+)"`).FindAllStringSubmatch(string(flags), -1) {
		own = append(own, &cli.StringFlag{Name: m[1]})
	}
	if len(own) < 20 {
		t.Fatalf("flags.go has the flags %v", own)
	}
	for name, path := range found {
		if wrong := p.Unknown(Environ{string(p) + name + "=x"}, own); wrong != nil {
			t.Errorf("%s: %v; if a program reads it, add it to ofOthers", path, wrong)
		}
	}
	for _, name := range ofOthers[p] {
		if found[name] == "" {
			t.Errorf("%s%s is in ofOthers, and no program reads it; remove it", p, name)
		}
	}
}
