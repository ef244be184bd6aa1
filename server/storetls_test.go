package server_test

import (
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server"
	"github.com/donation-dedupe/noted/server/internal/pkitest"
	"github.com/donation-dedupe/noted/server/internal/redistest"
)

// A secureRedis is a Redis that speaks TLS besides plaintext, with a certificate.
type secureRedis struct {
	*redistest.Server
	port, dir string
}

func startSecure(t *testing.T, certificate pkitest.Pair, args ...string) secureRedis {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := secureRedis{port: strconv.Itoa(free.Addr().(*net.TCPAddr).Port), dir: t.TempDir()}
	free.Close()
	cert, key := certificate.Files(t, r.dir)
	r.Server = redistest.Start(t, append(tlsArgs(r.port, cert, key), args...)...)
	return r
}

// tlsArgs let a Redis speak TLS on a port, with a certificate and its key.
func tlsArgs(port, cert, key string) []string {
	return []string{
		"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-auth-clients", "no", "--tls-ca-cert-file", cert,
	}
}

// shows lets Redis show another certificate from the next connection on.
func (r secureRedis) shows(t *testing.T, certificate pkitest.Pair) {
	t.Helper()
	cert, key := certificate.Files(t, r.dir)
	if reply := r.Do("CONFIG SET tls-cert-file " + cert + " tls-key-file " + key); reply != "OK" {
		t.Fatalf("a new certificate: %s", reply)
	}
	r.Do("CLIENT KILL TYPE normal")
}

// Log, health and metric tell of a Redis whose certificate has expired, comes from an
// unknown CA or is for another host. Callers are told that nothing was noted. With a good
// certificate, of a CA that the environment names, the service is ready by itself.
func TestCertificateOfTheStore(t *testing.T) {
	ca, stranger := pkitest.New(t, "CA"), pkitest.New(t, "another CA")
	if os.Getenv(asTrusting) == "" { // the process reads SSL_CERT_FILE once
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		command := exec.Command(self, "-test.run", "^TestCertificateOfTheStore$", "-test.v")
		command.Env = append(
			os.Environ(),
			asTrusting+"="+dir,
			"SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"),
			"SSL_CERT_DIR="+dir,
		)
		out, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestCertificateOfTheStore") {
			t.Fatalf("in a process that trusts a CA of its own: %v\n%s", err, out)
		}
		return
	}
	pkitest.Write(t, os.Getenv("SSL_CERT_FILE"), ca.PEM())

	good := ca.Issue(nil)
	bad := map[string]pkitest.Pair{
		"certificate has expired": ca.Issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"unknown authority":       stranger.Issue(nil),
		"cannot validate":         ca.Issue(func(c *x509.Certificate) { c.IPAddresses = nil }),
	}
	r := startSecure(t, good)
	for says, certificate := range bad {
		r.shows(t, certificate)
		s := startConfigured(t, func(c *server.Config) { c.Redis = "rediss://127.0.0.1:" + r.port })
		c := s.as(t, nil, "")
		ready := "http://" + s.AdminAddr() + "/readyz"
		eventually(t, 10*time.Second, "/readyz tells of the certificate: "+says, func() bool {
			got := get(t, ready)
			return strings.HasPrefix(got, "503\n") && strings.Contains(got, says) &&
				strings.Contains(got, "-redis-ca") &&
				strings.Contains(got, "SSL_CERT_FILE")
		})
		if got := s.metric(t, "noted_store_shut_out", `by="certificate"`); got != 1 {
			t.Errorf("%s: noted_store_shut_out = %v, want 1", says, got)
		}
		if got := s.logged(`"level":"ERROR"`, "not fit for use", says, "no TLS connection to Redis"); got != 1 {
			t.Errorf("%s: the log tells of it %d times, want once:\n%s", says, got, s.log)
		}
		if _, err := c.NoteDonation(
			t.Context(),
			series("I-1"),
		); toldBy(err) != storeUnavailable ||
			strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: a caller is told %v, want STORE_UNAVAILABLE and no more", says, err)
		}
		r.shows(t, good)
		eventually(
			t,
			20*time.Second,
			says+": ready once the certificate is good",
			func() bool { return strings.HasPrefix(get(t, ready), "200\n") },
		)
		if _, err := c.NoteDonation(t.Context(), series("I-1")); err != nil {
			t.Errorf("%s: with a good certificate: %v", says, err)
		}
	}
}

// asTrusting marks a process of this test that was started with a CA of its own, and
// names its folder.
const asTrusting = "NOTED_TEST_AS_TRUSTING"

