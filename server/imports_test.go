package server_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/donation-dedupe/noted/"

// rooms is the house's table of who may import what of ours, and which of the big libraries. It looks at what a package brings into a
// program, through whatever it imports; its tests may import more.
var rooms = []struct {
	path    string
	ours    []string // besides itself
	without []string // libraries that it must not bring along
}{
	{"server/internal/store", nil, []string{"google.golang.org/grpc", "google.golang.org/protobuf", "github.com/prometheus", "github.com/alicebob"}},
	{"server/internal/embedded", nil, []string{"google.golang.org", "github.com/prometheus", "github.com/redis"}},
	{"server/internal/jsonfile", nil, []string{"google.golang.org", "golang.org/x"}},
	{"server", []string{"gen/go/noted/v1", "gen/go/noted/v1/notedv1connect", "server/internal/store", "server/internal/jsonfile"}, []string{"testing", "github.com/alicebob", "github.com/urfave"}},
	{"server/servertest", []string{"gen/go/noted/v1", "gen/go/noted/v1/notedv1connect", "server", "server/internal/store", "server/internal/jsonfile", "server/internal/embedded"}, []string{"github.com/urfave"}},
	{"server/cmd/noted", []string{"gen/go/noted/v1", "gen/go/noted/v1/notedv1connect", "server", "server/internal/store", "server/internal/jsonfile", "server/internal/embedded"}, []string{"testing"}},
	// client turns what client/paypal found into requests: neither paypal nor the gateway may know the generated code.
	{"client", []string{"gen/go/noted/v1", "client/paypal"}, []string{"github.com/redis", "github.com/prometheus", "testing"}},
	{"client/paypal", nil, []string{"google.golang.org", "golang.org/x", "net/http"}},
	{"client/gateway/inbox", nil, []string{"google.golang.org", "github.com/redis", "github.com/prometheus", "testing"}},
}

func TestImports(t *testing.T) {
	for _, room := range rooms {
		t.Run(room.path, func(t *testing.T) {
			output, err := exec.Command("go", "list", "-deps", "../"+strings.TrimPrefix(room.path, "./")).CombinedOutput()
			if err != nil {
				if strings.Contains(string(output), "directory not found") || strings.Contains(string(output), "no Go files") {
					t.Skip("not built yet")
				}
				t.Fatalf("go list: %v\n%s", err, output)
			}
			for dependency := range strings.FieldsSeq(string(output)) {
				if ours, ok := strings.CutPrefix(dependency, module); ok && ours != room.path && !slices.Contains(room.ours, ours) {
					t.Errorf("%s brings %s along", room.path, ours)
				}
				for _, library := range room.without {
					if dependency == library || strings.HasPrefix(dependency, library+"/") {
						t.Errorf("%s brings %s along", room.path, dependency)
					}
				}
			}
		})
	}
}

// What a package must not import itself, although something beneath it may.
func TestDirectImports(t *testing.T) {
	forbidden := map[string][]string{
		"server":            {"flag"},
		"server/cmd/noted":  {module + "server/internal/store", module + "gen/go/noted/v1"},
		"server/servertest": {module + "server/internal/store"},
		"client/gateway":    {module + "gen/go/noted/v1", module + "server", "google.golang.org/grpc"},
	}
	for path, imports := range forbidden {
		output, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "../"+path).CombinedOutput()
		if err != nil {
			if strings.Contains(string(output), "directory not found") || strings.Contains(string(output), "no Go files") {
				continue // not built yet
			}
			t.Fatalf("go list %s: %v\n%s", path, err, output)
		}
		for imported := range strings.FieldsSeq(string(output)) {
			if slices.Contains(imports, imported) {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
}
