package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/terminal/terminaltest"
	"github.com/donation-dedupe/noted/server/servertest"
	"github.com/rogpeppe/go-internal/testscript"
)

// The sessions in testdata/secure have a server with TLS and a callers file. One caller in
// it has a certificate. "callers LINE" adds a line to the file, "puts FILE TEXT" writes a
// file, and "eventually COMMAND" repeats a command until the server has read the file.
func TestSecure(t *testing.T) {
	files := t.TempDir()
	at := func(name string) string { return filepath.Join(files, name) }
	issue(
		t,
		at("ca.pem"),
		at("server-key.pem"),
		func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} },
	)
	issue(
		t,
		at("caller.pem"),
		at("caller-key.pem"),
		func(c *x509.Certificate) { c.DNSNames = []string{"caller.example.org"} },
	)
	issue(t, at("stranger.pem"), at("stranger-key.pem"), nil)
	first := `"by-certificate": {"certificate": "caller.example.org", "ledgers": ["*"], "verbs": ["read"]}`
	writeFile(t, at("callers.json"), "{"+first+"}")
	server := servertest.Start(
		t,
		servertest.Options{
			TLSCert:     at("ca.pem"),
			TLSKey:      at("server-key.pem"),
			TLSClientCA: at("caller.pem"),
			Callers:     at("callers.json"),
		},
	)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/secure",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"ca.pem", "caller.pem", "caller-key.pem", "stranger.pem"} {
				text, err := os.ReadFile(at(name))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), text, 0o600); err != nil {
					return err
				}
			}
			env.Setenv("NOTED_ADDR", server.Addr())
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": terminaltest.Exits,
			"keep":  keep,
			"callers": func(ts *testscript.TestScript, _ bool, args []string) {
				writeFile(t, at("callers.json"), "{"+first+",\n"+args[0]+"}")
			},
			"puts": func(ts *testscript.TestScript, _ bool, args []string) {
				writeFile(t, ts.MkAbs(args[0]), args[1]+"\n")
			},
			"eventually": func(ts *testscript.TestScript, _ bool, args []string) {
				for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
					err := ts.Exec(args[0], args[1:]...)
					if err == nil {
						return
					}
					if time.Now().After(deadline) {
						ts.Fatalf("%v still fails: %v", args, err)
					}
				}
			},
		},
	})
}

// issue writes a self-signed certificate and its key.
func issue(t *testing.T, cert, key string, more func(*x509.Certificate)) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(
			time.Now().UnixNano(),
		),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if more != nil {
		more(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
