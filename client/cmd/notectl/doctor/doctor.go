// Package doctor examines servers of Noted from outside: their state, whether they can
// note, whether they agree, and the remedies.
//
// # Design
//
// It calls the contract, and each server's admin listener if its address is given. It
// changes nothing. To learn its rights it sends malformed requests: a server without the
// right refuses them for the missing right, any other server as malformed. The doctor
// also reports the facts that it could not see, so that silence never counts as health.
//
// Only the server sees its own store, so the server judges it and the doctor repeats the
// judgement. The doctor adds the differences between servers, which no single server can
// see.
package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/donation-dedupe/noted/client"
)

// Level is the severity of a finding.
type Level string

// The levels, from the mildest.
const (
	Well   Level = "well"
	Unseen Level = "unseen" // the doctor could not check; ToDo says where to look
	Advice Level = "advice" // it works, and should be changed
	Fault  Level = "fault"  // donations are refused, or can be lost or doubled
)

// Finding is one fact about a server, or about several servers together.
type Finding struct {
	Server string `json:"server,omitempty"` // its address; empty for several servers together
	About  string `json:"about"`
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	ToDo   string `json:"to_do,omitempty"`
}

// Server is a server to examine.
type Server struct {
	Address string // host:port
	Admin   string // the URL of its admin listener; empty if unknown
	Dial    func(...grpc.DialOption) (*client.Client, error)
}

// Examination is the task of the doctor.
type Examination struct {
	Servers []Server
	Ledger  string                       // for notes and rights
	Timeout time.Duration                // of each call
	Hint    func(error) string           // the remedy for a failed call; empty if unknown
	Tell    func(Finding)                // gets each finding at once
	Now     func() time.Time             // this machine's clock
	Span    func(d time.Duration) string // writes a long time for a person
}

// Run examines each server, and then compares them.
func (e Examination) Run(ctx context.Context) {
	var told []told
	for _, server := range e.Servers {
		v := &visit{Examination: e, server: server}
		v.overContract(ctx)
		v.overAdmin(ctx)
		told = append(told, v.told)
	}
	e.compare(told)
}

// told is the part of a server's answers that other servers are compared with.
type told struct {
	address string
	version string  // empty if unknown
	report  *report // nil if unknown
}

// visit is the examination of one server.
type visit struct {
	Examination
	server Server
	told   told
}

func (v *visit) tell(about string, level Level, found, toDo string) {
	v.Tell(Finding{Server: v.server.Address, About: about, Level: level, Found: found, ToDo: toDo})
}

func (e Examination) compare(all []told) {
	if len(all) < 2 {
		return
	}
	if versions := differing(all, func(t told) (string, bool) { return t.version, t.version != "" }); versions != "" {
		e.Tell(Finding{
			About: "versions", Level: Advice, Found: "the servers differ: " + versions,
			ToDo: "if no upgrade is under way, upgrade them to one release",
		})
	}
	seen := slices.DeleteFunc(slices.Clone(all), func(t told) bool { return t.report == nil })
	if len(seen) < len(all) {
		e.Tell(Finding{
			About: "settings", Level: Unseen,
			Found: fmt.Sprintf("%d of %d servers show their settings and their store", len(seen), len(all)),
			ToDo:  "give the URL of each server's -admin-listen to -admin, in the order of -addr",
		})
	}
	if len(seen) < 2 {
		return
	}
	if slices.ContainsFunc(seen, func(t told) bool { return t.report.Trial }) {
		e.Tell(Finding{
			About: "store",
			Level: Fault,
			Found: "a server keeps its notes in its own process (-dev), and does not share them",
			ToDo:  "start each with the same -redis, or a donation is FIRST once on each server",
		})
	}
	epoch := func(t told) (string, bool) { return t.report.Epoch, t.report.Epoch != "" }
	if epochs := differing(seen, epoch); epochs != "" {
		e.Tell(Finding{
			About: "store", Level: Fault, Found: "the servers use stores of different epochs: " + epochs,
			ToDo: "start each with the same -redis, or a donation is FIRST once on each server",
		})
	}
	names := map[string]bool{}
	for _, t := range seen {
		for name := range t.report.Settings {
			names[name] = true
		}
	}
	alike := true
	for _, name := range slices.Sorted(maps.Keys(names)) {
		values := differing(seen, func(t told) (string, bool) {
			value := t.report.Settings[name]
			if long, err := time.ParseDuration(value); err == nil {
				value = e.Span(long)
			}
			return value, true
		})
		if values == "" {
			continue
		}
		alike = false
		e.Tell(Finding{
			About: "settings", Level: Fault, Found: name + " differs: " + values,
			ToDo: "set it to the same value on all servers of a store, or the same message gets different answers",
		})
	}
	if alike {
		e.Tell(Finding{
			About: "settings", Level: Well,
			Found: fmt.Sprintf("%d servers have the same settings", len(seen)),
		})
	}
}

// differing lists the value of each server if the values differ; otherwise it is empty.
// It leaves out servers whose value is unknown.
func differing(all []told, of func(told) (value string, known bool)) string {
	var each []string
	values := map[string]bool{}
	for _, t := range all {
		value, known := of(t)
		if !known {
			continue
		}
		values[value] = true
		if value == "" {
			value = "nothing"
		}
		each = append(each, t.address+" has "+value)
	}
	if len(values) < 2 {
		return ""
	}
	return strings.Join(each, ", ")
}