// Log, health and metric tell of a Redis to which no TLS connection can be made, for each
// cause with its remedy. Callers are told that nothing was noted.
func TestNoTLSWithTheStore(t *testing.T) {
	ca, stranger, dir := pkitest.New(t, "CA"), pkitest.New(t, "another CA"), t.TempDir()
	caFile := pkitest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	own := func(p pkitest.Pair) (cert, key string) { return p.Files(t, t.TempDir()) }
	r := startSecure(t, ca.Issue(nil), "--tls-ca-cert-file", caFile)
	for name, c := range map[string]struct {
		change func(*server.Config)
		wants  string // tls-auth-clients: yes or no
		says   []string
	}{
		"redis:// to a TLS port": {
			func(c *server.Config) { c.Redis = "redis://127.0.0.1:" + r.port }, "no",
			[]string{"speaks TLS", "write rediss://", "-redis-ca"},
		},
		"redis:// with a password to a TLS port": {
			func(c *server.Config) { c.Redis = "redis://:p@127.0.0.1:" + r.port }, "no",
			[]string{"speaks TLS", "write rediss://", "-redis-ca"},
		},
		"rediss:// to a plaintext port": {
			func(c *server.Config) { c.Redis, c.RedisCA = "rediss://"+r.Addr(), caFile }, "no",
			[]string{"speaks plaintext", "tls-port", "write redis://"},
		},
		"a certificate is wanted": {
			func(c *server.Config) { c.RedisCA = caFile }, "yes",
			[]string{"wants a certificate of Noted", "-redis-cert and -redis-key"},
		},
		"a certificate of another CA is shown": {
			func(c *server.Config) { c.RedisCA = caFile; c.RedisCert, c.RedisKey = own(stranger.Issue(nil)) }, "yes",
			[]string{"does not accept the certificate of -redis-cert", "of a CA that Redis trusts"},
		},
		"a certificate for servers is shown": {func(c *server.Config) {
			c.RedisCA = caFile
			c.RedisCert, c.RedisKey = own(ca.Issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
		}, "yes", []string{"does not accept the certificate of -redis-cert", "for clients"}},
		"Redis's is of another CA": {
			func(c *server.Config) {
				c.RedisCA = pkitest.Write(t, filepath.Join(dir, "other.pem"), stranger.PEM())
			}, "no",
			[]string{"look at its certificate", "unknown authority", "-redis-ca"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, protocols := range []string{"TLSv1.2", "TLSv1.3"} {
				if reply := r.Tell(
					"CONFIG",
					"SET",
					"tls-auth-clients",
					c.wants,
					"tls-protocols",
					protocols,
				); reply != "OK" {
					t.Fatalf("setting up: %q", reply)
				}
				s := startConfigured(t, func(config *server.Config) {
					config.Redis = "rediss://127.0.0.1:" + r.port
					c.change(config)
				})
				client := s.as(t, nil, "")
				eventually(t, 10*time.Second, protocols+": /readyz says what to do", func() bool {
					got := get(t, "http://"+s.AdminAddr()+"/readyz")
					return strings.HasPrefix(got, "503\n") && holds(got, c.says...)
				})
				if got := s.metric(t, "noted_store_shut_out", `by="certificate"`); got != 1 {
					t.Errorf("%s: noted_store_shut_out = %v, want 1", protocols, got)
				}
				if s.logged(append([]string{`"level":"ERROR"`, "not fit for use"}, c.says...)...) != 1 {
					t.Errorf("%s: the log does not tell of it once:\n%s", protocols, s.log)
				}
				if _, err := client.NoteDonation(t.Context(), series("I-1")); toldBy(err) != storeUnavailable {
					t.Errorf("%s: a caller is told %v, want STORE_UNAVAILABLE", protocols, err)
				}
				s.stop()
			}
		})
	}
}

// Log and health warn of a certificate that is not checked, for as long as that is so.
func TestUncheckedCertificate(t *testing.T) {
	r := startSecure(t, pkitest.New(t, "CA").Issue(nil))
	s := startConfigured(t, func(c *server.Config) { c.Redis = "rediss://127.0.0.1:" + r.port + "?skip_verify=true" })
	for _, path := range []string{"/readyz", "/healthz"} {
		if got := get(
			t,
			"http://"+s.AdminAddr()+path,
		); !strings.HasPrefix(got, "200\n") ||
			!holds(got, "certificate of the store is not checked", "skip_verify") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if s.logged(
		`"level":"WARN"`,
		"certificate of the store is not checked",
		"leave skip_verify out",
		"-redis-ca",
	) != 1 {
		t.Errorf("the log does not warn of it once:\n%s", s.log)
	}
}

// Impossible settings of TLS to Redis are refused at the start, with the remedy.
func TestTLSSettingsOfTheStore(t *testing.T) {
	ca, dir := pkitest.New(t, "CA"), t.TempDir()
	caFile := pkitest.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	cert, key := ca.Issue(nil).Files(t, dir)
	expired, expiredKey := ca.Issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).
		Files(t, t.TempDir())
	for says, config := range map[string]server.Config{
		"-redis-cert and -redis-key belong together": {Redis: "rediss://127.0.0.1:1", RedisCert: cert},
		"has expired":                            {Redis: "rediss://127.0.0.1:1", RedisCert: expired, RedisKey: expiredKey},
		"there is no PEM certificate in it":      {Redis: "rediss://127.0.0.1:1", RedisCA: pkitest.Write(t, filepath.Join(dir, "empty.pem"), nil)},
		"no such file":                           {Redis: "rediss://127.0.0.1:1", RedisCA: filepath.Join(dir, "none.pem")},
		"write rediss://, or leave them out":     {Redis: "redis://127.0.0.1:1", RedisCA: caFile},
		"leave it out, or write rediss://":       {Redis: "redis://127.0.0.1:1?skip_verify=true"},
		"leave skip_verify out":                  {Redis: "rediss://127.0.0.1:1?skip_verify=true", RedisCA: caFile},
		"are for TLS, and -redis says redis://:": {Redis: "redis://127.0.0.1:1?addr=127.0.0.1:2&master_name=m", RedisMode: "sentinel", RedisCert: cert, RedisKey: key},
	} {
		config.Listen, config.AdminListen = "127.0.0.1:0", server.Off
		s, err := server.New(t.Context(), config)
		if err == nil {
			stop(t, s)
		}
		if !errors.Is(err, server.ErrConfig) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %v that says %q", err, server.ErrConfig, says)
		}
	}
}

