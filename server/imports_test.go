package server_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/donation-dedupe/noted/"

// A room is a package and the packages that it may import. Tests may import more. Lists
// are words separated by spaces, our own packages without the module's name.
type room struct {
	path    string
	brings  string // packages of ours that it may bring into a program, through any other too
	imports string // which of those, or of other modules, it may import itself; "*": any
	without string // packages that it must not bring along, nor any below them
}

// Lists that several rooms share.
const (
	contract = "gen/go/noted/v1 gen/go/noted/v1/notedv1connect"
	notes    = "server/internal/store server/internal/store/epoch server/internal/store/wire"
	// below are the packages that the rooms of the server stand on.
	below = "gen/go/noted/v1 server/internal/agreement server/internal/contract server/internal/descriptors " +
		"server/internal/metrics " + notes
	inside = below + " gen/go/noted/v1/notedv1connect server/internal/access server/internal/calls " +
		"server/internal/door " +
		"server/internal/health server/internal/jsonfile server/internal/limits server/internal/traces"
	service = contract + " server " + inside
	trial   = service + " server/internal/embedded"
	person  = "client client/cmdline client/paypal client/terminal" // what programs for people stand on

	// inGateway are the packages that the gateway's processing stands on.
	inGateway = "client client/gateway/inbox client/gateway/internal/answer client/gateway/internal/downstream " +
		"client/gateway/internal/metrics client/gateway/internal/peer client/gateway/internal/setting " +
		"client/gateway/internal/traces client/gateway/internal/traces/ends client/gateway/internal/verify " +
		"client/paypal gen/go/noted/v1"

	// inDesk lists the packages below the desk.
	inDesk = "client client/closing client/closing/messages client/desk/alive client/desk/reconcile client/desk/shadow client/desk/walk " +
		"client/gateway/inbox client/paypal gen/go/noted/v1"

	useGRPC       = "google.golang.org/grpc google.golang.org/genproto google.golang.org/protobuf"
	useRedis      = "github.com/redis/go-redis"
	useMiniredis  = "github.com/alicebob"
	useMiddleware = "github.com/grpc-ecosystem/go-grpc-middleware"
	usePrometheus = "github.com/prometheus/client_golang"

	// useTraces is what makes spans: the interface, and not the SDK behind it.
	useTraces = "go.opentelemetry.io/otel go.opentelemetry.io/contrib/instrumentation"
	sdk       = "go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters"

	// ofServer are the modules that the server needs, and that no user's program may have
	// to build.
	ofServer = "connectrpc.com github.com/alicebob github.com/grpc-ecosystem github.com/prometheus " +
		"github.com/redis github.com/urfave go.opentelemetry.io"
)

