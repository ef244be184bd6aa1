package gateway_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/gateway"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/processtest"
	"github.com/donation-dedupe/noted/server/servertest"
)

// A PHP listener that asks PayPal itself gets each donation once, although PayPal tells of
// it twice on both channels and the listener is killed meanwhile.
func TestListenerInPHP(t *testing.T) {
	php, err := exec.LookPath("php")
	if err != nil {
		t.Fatal("php is not installed; .ci/need php installs it")
	}
	addr, script := processtest.FreeAddress(), must(filepath.Abs("testdata/listener.php"))
	var l *processtest.Process
	h, now := inboxHarness(t, func(c *gateway.Config, _ *servertest.Options) {
		l = processtest.New(t, addr, []string{"VERIFY_URL=" + c.IPNVerifyURL}, php, "-S", addr, script)
		c.ForwardAs, c.ForwardTo, c.ForwardSecrets = gateway.ForwardOriginal, "", nil
		c.ForwardIPNTo, c.ForwardWebhookTo = "http://"+addr+"/?listener=ipn", gateway.NoListener
	})
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	box := h.box()
	for _, series := range []string{"I-PHP1", "I-PHP2"} {
		if series == "I-PHP2" {
			l.End(syscall.SIGKILL)
		}
		gift := payment(series)
		for range 2 {
			h.mustTake(h.payPal.IPN(gift.fields()))
			h.mustTake(h.payPal.Webhook(gift.event()))
		}
		if series == "I-PHP2" {
			if err := l.Start(); err != nil {
				t.Fatal(err)
			}
			now.pass(time.Hour)
		}
		drained(t, box)
	}
	inState(t, box, inbox.Done, 4)
	donations := filepath.Join(filepath.Dir(l.Log), "donations")
	if got := string(must(os.ReadFile(donations))); got != "I-PHP1T\nI-PHP2T\n" {
		t.Errorf("the listener kept %q, want each transaction once\n%s", got, l.Said())
	}
}
