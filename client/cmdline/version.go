package cmdline

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// Version prints the version of a program if its first argument is -version. The go
// command stores the parts in the program: the version from the tag, the commit and its
// time. A build without a repository, or with -buildvcs=false, has fewer parts.
func Version(name string, args []string, stdout io.Writer) (asked bool) {
	if len(args) < 2 || !slices.Contains([]string{"-version", "--version", "version"}, args[1]) {
		return false
	}
	info, _ := debug.ReadBuildInfo()
	fmt.Fprintln(stdout, name, version(info))
	return true
}

func version(info *debug.BuildInfo) string {
	if info == nil {
		info = &debug.BuildInfo{}
	}
	stamps := map[string]string{}
	for _, setting := range info.Settings {
		stamps[setting.Key] = setting.Value
	}
	said := []string{cmp.Or(info.Main.Version, "(devel)")}
	if commit := stamps["vcs.revision"]; commit != "" {
		if stamps["vcs.modified"] == "true" {
			commit += " with changes"
		}
		said = append(said, "commit "+commit, stamps["vcs.time"])
	}
	return strings.Join(append(said, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH), ", ")
}
