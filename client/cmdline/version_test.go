package cmdline

import (
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	machine := ", " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH
	stamps := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.time", Value: "2026-03-02T10:15:00Z"},
	}
	for want, info := range map[string]*debug.BuildInfo{
		"(devel)": nil,
		"v1.2.3, commit 0123abc, 2026-03-02T10:15:00Z": {Main: debug.Module{Version: "v1.2.3"}, Settings: stamps},
		"(devel), commit 0123abc with changes, 2026-03-02T10:15:00Z": {
			Settings: append(stamps, debug.BuildSetting{Key: "vcs.modified", Value: "true"}),
		},
	} {
		if got := version(info); got != want+machine {
			t.Errorf("version is %q, want %q", got, want+machine)
		}
	}
	for _, args := range [][]string{{"noted"}, {"noted", "-dev"}, {"noted", "-listen", "version"}} {
		if Version("noted", args, io.Discard) {
			t.Errorf("Version answered to %v; want false", args)
		}
	}
	for _, args := range [][]string{{"noted", "-version"}, {"noted", "--version"}, {"noted", "version"}} {
		var out strings.Builder
		if !Version("noted", args, &out) || !strings.HasPrefix(out.String(), "noted ") {
			t.Errorf("%v printed %q", args, out.String())
		}
	}
}
