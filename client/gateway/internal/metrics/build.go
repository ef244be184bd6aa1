package metrics

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// buildInfo is the build of the program, as stamped by the go command. The server has the
// same metric.
func buildInfo() prometheus.Collector {
	version, commit := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = cmp.Or(info.Main.Version, version)
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				commit = setting.Value
			}
		}
	}
	built := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "noted_gateway_build_info",
		Help: "1, with the build of the program. Two versions side by side mean an upgrade under way.",
	}, []string{"version", "commit", "go"})
	built.WithLabelValues(version, commit, runtime.Version()).Set(1)
	return built
}
