package health

import (
	"context"
	"encoding/json"
	"net/http"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// VersionHeader is the metadata in which the answer to a health check tells what the
// server was built from: its version and its commit. Every client may ask for health.
const VersionHeader = "noted-version"

// service is the health service that also tells the server's version.
type service struct {
	*grpchealth.Server
	header metadata.MD
}

// Service is the health service for gRPC.
func (w *Watch) Service() healthpb.HealthServer {
	version, commit, _ := metrics.Built()
	if commit != "" {
		version += ", commit " + commit
	}
	return service{Server: w.Server, header: metadata.Pairs(VersionHeader, version)}
}

// Check is of healthpb.HealthServer.
func (s service) Check(
	ctx context.Context, request *healthpb.HealthCheckRequest,
) (*healthpb.HealthCheckResponse, error) {
	_ = grpc.SetHeader(ctx, s.header) // fails only after the answer was sent
	return s.Server.Check(ctx, request)
}

// status is what /status of the admin listener tells: all that notectl doctor needs to
// compare servers. It has no secrets, and no ids of donations. notectl has the same
// fields.
type status struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Trial   bool   `json:"trial,omitempty"` // nothing survives a restart

	NotReady string `json:"not_ready,omitempty"` // why, and what to do; empty while the service is ready
	Remark   string `json:"remark,omitempty"`    // a warning from a ready service

	Store  storeStatus `json:"store"`
	Epoch  string      `json:"epoch,omitempty"`  // the store's; empty before the first beat and for a trial
	Lost   string      `json:"lost,omitempty"`   // the loss of notes that is not acknowledged
	Advice []string    `json:"advice,omitempty"` // what the operator should mend

	// Settings must be alike on all servers of a store.
	Settings map[string]string `json:"settings"`
}

// storeStatus is what the store told at the last look. An empty field was not told.
type storeStatus struct {
	Mode        string   `json:"mode"`
	Server      string   `json:"server,omitempty"`
	Policy      string   `json:"eviction_policy,omitempty"`
	Persistence string   `json:"persistence,omitempty"`
	Role        string   `json:"role,omitempty"`
	Replicas    int      `json:"replicas"`
	ClockAhead  float64  `json:"clock_ahead_seconds"`
	Lost        []string `json:"primaries_lost,omitempty"`
}

// tell answers /status.
func (w *Watch) tell(response http.ResponseWriter, _ *http.Request) {
	s := status{Trial: w.Trial, NotReady: w.Ready(), Settings: w.Settings}
	if s.NotReady == "" {
		s.Remark = w.remark()
	}
	s.Version, s.Commit, _ = metrics.Built()
	if lost := w.losses.lost(); !lost.At.IsZero() {
		s.Lost = lost.What
	}
	if w.losses.store != nil {
		s.Epoch = w.losses.store.Epoch()
	}
	w.mu.Lock()
	s.Store, s.Advice = statusOf(w.Mode, w.report), w.given
	w.mu.Unlock()
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(s) // a reader that has gone needs no answer
}

func statusOf(mode string, r store.Report) storeStatus {
	return storeStatus{
		Mode:        mode,
		Server:      r.Server,
		Policy:      r.Policy,
		Persistence: r.Persistence,
		Role:        r.Role,
		Replicas:    r.Replicas,
		ClockAhead:  seconds(r.ClockOffset),
		Lost:        r.Lost,
	}
}
