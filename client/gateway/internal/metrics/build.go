package metrics

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// buildInfo says what the program was built from, as the go command has stamped it. The
// server has the same of itself.
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
		Help: "1, with what the program was built from. Two versions side by side are an upgrade that is under way.",
	}, []string{"version", "commit", "go"})
	built.WithLabelValues(version, commit, runtime.Version()).Set(1)
	return built
}
