package alive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// The limits of a request to a server.
const (
	lookTimeout = 2 * time.Second
	mostAnswer  = 8 << 20 // bytes
)

// An Admin asks the admin listener of a server of Noted (-admin-listen).
type Admin struct {
	base   string // without a final slash
	client *http.Client
}

// NewAdmin makes an Admin from an address such as http://127.0.0.1:9090.
func NewAdmin(address string) (*Admin, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q is not an address such as http://127.0.0.1:9090", address)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Admin{strings.TrimRight(address, "/"), &http.Client{Timeout: lookTimeout, CheckRedirect: stay}}, nil
}

// Name is the address of the server.
func (a *Admin) Name() string { return a.base }

// A View is the state of one server and its store, as the server reports it.
type View struct {
	Server  string // its address
	Problem string // why the server did not answer; all other fields are then empty

	Ready    bool
	NotReady string // the reason, in the server's words

	Lost     bool // the store has lost notes, and the loss is not acknowledged
	LostWhat string
	Epoch    string // for the acknowledgement

	ShutOut     string        // the cause: password, rights …; empty if the server can use the store
	Replicas    int           // -1 if the store does not tell
	ClockOffset time.Duration // how far the store's clock is ahead
	CertEnds    time.Time     // the end of the server's certificate; zero without TLS
	Learned     []Learned
	Verdicts    []VerdictCount // since the server's start
	Started     time.Time
}

// Clock compares the store's clock with the server's, in words.
func (v View) Clock() string {
	switch off := v.ClockOffset.Round(time.Millisecond); {
	case off.Abs() < 100*time.Millisecond:
		return "right"
	case off > 0:
		return off.String() + " ahead"
	default:
		return off.Abs().String() + " behind"
	}
}

// Learned is a server's knowledge about the ids of two channels.
type Learned struct {
	Ledger, Event, Channels string
	Agree                   bool
}

// A VerdictCount counts a server's answers since its start.
type VerdictCount struct {
	Ledger, Channel, Verdict string
	Count                    int
}

// Look asks a server for its state.
func (a *Admin) Look(ctx context.Context) (v View) {
	v = View{Server: a.base, Replicas: -1}
	metrics, err := a.metrics(ctx)
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	status, said, err := a.ask(ctx, http.MethodGet, "/readyz")
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	v.Ready = status == http.StatusOK
	if !v.Ready {
		v.NotReady = strings.TrimPrefix(strings.TrimSpace(said), "not ready: ")
	}
	v.read(metrics)
	if v.Lost {
		if _, said, err = a.ask(ctx, http.MethodGet, "/healthz"); err != nil {
			v.Problem = err.Error()
			return v
		}
		v.LostWhat, v.Epoch = loss(said)
	}
	return v
}

// LookAll asks all servers at once.
func LookAll(ctx context.Context, admins []*Admin) []View {
	views := make([]View, len(admins))
	var all sync.WaitGroup
	for i, admin := range admins {
		all.Go(func() { views[i] = admin.Look(ctx) })
	}
	all.Wait()
	return views
}

// lossPattern matches a loss in a server's health: the time, the loss, and the epoch for
// the acknowledgement.
var lossPattern = regexp.MustCompile(`(?s)\(since (\S+): (.*?); [^;]*POST /acknowledge\?epoch=(\S+) `)

func loss(health string) (what, epoch string) {
	m := lossPattern.FindStringSubmatch(health)
	if m == nil {
		return "", ""
	}
	return m[2] + " (since " + m[1] + ")", m[3]
}

// ErrNotAcknowledged means that a server refused an acknowledgement.
var ErrNotAcknowledged = errors.New("not acknowledged")

// Acknowledge accepts the loss of notes. The epoch is the View's.
func (a *Admin) Acknowledge(ctx context.Context, epoch string) error {
	status, said, err := a.ask(ctx, http.MethodPost, "/acknowledge?"+url.Values{"epoch": {epoch}}.Encode())
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%w: it answered %d: %s", ErrNotAcknowledged, status, strings.TrimSpace(said))
	}
	if err != nil {
		return fmt.Errorf("acknowledging at %s: %w", a.base, err)
	}
	return nil
}

func (a *Admin) ask(ctx context.Context, method, path string) (status int, said string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, string(content), err
}

func (a *Admin) metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf(
			"%s/metrics answered %d: is it the -admin-listen of a Noted?",
			a.base,
			response.StatusCode,
		)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(response.Body, mostAnswer))
	if err != nil || families["noted_store_up"] == nil {
		return nil, fmt.Errorf("%s/metrics has no metrics of a Noted: is it the -admin-listen of a Noted?", a.base)
	}
	return families, nil
}

// read takes the page's facts from the metrics.
func (v *View) read(families map[string]*dto.MetricFamily) {
	value := func(name string) (float64, bool) {
		all := families[name].GetMetric()
		if len(all) == 0 {
			return 0, false
		}
		return number(all[0]), true
	}
	if n, _ := value("noted_store_went_back"); n > 0 {
		v.Lost = true
	}
	if n, ok := value("noted_store_replicas"); ok && !math.IsNaN(n) {
		v.Replicas = int(n)
	}
	if n, ok := value("noted_store_clock_offset_seconds"); ok && !math.IsNaN(n) {
		v.ClockOffset = time.Duration(n * float64(time.Second))
	}
	if n, ok := value("noted_tls_cert_not_after_seconds"); ok && n > 0 {
		v.CertEnds = time.Unix(int64(n), 0)
	}
	if n, ok := value("process_start_time_seconds"); ok {
		v.Started = time.Unix(int64(n), 0)
	}
	for _, m := range families["noted_store_shut_out"].GetMetric() {
		if number(m) > 0 {
			v.ShutOut = label(m, "by")
		}
	}
	for _, m := range families["noted_transaction_ids_agree"].GetMetric() {
		v.Learned = append(v.Learned, Learned{
			label(m, "ledger"), label(m, "event"), label(m, "channels"), number(m) > 0,
		})
	}
	counts := map[VerdictCount]int{} // over events and evidence
	var order []VerdictCount
	for _, m := range families["noted_verdicts_total"].GetMetric() {
		key := VerdictCount{Ledger: label(m, "ledger"), Channel: label(m, "channel"), Verdict: label(m, "verdict")}
		if _, known := counts[key]; !known {
			order = append(order, key)
		}
		counts[key] += int(number(m))
	}
	for _, key := range order {
		n := counts[key]
		key.Count = n
		v.Verdicts = append(v.Verdicts, key)
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func number(m *dto.Metric) float64 {
	switch {
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	}
	return m.GetUntyped().GetValue()
}
