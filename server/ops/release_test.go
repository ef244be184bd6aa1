//go:build release

package ops_test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// dist is where make release puts its files.
const dist = "../../dist/"

func one(t *testing.T, pattern string) string {
	t.Helper()
	found := must(filepath.Glob(dist + pattern))
	if len(found) != 1 {
		t.Fatalf("dist has %v for %s, want one file", found, pattern)
	}
	return must(filepath.Abs(found[0]))
}

// TestReleaseIsWhole looks for every artifact, its checksum and its bill of materials.
func TestReleaseIsWhole(t *testing.T) {
	sums := map[string]string{}
	for line := range strings.Lines(read(t, dist+"SHA256SUMS")) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[strings.TrimPrefix(name, "./")] = sum
	}
	for _, pattern := range []string{
		"*_linux_amd64.tar.gz", "*_linux_arm64.tar.gz", "*_darwin_arm64.tar.gz", "*_windows_amd64.zip",
		"*_amd64.deb", "*_arm64.deb", "*.x86_64.rpm", "*.aarch64.rpm",
	} {
		name := filepath.Base(one(t, pattern))
		sum := sha256.Sum256([]byte(read(t, dist+name)))
		if sums[name] != hex.EncodeToString(sum[:]) {
			t.Errorf("the checksum of %s is %q", name, sums[name])
		}
		var bill struct {
			Packages []struct{ Name string }
		}
		if err := json.Unmarshal([]byte(read(t, dist+name+".sbom.json")), &bill); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(fmt.Sprint(bill.Packages), "google.golang.org/grpc") {
			t.Errorf("the bill of materials of %s does not name grpc", name)
		}
	}
	commit := strings.TrimSpace(run(t, "git", "rev-parse", "HEAD"))
	tag := strings.TrimSpace(run(t, "git", "tag", "--points-at", "HEAD", "--list", "v[0-9]*")) // empty: a snapshot
	if tag != "" {
		one(t, "noted_"+tag[1:]+"_linux_amd64.tar.gz")
		one(t, "noted_"+tag[1:]+"_amd64.deb")
		if !strings.Contains(read(t, "../../CHANGELOG.md"), "\n## "+tag[1:]+" (") {
			t.Errorf("CHANGELOG.md does not have the version of the tag %s", tag)
		}
	}
	for _, program := range []string{"noted", "noted-gateway", "noted-desk", "notectl", "noted-replay"} {
		binary, err := elf.Open(one(t, program+"_linux_"+runtime.GOARCH+"*/"+program))
		if err != nil {
			t.Fatal(err)
		}
		if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("%s is not static: %v, %v", program, libraries, err)
		}
		said := run(t, one(t, program+"_linux_"+runtime.GOARCH+"*/"+program), "-version")
		if !strings.Contains(said, ", commit "+commit) {
			t.Errorf("%s -version does not name the commit %s: %s\nGo sees no commit in a worktree of git: "+
				"make the release in a clone", program, commit, said)
		}
		if tag != "" && !strings.HasPrefix(said, program+" "+tag+", ") {
			t.Errorf("%s -version does not name the tag %s: %s\nmake the release of a commit without changes",
				program, tag, said)
		}
	}
}

// TestReleasePackage boots a Debian with systemd and runs testdata/package.sh there,
// which installs the .deb, starts the units with all their restrictions, upgrades with
// settings that the operator changed, and removes it.
func TestReleasePackage(t *testing.T) {
	deb := one(t, "*_"+runtime.GOARCH+".deb")
	root := t.TempDir()
	run(t, tool(t, "debootstrap"), "--variant=minbase",
		"--include=systemd,systemd-sysv,dbus,ca-certificates,redis-server,procps", "bookworm", root)
	run(t, "cp", deb, root+"/noted.deb")
	// A later version of the package.
	later := t.TempDir()
	run(t, "dpkg-deb", "-R", deb, later)
	run(t, "sed", "-i", "s/^Version: .*/&+later/", later+"/DEBIAN/control")
	run(t, "dpkg-deb", "-b", later, root+"/later.deb")
	run(t, "install", "-m", "755", "testdata/package.sh", root+"/package.sh")
	unit := "[Unit]\nAfter=redis-server.service\n[Service]\nType=oneshot\nStandardOutput=file:/out\nStandardError=file:/out\n" +
		"ExecStart=/package.sh\nExecStopPost=/bin/sh -c 'echo $EXIT_STATUS >/status; systemctl --no-block poweroff'\n"
	write(t, root+"/etc/systemd/system/package.service", unit)
	wants := root + "/etc/systemd/system/multi-user.target.wants"
	run(t, "ln", "-s", "../package.service", wants+"/package.service")
	boot := run(t, tool(t, "systemd-nspawn"), "--quiet", "--directory", root, "--boot", "--private-network",
		"--register=no", "--keep-unit")
	if !exists(root + "/status") {
		t.Fatalf("package.sh did not end:\n%s", boot)
	}
	if status := strings.TrimSpace(read(t, root+"/status")); status != "0" {
		t.Fatalf("package.sh: %s\n%s", status, read(t, root+"/out"))
	}

	rpm := one(t, "*."+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]+".rpm")
	files := run(t, tool(t, "rpm"), "-qlp", rpm)
	for path := range strings.FieldsSeq(run(t, "sh", "-c", "dpkg-deb -c "+deb+` | sed -n 's/.* \.\(.*[^/]\)$/\1/p'`)) {
		if !strings.Contains(files, path+"\n") && !strings.Contains(path, "changelog") {
			t.Errorf("the .rpm lacks %s", path)
		}
	}
}

// TestReleaseImages checks the images: one static program, no shell, not root, and the
// program starts.
func TestReleaseImages(t *testing.T) {
	for _, program := range []string{"noted", "noted-gateway"} {
		dir := t.TempDir()
		run(t, "tar", "-xf", one(t, program+"_image_"+runtime.GOARCH+".tar"), "-C", dir)
		blob := func(digest string) string { return dir + "/blobs/" + strings.Replace(digest, ":", "/", 1) }
		var index, manifest struct {
			Manifests []struct{ Digest string }
			Config    struct{ Digest string }
			Layers    []struct{ Digest string }
		}
		var config struct {
			Config struct {
				User       string
				Entrypoint []string
			}
		}
		decode := func(path string, into any) {
			if err := json.Unmarshal([]byte(read(t, path)), into); err != nil {
				t.Fatal(err)
			}
		}
		decode(dir+"/index.json", &index)
		decode(blob(index.Manifests[0].Digest), &manifest)
		decode(blob(manifest.Config.Digest), &config)
		if config.Config.User != "65532:65532" || fmt.Sprint(config.Config.Entrypoint) != "[/"+program+"]" {
			t.Errorf("the image of %s runs %v as %s", program, config.Config.Entrypoint, config.Config.User)
		}
		root := t.TempDir()
		for _, layer := range manifest.Layers {
			run(t, "tar", "-xf", blob(layer.Digest), "-C", root)
		}
		run(t, "chmod", "755", root)
		files := strings.Fields(run(t, "sh", "-c", "cd "+root+" && find . -type f | sort"))
		if want := "[./etc/ssl/certs/ca-certificates.crt ./" + program + "]"; fmt.Sprint(files) != want {
			t.Errorf("the image of %s has %v, want %s", program, files, want)
		}
		help := run(t, "chroot", "--userspec=65532:65532", "--groups=", root, "/"+program, "-help")
		if !regexp.MustCompile(`^` + program).MatchString(help) {
			t.Errorf("%s -help in its image: %s", program, help)
		}
	}
}
