// Package inboxtest starts a PostgreSQL for tests of the inbox.
package inboxtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// A Postgres is a server of the distribution's PostgreSQL, in the test's own folder. The
// test may stop it and start it again.
type Postgres struct {
	tb     testing.TB
	port   string
	dir    string // for the data, the socket and the log
	bin    string
	attrs  *syscall.SysProcAttr
	server *exec.Cmd

	settings []string // arguments of the server's
}

// StartPostgres starts a server that ends with the test.
func StartPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	dir, err := os.MkdirTemp("", "noted-postgres-") // TB.TempDir is closed to other users
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return start(tb, dir, nil)
}

// StartPostgresOn starts a server on a small disk, in an empty folder. It takes 45 MB there
// before its first row.
func StartPostgresOn(tb testing.TB, dir string) *Postgres {
	tb.Helper()
	return start(tb, dir, []string{"-c", "min_wal_size=2MB", "-c", "max_wal_size=8MB"}, "--wal-segsize=1")
}

func start(tb testing.TB, dir string, settings []string, initial ...string) *Postgres {
	tb.Helper()
	p := &Postgres{tb: tb, dir: dir, settings: settings, attrs: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		tb.Fatal("initdb is not installed; .ci/need postgresql installs it")
	}
	p.bin = filepath.Dir(found[len(found)-1])
	if os.Getuid() == 0 {
		p.leaveRoot()
	}
	initdb := exec.Command(filepath.Join(p.bin, "initdb"), append([]string{
		"-D", filepath.Join(p.dir, "data"), "-U", "noted", "--auth=trust", "--no-sync", "--no-locale", "-E", "UTF8",
	}, initial...)...)
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: p.attrs.Credential}, p.dir
	if output, err := initdb.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, output)
	}
	p.port = processtest.Port(processtest.FreeAddress())
	if err := p.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Stop)
	return p
}

// leaveRoot runs the server as another user: PostgreSQL refuses to run as root.
func (p *Postgres) leaveRoot() {
	nobody, err := user.Lookup("nobody")
	if err != nil {
		p.tb.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	p.attrs.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(p.dir, uid, gid); err != nil {
		p.tb.Fatal(err)
	}
}

// URL names the database.
func (p *Postgres) URL() string {
	return "postgres://noted@127.0.0.1:" + p.port + "/postgres?sslmode=disable"
}

// Start starts the server and waits until it answers.
func (p *Postgres) Start() error {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.server = exec.Command(filepath.Join(p.bin, "postgres"), append([]string{
		"-D", filepath.Join(p.dir, "data"), "-p", p.port, "-h", "127.0.0.1", "-k", p.dir,
	}, p.settings...)...)
	p.server.SysProcAttr, p.server.Dir, p.server.Stdout, p.server.Stderr = p.attrs, p.dir, log, log
	if err := p.server.Start(); err != nil {
		return err
	}
	ready := func() bool {
		command := exec.Command(filepath.Join(p.bin, "pg_isready"), "-h", "127.0.0.1", "-p", p.port, "-U", "noted")
		return command.Run() == nil
	}
	for deadline := time.Now().Add(60 * time.Second); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			return errors.Join(fmt.Errorf("postgres does not answer:\n%s", text), p.server.Process.Kill())
		}
	}
	return nil
}

// Dump writes a backup of the database into a file, while the server runs.
func (p *Postgres) Dump(file string) error {
	return p.run("pg_dump", "--format=custom", "--file="+file, p.URL())
}

// Restore brings the database back to what a backup holds.
func (p *Postgres) Restore(file string) error {
	return p.run("pg_restore", "--clean", "--single-transaction", "--exit-on-error", "--dbname="+p.URL(), file)
}

func (p *Postgres) run(program string, args ...string) error {
	if output, err := exec.Command(filepath.Join(p.bin, program), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, output)
	}
	return nil
}

// Stop breaks off every connection and transaction, as a power failure does, and waits
// until the server has ended.
func (p *Postgres) Stop() {
	if p.server == nil {
		return
	}
	_ = p.server.Process.Signal(syscall.SIGQUIT) // it may have ended
	_ = p.server.Wait()
	p.server = nil
}