// rooms are all packages of the module. A "*" leaves the choice of other modules to the
// package, except those that its row forbids.
var rooms = []room{
	{"gen/go/noted/v1", "", useGRPC, ""},
	{"gen/go/noted/v1/notedv1connect", "gen/go/noted/v1", "gen/go/noted/v1 connectrpc.com/connect", ""},

	{"server/internal/store/wire", "", useRedis, "google.golang.org github.com/prometheus testing"},
	{
		"server/internal/store/epoch", "server/internal/store/wire", "server/internal/store/wire " + useRedis,
		"google.golang.org github.com/prometheus testing",
	},
	{
		"server/internal/store", "server/internal/store/wire server/internal/store/epoch",
		"server/internal/store/wire server/internal/store/epoch", "google.golang.org github.com/prometheus testing",
	},
	{"server/internal/agreement", notes, "server/internal/store", "google.golang.org github.com/prometheus testing"},
	{"server/internal/model", notes, "server/internal/store", "google.golang.org github.com/prometheus"},
	{"server/internal/paypaltest", notes, "server/internal/store", "google.golang.org github.com/prometheus"},
	{"server/internal/embedded", "", useMiniredis, "google.golang.org github.com/prometheus github.com/redis testing"},
	{"server/internal/jsonfile", "", "", "golang.org/x net testing"},
	// From the store upwards: an arrow between rooms only goes down.
	{"server/internal/descriptors", "", "golang.org/x/sys/unix", "google.golang.org github.com/prometheus net testing"},
	{
		"server/internal/contract", "gen/go/noted/v1 " + notes,
		"gen/go/noted/v1 server/internal/store " + useGRPC, "github.com/prometheus testing",
	},
	{
		"server/internal/metrics", below,
		"gen/go/noted/v1 server/internal/agreement server/internal/contract server/internal/store " +
			useMiddleware + " " + usePrometheus + " " + useGRPC, "testing",
	},
	{
		"server/internal/access",
		below + " server/internal/jsonfile",
		"gen/go/noted/v1 server/internal/contract server/internal/jsonfile server/internal/metrics " +
			"server/internal/store " +
			useMiddleware + " " + usePrometheus + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/limits",
		below,
		"server/internal/contract server/internal/descriptors server/internal/metrics golang.org/x/sys " +
			"golang.org/x/time " +
			usePrometheus + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/health",
		below,
		"gen/go/noted/v1 server/internal/contract server/internal/descriptors server/internal/metrics " +
			"server/internal/store " +
			usePrometheus + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/calls",
		below + " server/internal/access server/internal/health server/internal/jsonfile server/internal/limits",
		"gen/go/noted/v1 server/internal/access server/internal/contract server/internal/health " +
			"server/internal/limits " +
			"server/internal/metrics server/internal/store " + useMiddleware + " " + useGRPC,
		"testing",
	},
	{
		"server/internal/door",
		contract + " " + below + " server/internal/limits",
		contract + " server/internal/contract server/internal/limits server/internal/metrics connectrpc.com/connect " + useGRPC,
		"testing",
	},
	{
		"server/internal/backup", below + " server/internal/access server/internal/jsonfile",
		"server/internal/access server/internal/store", "testing",
	},
	{
		"server/internal/traces", "gen/go/noted/v1 server/internal/contract " + notes,
		"gen/go/noted/v1 server/internal/contract server/internal/store " + useTraces + " " + useGRPC,
		"testing " + sdk,
	},
	{"server/internal/pkitest", "", "testing", ""},
	{
		"server/internal/redistest",
		"",
		useRedis + " golang.org/x/sys testing",
		"google.golang.org github.com/prometheus",
	},
	{
		"server", service, "gen/go/noted/v1 " + inside + " go.opentelemetry.io/otel/trace " + useGRPC,
		useMiniredis + " github.com/urfave testing " + sdk,
	},
	{"server/servertest", trial, "server server/internal/embedded testing " + useGRPC, "github.com/urfave"},
	{"server/ops", "", "", ""},   // tests alone
	{"server/soak", "", "", ""},  // tests alone
	{"server/bench", "", "", ""}, // tests alone
	{
		"server/cmd/noted", trial + " client/cmdline client/telemetry server/internal/backup",
		"* client/cmdline client/telemetry server server/internal/backup server/internal/embedded " +
			"server/internal/jsonfile",
		"testing",
	},
	// A program that holds the service, and reads PayPal's messages as clients do, from a
	// gateway's inbox too.
	{
		"server/cmd/noted-replay", trial + " " + person + " client/gateway/inbox",
		"* client/gateway/inbox server server/internal/embedded " + person,
		"testing",
	},

	// client turns what client/paypal found into requests: neither paypal nor the gateway
	// knows the generated code.
	{
		"client", "gen/go/noted/v1 client/paypal", "gen/go/noted/v1 client/paypal " + useGRPC,
		ofServer + " testing",
	},
	{
		"client/clienttest", "client client/paypal gen/go/noted/v1",
		"client gen/go/noted/v1 testing " + useGRPC,
		ofServer,
	},
	{"client/paypal", "", "", "net/http golang.org/x testing"},
	{
		"client/gateway", inGateway + " client/gateway/internal/process",
		"client client/gateway/inbox client/gateway/internal/answer client/gateway/internal/downstream " +
			"client/gateway/internal/metrics client/gateway/internal/peer client/gateway/internal/process " +
			"client/gateway/internal/setting client/gateway/internal/traces/ends client/gateway/internal/verify " +
			"google.golang.org/grpc/codes google.golang.org/grpc/status go.opentelemetry.io/otel/trace",
		"testing " + sdk,
	},
	{"client/internal/paypaltest", "", "testing", "google.golang.org github.com/redis"},
	{"client/internal/processtest", "", "testing", "google.golang.org github.com/redis"},
	// The rooms of the gateway, from the top down.
	{
		"client/gateway/internal/process", inGateway,
		"client client/gateway/inbox client/gateway/internal/answer client/gateway/internal/downstream " +
			"client/gateway/internal/metrics client/gateway/internal/setting client/gateway/internal/traces " +
			"client/gateway/internal/verify client/paypal google.golang.org/protobuf/types go.opentelemetry.io/otel/trace",
		"testing",
	},
	{
		"client/gateway/internal/verify",
		"client/gateway/internal/answer client/gateway/internal/metrics client/gateway/internal/peer " +
			"client/gateway/internal/setting client/gateway/internal/traces client/paypal",
		"client/gateway/internal/answer client/gateway/internal/metrics client/gateway/internal/peer " +
			"client/gateway/internal/setting",
		"google.golang.org/grpc github.com/redis github.com/jackc modernc.org testing",
	},
	{
		"client/gateway/internal/downstream",
		"client client/gateway/internal/peer client/gateway/internal/setting client/gateway/internal/traces " +
			"client/paypal gen/go/noted/v1",
		"client client/gateway/internal/peer client/gateway/internal/setting client/gateway/internal/traces client/paypal " +
			"github.com/cloudevents github.com/standard-webhooks " + useRedis,
		"github.com/prometheus github.com/jackc modernc.org testing",
	},
	{
		"client/gateway/internal/metrics", "client/gateway/internal/answer client/paypal",
		"client/gateway/internal/answer client/paypal " + usePrometheus,
		"google.golang.org/grpc github.com/redis testing",
	},
	{"client/gateway/internal/answer", "", "", "testing"},
	{"client/gateway/internal/peer", "client/gateway/internal/traces", "client/gateway/internal/traces", "testing"},
	{"client/gateway/internal/traces", "", "go.opentelemetry.io/otel", "google.golang.org/grpc testing " + sdk},
	{"client/gateway/internal/traces/ends", "", useTraces + " google.golang.org/grpc", "testing " + sdk},
	{"client/gateway/internal/setting", "", "", "net testing"},
	{
		"client/gateway/inbox", "", "github.com/jackc/pgx modernc.org/sqlite",
		"google.golang.org github.com/redis github.com/prometheus testing",
	},
	{
		"client/gateway/inbox/inboxtest", "client/internal/processtest", "client/internal/processtest testing", "",
	},
	{
		"client/cmd/noted-gateway",
		"client/closing client/closing/messages client/cmdline client/telemetry client/gateway " +
			"client/gateway/internal/process " + inGateway,
		"client client/closing/messages client/cmdline client/telemetry client/gateway client/gateway/inbox " +
			"github.com/urfave google.golang.org/protobuf " + useRedis,
		"testing",
	},
	// Closing by hand: notectl, which has no inbox, needs the first alone.
	{
		"client/closing", "client client/paypal gen/go/noted/v1", "client google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/closing/messages", "client client/closing client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/closing client/gateway/inbox google.golang.org/protobuf", "testing " + useRedis,
	},
	{
		"client/desk", inDesk,
		"client client/closing client/closing/messages client/desk/alive client/desk/reconcile client/desk/shadow client/desk/walk " +
			"client/gateway/inbox github.com/gorilla/securecookie golang.org/x/crypto/argon2 golang.org/x/time google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/desk/reconcile", "client client/paypal gen/go/noted/v1", "client google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{
		"client/desk/alive", "client client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/gateway/inbox github.com/prometheus/client_model github.com/prometheus/common " +
			"google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{"client/desk/walk", "client client/paypal gen/go/noted/v1", "client google.golang.org/protobuf", "testing " + useRedis},
	{
		"client/desk/alert", "client client/desk/alive client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/desk/alive client/gateway/inbox github.com/standard-webhooks github.com/wneessen/go-mail " +
			"google.golang.org/protobuf",
		"testing " + useRedis,
	},
	{"client/desk/shadow", "client client/paypal gen/go/noted/v1", "client", "testing " + useRedis},
	{
		"client/desk/week", "client client/gateway/inbox client/paypal gen/go/noted/v1",
		"client client/gateway/inbox client/paypal google.golang.org/protobuf", "testing " + useRedis,
	},
	{
		"client/cmd/noted-desk",
		"client/cmdline client/desk client/desk/alert client/desk/week " + inDesk,
		"client client/cmdline client/desk client/desk/alert client/desk/alive client/desk/week client/gateway/inbox " +
			"github.com/urfave golang.org/x/term",
		"testing",
	},
	// Programs of clients and of the server share the reading of settings. Since client
	// must not import server, this package is here, and knows neither.
	{"client/cmdline", "", "github.com/urfave", "google.golang.org github.com/prometheus testing"},
	// The one place that knows how spans leave a program.
	{"client/telemetry", "client/cmdline", "client/cmdline go.opentelemetry.io/otel", "github.com/prometheus testing"},
	{
		"client/terminal", "client client/paypal gen/go/noted/v1",
		"client github.com/jedib0t github.com/schollz golang.org/x/term google.golang.org/protobuf/types",
		"github.com/urfave testing",
	},
	{"client/terminal/terminaltest", "", "github.com/rogpeppe/go-internal", ""},
	{
		"client/cmd/notectl",
		person + " client/closing client/cmd/notectl/completion client/cmd/notectl/doctor client/desk/reconcile " +
			"gen/go/noted/v1",
		"* client/closing client/cmd/notectl/completion client/cmd/notectl/doctor client/desk/reconcile " +
			"gen/go/noted/v1 " + person,
		"testing",
	},
	{"client/cmd/notectl/completion", "", "github.com/urfave", "google.golang.org testing"},
	{
		"client/cmd/notectl/doctor", "client client/paypal gen/go/noted/v1", "client " + useGRPC,
		ofServer + " testing",
	},
	{"client/whole", "", "", ""}, // tests alone
}

// environment is how a program reads its environment.
var environment = regexp.MustCompile(`\bos\.(Getenv|LookupEnv|Environ|ExpandEnv)\b`)

// TestImports checks that each package keeps to its room, and that each room has a
// package. Only mains read flags and the environment.
func TestImports(t *testing.T) {
	touch(t, "..")
	command := exec.Command("go", "list", "-tags", "whole", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./...")
	command.Dir = ".."
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string]bool{}
	for packages := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p struct {
			ImportPath, Dir        string
			GoFiles, Imports, Deps []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		path := strings.TrimPrefix(p.ImportPath, module)
		found[path] = true
		at := slices.IndexFunc(rooms, func(r room) bool { return r.path == path })
		if at < 0 {
			t.Errorf("%s has no row in rooms: add one", path)
			continue
		}
		for _, wrong := range append(rooms[at].wrong(p.Imports, p.Deps), across(path, p.Deps)...) {
			t.Errorf("%s %s", path, wrong)
		}
		if strings.Contains(path, "/cmd/") || strings.HasSuffix(path, "test") {
			continue
		}
		if slices.Contains(p.Imports, "flag") {
			t.Errorf("%s imports flag: only mains read flags", path)
		}
		for _, file := range p.GoFiles {
			content, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if call := environment.Find(content); call != nil {
				t.Errorf("%s/%s calls %s: only mains read the environment", path, file, call)
			}
		}
	}
	for _, r := range rooms {
		if !found[r.path] {
			t.Errorf("there is no package %s: take its row out of rooms", r.path)
		}
	}
}

// touch opens every folder that may hold a package. go test repeats a cached result
// unless something changed that the test itself opened; the go command's reading does not
// count.
func touch(t *testing.T, root string) {
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (name[0] == '.' || name == "node_modules" || name == "testdata") {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wrong tells which imports and dependencies of a package do not suit its room.
func (r room) wrong(imports, deps []string) (wrong []string) {
	imported := strings.Fields(r.imports)
	for _, path := range imports {
		ours, isOurs := strings.CutPrefix(path, module)
		first, _, _ := strings.Cut(path, "/")
		other := strings.Contains(first, ".") || path == "testing" // of another module, or for tests only
		switch {
		case isOurs && !slices.Contains(imported, ours):
			wrong = append(wrong, "imports "+ours)
		case !isOurs && other && !slices.Contains(imported, "*") && !under(path, imported):
			wrong = append(wrong, "imports "+path)
		}
	}
	for _, path := range deps {
		if ours, isOurs := strings.CutPrefix(path, module); isOurs && !slices.Contains(strings.Fields(r.brings), ours) {
			wrong = append(wrong, "brings "+ours+" along")
		} else if under(path, strings.Fields(r.without)) {
			wrong = append(wrong, "brings "+path+" along")
		}
	}
	return wrong
}

// across lists the packages of the other side that a package brings, even if its row
// allows them. A client brings no package of the server; of the server only programs
// bring a package of clients.
func across(path string, deps []string) (wrong []string) {
	other := ""
	switch {
	case under(path, []string{"client"}):
		other = "server"
	case under(path, []string{"server"}) && !under(path, []string{"server/cmd"}):
		other = "client"
	default:
		return nil
	}
	for _, dep := range deps {
		if ours, isOurs := strings.CutPrefix(dep, module); isOurs && under(ours, []string{other}) {
			wrong = append(wrong, "brings "+ours+" along from the other side")
		}
	}
	return wrong
}

// under tells whether a package is in the list, or below a package of the list.
func under(path string, of []string) bool {
	return slices.ContainsFunc(of, func(each string) bool { return path == each || strings.HasPrefix(path, each+"/") })
}

// TestRooms checks that a room lets in only the packages of its row.
func TestRooms(t *testing.T) {
	r := room{"server/internal/store", "client/paypal", "client/paypal " + useRedis, "google.golang.org"}
	for _, c := range []struct {
		imports, deps, want string
	}{
		{"context " + useRedis + "/v9 " + module + "client/paypal", "context " + module + "client/paypal", ""},
		{"github.com/redis/go-redis2", "", "imports github.com/redis/go-redis2"},
		{module + "client", "", "imports client"},
		{"testing", "", "imports testing"},
		{"", module + "server", "brings server along"},
		{"", "google.golang.org/grpc/codes", "brings google.golang.org/grpc/codes along"},
	} {
		if got := strings.Join(r.wrong(strings.Fields(c.imports), strings.Fields(c.deps)), ", "); got != c.want {
			t.Errorf("imports %q, brings %q: %q, want %q", c.imports, c.deps, got, c.want)
		}
	}
}

// TestAcross checks that client and server stay apart, but for the programs of the server.
func TestAcross(t *testing.T) {
	for _, c := range []struct {
		path, deps string
		apart      bool
	}{
		{"client", "client/paypal gen/go/noted/v1", true},
		{"client/cmd/notectl", "client server/internal/store", false},
		{"client/cmd/notectl", "server", false},
		{"server", "server/internal/calls", true},
		{"server/internal/calls", "client", false},
		{"server/servertest", "client/paypal", false},
		{"server/cmd/noted-replay", "client server", true},
		{"gen/go/noted/v1", "", true},
	} {
		var deps []string
		for dep := range strings.FieldsSeq(c.deps) {
			deps = append(deps, module+dep)
		}
		if wrong := across(c.path, deps); (len(wrong) == 0) != c.apart {
			t.Errorf("%s with %s: %q, want apart %v", c.path, c.deps, wrong, c.apart)
		}
	}
}
