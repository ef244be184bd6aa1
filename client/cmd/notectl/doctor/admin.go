package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// report is the answer of /status on a server's admin listener. The server has the same
// fields.
type report struct {
	Version  string `json:"version"`
	Trial    bool   `json:"trial"`
	NotReady string `json:"not_ready"`
	Remark   string `json:"remark"`
	Store    struct {
		Mode        string   `json:"mode"`
		Server      string   `json:"server"`
		Policy      string   `json:"eviction_policy"`
		Persistence string   `json:"persistence"`
		Role        string   `json:"role"`
		Replicas    int      `json:"replicas"`
		ClockAhead  float64  `json:"clock_ahead_seconds"`
		Lost        []string `json:"primaries_lost"`
	} `json:"store"`
	Epoch    string            `json:"epoch"`
	Lost     string            `json:"lost"`
	Advice   []string          `json:"advice"`
	Settings map[string]string `json:"settings"`
}

// mostStatus limits the size of the answer, because the listener may be another
// program's.
const mostStatus = 1 << 20

// overAdmin asks the admin listener about the store and the settings.
func (v *visit) overAdmin(ctx context.Context) {
	const unseen = "its store (persistence, eviction, replicas, clock, cluster, epoch) and its settings"
	if v.server.Admin == "" {
		v.tell("store", Unseen, unseen, "give the URL of its -admin-listen, such as -admin http://127.0.0.1:9090; "+
			"from another machine through ssh -L 9090:127.0.0.1:9090")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	s, err := ask(ctx, v.server.Admin)
	if err != nil {
		v.tell("store", Unseen, unseen+": "+err.Error(), "is -admin the URL of the server's -admin-listen? its log, "+
			"/readyz and /metrics show the store too")
		return
	}
	v.told.report = s
	if s.Version != "" && v.told.version != "" && !strings.HasPrefix(v.told.version, s.Version) {
		v.tell(
			"store",
			Fault,
			fmt.Sprintf("the server at -admin %s has version %s, and this server has another", v.server.Admin,
				s.Version),
			"name the admin listeners in the order of -addr",
		)
	}
	v.store(s)
}

func ask(ctx context.Context, admin string) (*report, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(admin, "/")+"/status", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%s has no /status, so it is not a server of this release or a later release", admin)
	} else if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", admin, response.Status)
	}
	s := &report{}
	if err := json.NewDecoder(io.LimitReader(response.Body, mostStatus)).Decode(s); err != nil || s.Settings == nil {
		return nil, fmt.Errorf("%s did not answer like a server of Noted", admin)
	}
	return s, nil
}

// store reports the server's own findings about its store.
func (v *visit) store(s *report) {
	if s.Trial {
		v.tell(
			"store",
			Advice,
			"a trial (-dev): its notes are lost with the process",
			"for production start it with -redis",
		)
		return
	}
	if s.NotReady != "" {
		v.tell("store", Fault, "it is not ready: "+s.NotReady, "")
	}
	if s.Lost != "" {
		v.tell("store", Fault, "it has lost notes: "+s.Lost, "see \"When the store has lost notes\" in "+
			"server/README.md; with a backup, noted import brings them back")
	}
	for _, lost := range s.Store.Lost {
		v.tell("cluster", Fault, "a primary cannot be used: "+lost, "bring it back, or let a replica take over")
	}
	if s.Store.Server == "" {
		v.tell("store", Unseen, "its release is unknown: it refuses INFO, or has not answered yet",
			"check its release, eviction and persistence with its provider")
	} else {
		v.tell("store", Well, fmt.Sprintf("%s, %s, %s, %d replicas", s.Store.Server, s.Store.Mode, s.Store.Role,
			s.Store.Replicas), "")
		v.tell("clock", Well, fmt.Sprintf("the store's is %.3f s ahead of the server's", s.Store.ClockAhead), "")
	}
	// The advice below covers other kinds of persistence.
	if s.Store.Persistence == "aof" {
		v.tell("persistence", Well, "an append-only file", "")
	}
	if s.Store.Policy == "noeviction" {
		v.tell("eviction", Well, s.Store.Policy, "")
	}
	switch expected := s.Settings["-epoch"]; {
	case s.Epoch == "":
		v.tell("epoch", Unseen, "the store's epoch is not known yet", "ask again when the store answers")
	case expected == "":
		v.tell("epoch", Advice, s.Epoch, "start with -epoch "+s.Epoch+
			", or a loss of notes while no server runs goes unnoticed")
	default:
		v.tell("epoch", Well, s.Epoch, "")
	}
	for _, advice := range s.Advice {
		fault, toDo, _ := strings.Cut(advice, "; ")
		v.tell("advice", Advice, fault, toDo)
	}
}
