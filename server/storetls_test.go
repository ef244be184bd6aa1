package server_test

import (
	"crypto/x509"
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

// A secureRedis is a Redis that speaks TLS too, with a certificate.
type secureRedis struct {
	*redistest.Server
	port, dir string
}

func startSecure(t *testing.T, certificate pkitest.Pair) secureRedis {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := secureRedis{port: strconv.Itoa(free.Addr().(*net.TCPAddr).Port), dir: t.TempDir()}
	free.Close()
	cert, key := certificate.Files(t, r.dir)
	r.Server = redistest.Start(t, "--tls-port", r.port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no", "--tls-ca-cert-file", cert)
	return r
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

// A Redis whose certificate has expired, is of an unknown CA or for another host is named as such in log, health and metric; callers are
// told that nothing was noted. With a good one, of a CA that the environment names, the service is ready by itself.
func TestCertificateOfTheStore(t *testing.T) {
	ca, stranger := pkitest.New(t, "CA"), pkitest.New(t, "another CA")
	if os.Getenv(asTrusting) == "" { // the process reads SSL_CERT_FILE once
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		command := exec.Command(self, "-test.run", "^TestCertificateOfTheStore$", "-test.v")
		command.Env = append(os.Environ(), asTrusting+"="+dir, "SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"), "SSL_CERT_DIR="+dir)
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
		s := startGuarded(t, func(c *server.Config) { c.Redis = "rediss://127.0.0.1:" + r.port })
		c := s.as(t, nil, "")
		ready := "http://" + s.AdminAddr() + "/readyz"
		eventually(t, 10*time.Second, "/readyz tells of the certificate: "+says, func() bool {
			got := get(t, ready)
			return strings.HasPrefix(got, "503\n") && strings.Contains(got, says) && strings.Contains(got, "SSL_CERT_FILE")
		})
		if got := s.metric(t, "noted_store_shut_out", `by="certificate"`); got != 1 {
			t.Errorf("%s: noted_store_shut_out = %v, want 1", says, got)
		}
		if got := s.logged(`"level":"ERROR"`, "not fit for use", says, "no TLS connection to Redis"); got != 1 {
			t.Errorf("%s: the log tells of it %d times, want once:\n%s", says, got, s.log)
		}
		if _, err := c.NoteDonation(t.Context(), series("I-1")); toldBy(err) != storeUnavailable || strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: a caller is told %v, want STORE_UNAVAILABLE and no more", says, err)
		}
		r.shows(t, good)
		eventually(t, 20*time.Second, says+": ready once the certificate is good", func() bool { return strings.HasPrefix(get(t, ready), "200\n") })
		if _, err := c.NoteDonation(t.Context(), series("I-1")); err != nil {
			t.Errorf("%s: with a good certificate: %v", says, err)
		}
	}
}

// asTrusting marks a process of this test that was started with a CA of its own, and names its folder.
const asTrusting = "NOTED_TEST_AS_TRUSTING"
