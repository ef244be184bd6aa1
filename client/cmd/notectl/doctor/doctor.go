// Package doctor examines servers of Noted from outside: what they are, whether they can
// note, whether they agree with each other, and what to do about it.
//
// # Design
//
// It asks over the contract, and over each server's admin listener where it is told the
// address. It changes nothing: to learn its rights it sends requests that every server
// refuses as malformed, and sees whether they are refused for want of a right instead. What
// it could not see it says too, so that silence is never taken for health.
//
// The server judges its own store, since only the server sees it. The doctor repeats that
// judgement, and adds what no single server can see: that servers differ.
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

// Level says how bad a finding is.
type Level string

// The levels, from the mildest.
const (
	Well   Level = "well"
	Unseen Level = "unseen" // the doctor could not look; ToDo says where to
	Advice Level = "advice" // it works, and should be mended
	Fault  Level = "fault"  // donations are refused, or can be lost or doubled
)

// Finding is one fact about a server, or about several together.
type Finding struct {
	Server string `json:"server,omitempty"` // its address; empty for several together
	About  string `json:"about"`
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	ToDo   string `json:"to_do,omitempty"`
}

// Server is a server to examine.
type Server struct {
	Address string // host:port
	Admin   string // the URL of its admin listener; empty if it is not known
	Dial    func(...grpc.DialOption) (*client.Client, error)
}

// Examination is what to look at.
type Examination struct {
	Servers []Server
	Ledger  string                       // whose notes and rights are looked at
	Timeout time.Duration                // of each question
	Hint    func(error) string           // what can be done about a failed call; empty if nothing is known
	Tell    func(Finding)                // gets each finding as soon as it is there
	Now     func() time.Time             // this machine's clock
	Span    func(d time.Duration) string // shows a long time to a person
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

// told is what a server has told that others can be compared with.
type told struct {
	address string
	version string  // empty if it is not known
	report  *report // nil if it is not known
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
			ToDo: "if no upgrade is under way, bring them to one release",
		})
	}
	seen := slices.DeleteFunc(slices.Clone(all), func(t told) bool { return t.report == nil })
	if len(seen) < len(all) {
		e.Tell(Finding{
			About: "settings", Level: Unseen,
			Found: fmt.Sprintf("%d of %d servers tell their settings and their store", len(seen), len(all)),
			ToDo:  "give the URL of each server's -admin-listen to -admin, in the order of -addr",
		})
	}
	if len(seen) < 2 {
		return
	}
	if slices.ContainsFunc(seen, func(t told) bool { return t.report.Trial }) {
		e.Tell(Finding{
			About: "store", Level: Fault, Found: "a server keeps its notes in its own process (-dev), and shares them with no other",
			ToDo: "start each with the same -redis, or a donation is FIRST once on each server",
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
			ToDo: "set it alike on all servers of a store, or the same message gets different answers",
		})
	}
	if alike {
		e.Tell(Finding{
			About: "settings", Level: Well,
			Found: fmt.Sprintf("%d servers have the same settings", len(seen)),
		})
	}
}

// differing says what each server has if they do not all have the same; else it is empty.
// It leaves out the servers for which it is not known.
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
