package metrics

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// Built returns the version, the commit and the Go release that the program was built
// from, as the go command has stamped them. A test binary and a build without a
// repository have no commit.
func Built() (version, commit, goVersion string) {
	version = "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = cmp.Or(info.Main.Version, version)
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				commit = setting.Value
			}
		}
	}
	return version, commit, runtime.Version()
}
