package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// keyPair writes a certificate of an authority, and its key.
func keyPair(t *testing.T, a *paypaltest.Authority, name string) (cert, key string) {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.MarshalPKCS8PrivateKey(private))
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, content := range map[string][]byte{
		cert: paypaltest.PEM(a.Issue(name, private.Public(), -time.Hour, time.Hour)),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// noted-gateway check prints each part, and exits 1 if a part is in trouble. To a Noted
// that requires certificates it presents that of -noted-cert.
func TestCheckOverMutualTLS(t *testing.T) {
	p, authority := paypaltest.New(t), paypaltest.NewAuthority()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	serverCert, serverKey := keyPair(t, authority, "127.0.0.1")
	cert, key := keyPair(t, authority, "gateway.example.org")
	strangeCert, strangeKey := keyPair(t, paypaltest.NewAuthority(), "gateway.example.org")
	store, addr := processtest.Redis(t), processtest.FreeAddress()
	noted := processtest.New(t, addr, nil, processtest.Built(t, "noted"), "-listen", addr, "-admin-listen", "off",
		"-redis", "redis://"+store.Addr, "-tls-cert", serverCert, "-tls-key", serverKey, "-tls-client-ca", ca)
	if err := noted.Start(); err != nil {
		t.Fatal(err)
	}
	run := func(more ...string) (code int, printed string) {
		t.Helper()
		args := append([]string{
			"check", "-noted", addr, "-noted-ca", ca, "-ledger", "paypal-live",
			"-accounts", paypaltest.Account, "-ipn-verify-url", p.Verifier.URL,
			"-forward-to", "redis://" + store.Addr + "/0?stream=donations",
		}, more...)
		command := exec.Command(processtest.Built(t, "noted-gateway"), args...)
		output, _ := command.CombinedOutput()
		return command.ProcessState.ExitCode(), string(output)
	}
	code, printed := run("-noted-cert", cert, "-noted-key", key)
	if strings.Contains(printed, "webhook") {
		t.Errorf("a gateway without webhooks says\n%s", printed)
	}
	for _, part := range []string{"Noted", `ledger "paypal-live"`, "downstream", "PayPal, for IPNs", "clock"} {
		line := part + " "
		if at := strings.Index(printed, line); at < 0 || !strings.HasPrefix(strings.TrimLeft(printed[at+len(part):], " "), "ok\n") {
			t.Errorf("%s is not ok", part)
		}
	}
	if code != 0 || t.Failed() {
		t.Fatalf("exit %d, noted says %s\n%s", code, noted.Said(), printed)
	}
	for name, args := range map[string][]string{
		"no certificate":      nil,
		"another authority's": {"-noted-cert", strangeCert, "-noted-key", strangeKey},
	} {
		if code, printed := run(args...); code != 1 || !strings.Contains(printed, "Noted cannot be reached") ||
			!strings.Contains(printed, "a part is in trouble") {
			t.Errorf("%s: exit %d\n%s", name, code, printed)
		}
	}
	for name, args := range map[string][]string{
		"a key without certificate": {"-noted-key", key},
		"another's key":             {"-noted-cert", cert, "-noted-key", strangeKey},
		"plaintext":                 {"-noted-cert", cert, "-noted-key", key, "-noted-plaintext"},
	} {
		if code, printed := run(args...); code != 2 || !strings.Contains(printed, "-noted-") {
			t.Errorf("%s: exit %d\n%s", name, code, printed)
		}
	}
}
