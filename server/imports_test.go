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
