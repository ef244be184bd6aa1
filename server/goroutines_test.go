package server_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ownGoroutines are all places where the service starts a goroutine, and why no request
// can make a panic there that ends the process. gRPC and net/http run the handlers, whose
// panics the interceptors recover.
var ownGoroutines = map[string]string{
	"server.go Server.Serve: go ×3": "accept; what comes on a connection is the " +
		"transport's, and the interceptors recover the panics of handlers",
	"server.go Server.Serve: Go ×3": "the watch and the reloader: of the store's report " +
		"and the operator's files, nothing of callers; the census, whose walks are run by metrics.Recovered",
	"server.go Server.stop: Go":                                "waits for the door's calls",
	"server.go Server.stop: AfterFunc":                         "cuts off",
	"internal/calls/interceptors.go Service.endWithDrain: go":  "waits for three channels",
	"internal/calls/stream.go Service.NoteDonations: go ×2":    "run by metrics.Recovered",
	"internal/limits/connections.go limited.Accept: AfterFunc": "closes a connection",
	"internal/metrics/floods.go Floods.take: AfterFunc":        "writes a number",
	"cmd/noted/main.go main: AfterFunc":                        "lets go of signals",
	"cmd/noted/main.go run: go":                                "the reloader, at SIGHUP",
	"internal/store/wire/batch.go batcher.do: go":              "carried to the callers by drain",
	"internal/store/wire/batch.go batcher.pass: go":            "carried to the callers by drain",
	"internal/store/wire/check.go Client.Check: Go":            "looks at each primary; nothing in it is a caller's",
	"internal/store/wire/slots.go Client.sendToPrimaries: Go":  "carried to the caller",
	"internal/embedded/embedded.go start: Go":                  "the clock of a trial's store",
	"cmd/noted-replay/archive.go archive.copy: go":             "copies bytes; a replay has no callers",
	"cmd/noted-replay/run.go replay.run: Go":                   "asks; a replay has no callers",
	"cmd/noted-replay/trial.go startTrial: go":                 "Serve; a replay has no callers",
}

// A panic without a recover ends the process. Check a goroutine before you add it to the
// table.
func TestOwnGoroutines(t *testing.T) {
	found := map[string]int{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(
				[]string{"testdata", "servertest", "redistest", "pkitest", "soak"},
				entry.Name(),
			) { // tests and their helpers
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			in := ""
			if f, ok := declaration.(*ast.FuncDecl); ok {
				in = f.Name.Name
				if f.Recv != nil {
					in = receiver(f.Recv.List[0].Type) + "." + in
				}
			}
			ast.Inspect(declaration, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					found[path+" "+in+": go"]++
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "Go" || f.Sel.Name == "AfterFunc") {
						found[path+" "+in+": "+f.Sel.Name]++
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for place, n := range found {
		if n > 1 {
			place += fmt.Sprint(" ×", n)
		}
		got = append(got, filepath.ToSlash(place))
	}
	for place := range ownGoroutines {
		want = append(want, place)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf(
			"goroutines of our own (-looked at +there); recover in a new one, or say why it cannot panic for what a "+
				"caller sends:\n%s",
			diff,
		)
	}
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