// With a client certificate and a CA of our own, the service works with a standalone
// Redis, behind a sentinel and with a cluster, which all ask for certificates. New files
// count: when Redis trusts another CA and shows another certificate, the service is ready
// again by itself.
func TestCertificateForTheStore(t *testing.T) {
	old, fresh := pkitest.New(t, "CA"), pkitest.New(t, "new CA")
	for _, mode := range []string{"standalone", "sentinel", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			ca := pkitest.Write(t, filepath.Join(dir, "ca.pem"), old.PEM())
			trusted := pkitest.Write(t, filepath.Join(dir, "trusted.pem"), old.PEM()) // Redis's
			cert, key := old.Issue(nil).Files(t, dir)
			args := []string{"--tls-auth-clients", "yes", "--tls-ca-cert-file", trusted}
			if mode == "cluster" {
				args = append(args, "--cluster-enabled", "yes", "--tls-cluster", "yes")
			}
			r := startSecure(t, old.Issue(nil), args...)
			url := "rediss://127.0.0.1:" + r.port
			servers := []secureRedis{r}
			switch mode {
			case "sentinel":
				watching := startSecureSentinel(t, r, old.Issue(nil), trusted)
				servers = append(servers, watching)
				url = "rediss://127.0.0.1:" + watching.port + "?master_name=noted"
			case "cluster":
				if got := r.Tell("CLUSTER", "ADDSLOTSRANGE", 0, 16383); got != "OK" {
					t.Fatalf("making a cluster: %q", got)
				}
			}
			s := startConfigured(t, func(c *server.Config) {
				c.Redis, c.RedisMode, c.RedisCert, c.RedisKey, c.RedisCA = url, mode, cert, key, ca
			})
			c := s.as(t, nil, "")
			noted := func() bool {
				_, err := c.NoteDonation(within(t, 5*time.Second), series("I-1"))
				return err == nil && strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "200\n")
			}
			eventually(t, 20*time.Second, "ready, and a donation is noted", noted)

			pkitest.Write(t, trusted, fresh.PEM())
			for _, each := range servers {
				if mode != "sentinel" || each == r { // a sentinel reads its files when it starts
					each.shows(t, fresh.Issue(nil))
					each.Do("CONFIG SET tls-ca-cert-file " + trusted)
					each.Do("CLIENT KILL TYPE normal")
				}
			}
			if mode == "sentinel" {
				fresh.Issue(nil).Files(t, servers[1].dir)
				servers[1].Restart()
			}
			eventually(
				t,
				20*time.Second,
				"not ready with old certificates",
				func() bool { return strings.HasPrefix(get(t, "http://"+s.AdminAddr()+"/readyz"), "503\n") },
			)
			pkitest.Write(t, ca, fresh.PEM())
			fresh.Issue(nil).Files(t, dir)
			eventually(t, 30*time.Second, "ready with new ones, and a donation is noted", noted)
			if s.logged("a file has changed and is taken up", `"file":"redis_tls"`) == 0 {
				t.Errorf("the log does not tell of new certificates:\n%s", s.log)
			}
		})
	}
}

// startSecureSentinel starts a sentinel that speaks TLS, asks for certificates, and
// watches a Redis over TLS.
func startSecureSentinel(t *testing.T, r secureRedis, certificate pkitest.Pair, ca string) secureRedis {
	t.Helper()
	s := secureRedis{port: strconv.Itoa(redistest.FreePort()), dir: t.TempDir()}
	cert, key := certificate.Files(t, s.dir)
	s.Server = redistest.StartSentinel(
		t,
		redistest.Place{Host: "127.0.0.1"},
		"tls-port "+s.port+"\ntls-cert-file "+cert+"\ntls-key-file "+key+"\ntls-ca-cert-file "+ca+
			"\ntls-auth-clients yes\ntls-replication yes\nsentinel monitor noted 127.0.0.1 "+r.port+" 1\nsentinel "+
			"down-after-milliseconds noted 60000\n",
	)
	return s
}
