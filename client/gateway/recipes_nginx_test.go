package gateway_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/client/internal/paypaltest"
	"github.com/donation-dedupe/noted/client/internal/processtest"
)

// siteConf is what a site of a test has in its server block: PHP behind a proxy.
const siteConf = "location / { proxy_pass http://%s; proxy_set_header Host www.example.org; }\n"

// The configuration of nginx in RECIPES.md passes PayPal's posts for any program's
// address to the gateway, and all other requests to the site. The gateway reaches the
// site at its second address. Without the one line the posts reach the site as before.
func TestRecipeOfNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx"
	}
	front, inner := processtest.FreeAddress(), processtest.FreeAddress()
	r := recipes["woocommerce"]
	r.through = inner
	s := newSite(t, "woocommerce", r)
	found := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindSubmatch(must(os.ReadFile("RECIPES.md")))
	conf := strings.NewReplacer("listen 80;", "listen "+front+";", "127.0.0.1:8080", inner, "127.0.0.1:8081", s.gate.Addr).
		Replace(string(found[1]))
	serve := func(conf string) *processtest.Process {
		t.Helper()
		dir := t.TempDir()
		whole := "daemon off; pid nginx.pid; error_log stderr; events {} http { access_log off; client_body_temp_path b;\n" +
			"proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n" + conf + "}\n"
		for name, text := range map[string]string{"nginx.conf": whole, "site.conf": fmt.Sprintf(siteConf, s.web.Addr)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p := processtest.New(t, front, nil, nginx, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	post := func(address string, d paypaltest.Delivery) int {
		t.Helper()
		request := must(http.NewRequest(http.MethodPost, "http://"+front+address, bytes.NewReader(d.Body)))
		request.Header = d.Header.Clone()
		request.Host = "www.example.org"
		answer := must(http.DefaultClient.Do(request))
		answer.Body.Close()
		return answer.StatusCode
	}
	server := serve(conf)
	for i, address := range []string{
		"/?wc-api=WC_Gateway_Paypal", "/wc-api/WC_Gateway_Paypal/", "/index.php/wc-api/WC_Gateway_Paypal/",
		"/index.php?give-listener=IPN", "/?a=b&give-listener=IPN&c", "/wp-admin/admin-ajax.php?action=ipnhandler",
		"/civicrm/payment/ipn/12", "/?page=CiviCRM&q=civicrm/payment/ipn/3", "/?page=CiviCRM&q=civicrm%2Fpayment%2Fipn%2F3",
		"/ipn.php",
	} {
		message := s.order(strconv.Itoa(i+1), "Completed")
		if status := post(address, message); status != http.StatusOK {
			t.Errorf("%s: PayPal heard %d, want 200", address, status)
		}
		drained(t, s.box)
		requests := s.requests()
		if len(requests) != i+1 {
			t.Fatalf("%s: the listener got %d messages, want %d\n%s", address, len(requests), i+1, server.Said())
		}
		s.mustHaveBooked(address, r.booked(strconv.Itoa(i+1), ""))
		if got := requests[i]; !bytes.Equal(got.Body, message.Body) || got.Headers["Via"] != "1.1 noted-gateway" ||
			got.Headers["User-Agent"] != message.Header.Get("User-Agent") {
			t.Errorf("%s: the listener got %v, want PayPal's message by the gateway", address, got)
		}
	}
	if status := post("/index.php?give-listener=paypal-commerce", s.payPal.Webhook(payment("I-WEB").event())); status != http.StatusOK {
		t.Errorf("a webhook: PayPal heard %d, want 200", status)
	}
	inState(t, s.box, inbox.Done, 11) // the webhook has no listener here
	before := len(s.requests())
	for _, address := range []string{"/", "/checkout?wc-api=other", "/wp-admin/admin-ajax.php?action=other", "/civicrm/payment/form/3"} {
		post(address, s.order("99", "Completed"))
	}
	must(http.Get("http://" + front + "/?wc-api=WC_Gateway_Paypal")).Body.Close()
	if got := s.requests()[before:]; len(got) != 5 || got[0].Headers["Via"] != "" {
		t.Errorf("of the other requests the site got %v, want all five", got)
	}

	server.End(syscall.SIGTERM)
	without := strings.Replace(conf, "if ($noted) { return 418; }", "", 1)
	if without == conf {
		t.Fatal("RECIPES.md has another line to take out")
	}
	serve(without)
	before = len(s.requests())
	again := s.order("50", "Completed")
	if status := post("/?wc-api=WC_Gateway_Paypal", again); status != http.StatusOK {
		t.Errorf("without the gateway: PayPal heard %d, want 200", status)
	}
	if got := s.requests()[before:]; len(got) != 1 || !bytes.Equal(got[0].Body, again.Body) || got[0].Headers["Via"] != "" {
		t.Errorf("without the gateway the listener got %v, want PayPal's message", got)
	}
}

// RECIPES.md has the same addresses of listeners as the tests, and only flags that the
// gateway has.
func TestRecipesPage(t *testing.T) {
	page := string(must(os.ReadFile("RECIPES.md")))
	for name, r := range recipes {
		address := strings.Replace(strings.TrimPrefix(r.ipn, "/"), "ipn/3", "ipn/ID", 1)
		if !strings.Contains(page, "`"+address+"`") {
			t.Errorf("%s: RECIPES.md does not name the address %s", name, address)
		}
	}
	help := string(must(exec.Command(processtest.Built(t, "noted-gateway"), "-help").Output()))
	commands := regexp.MustCompile("(?m)^noted-gateway( -(?:.*\\\\\n)*.*)").FindAllStringSubmatch(page, -1)
	flags := 0
	for _, command := range commands {
		for _, flag := range regexp.MustCompile(` -[a-z][a-z-]+`).FindAllString(command[1], -1) {
			if flags++; !strings.Contains(help, flag+" ") {
				t.Errorf("RECIPES.md has the flag%s, which noted-gateway does not have", flag)
			}
		}
	}
	if len(commands) != 2 || flags < 14 {
		t.Errorf("RECIPES.md has %d commands with %d flags", len(commands), flags)
	}
	for _, variable := range regexp.MustCompile(`GATEWAY_[A-Z_]+`).FindAllString(page, -1) {
		if !strings.Contains(help, variable+"\n") {
			t.Errorf("RECIPES.md has the variable %s, which noted-gateway does not read", variable)
		}
	}
}
