package alert_test

import (
	"bytes"
	"errors"
	"io"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/donation-dedupe/noted/client/desk/alert"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// A mailServer is a mail server.
type mailServer struct {
	t      *testing.T
	addr   string
	server *smtp.Server
	close  func()

	mu    sync.Mutex
	mails []post
	users []string // the users that logged in
	clear int      // passwords and mails that came without TLS
	login bool     // it knows LOGIN alone, as some large providers do
}

type post struct {
	from string
	to   []string
	data []byte
}

// newMailServer opens a mail server; change may change its settings, and wrap its listener.
func newMailServer(t *testing.T, addr string, change ...func(*smtp.Server, net.Listener) net.Listener) *mailServer {
	t.Helper()
	p := &mailServer{t: t}
	p.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, secret := c.TLSConnectionState()
		return &session{office: p, secret: secret}, nil
	}))
	p.server.Domain, p.server.AllowInsecureAuth = "mail.example.org", true
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p.addr = listener.Addr().String()
	for _, f := range change {
		listener = f(p.server, listener)
	}
	go func() { _ = p.server.Serve(listener) }() // until it is closed
	p.close = func() { listener.Close(); p.server.Close() }
	t.Cleanup(p.close)
	return p
}

// A session is one connection to the mail server.
type session struct {
	office *mailServer
	secret bool // it is encrypted
	post   post
}

// took counts what came without TLS. The office must be locked.
func (s *session) took() {
	if !s.secret {
		s.office.clear++
	}
}

func (s *session) AuthMechanisms() []string {
	if s.office.login {
		return []string{sasl.Login}
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	if s.office.login {
		return &loginServer{session: s}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return s.enter(user, password) }), nil
}

// enter lets a user in.
func (s *session) enter(user, password string) error {
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	s.took()
	if password != "mail secret" {
		return smtp.ErrAuthFailed
	}
	s.office.users = append(s.office.users, user)
	return nil
}

// A loginServer asks for name and password one after the other.
type loginServer struct {
	session *session
	asked   int
	user    string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.session.enter(l.user, string(response))
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error { s.post = post{from: from}; return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody") {
		return errors.New("there is no such mailbox")
	}
	s.post.to = append(s.post.to, to)
	return nil
}

func (s *session) Data(r io.Reader) (err error) {
	s.post.data, err = io.ReadAll(r)
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	s.took()
	s.office.mails = append(s.office.mails, s.post)
	return err
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// take returns the mails since the last take.
func (p *mailServer) take() []post {
	p.mu.Lock()
	defer p.mu.Unlock()
	mails := p.mails
	p.mails = nil
	return mails
}

// read returns the subject and the text of a mail.
func (p post) read(t *testing.T) (message *mail.Message, text string) {
	t.Helper()
	message, err := mail.ReadMessage(bytes.NewReader(p.data))
	if err != nil {
		t.Fatal(err)
	}
	var body io.Reader = message.Body
	if message.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return message, strings.ReplaceAll(string(content), "\r\n", "\n")
}

// A mail gives the cause, the time and the page, and a second mail gives the end. A mail
// server that was down gets the mail when it works again, and the log says so once.
func TestMail(t *testing.T) {
	h := newHarness(t)
	office := newMailServer(t, "127.0.0.1:0")
	to, err := alert.NewSender("smtp://desk@"+office.addr+
		"?from=desk@example.org&to=anna@example.org,ben@example.org", "mail secret")
	if err != nil {
		t.Fatal(err)
	}
	office.close()
	w := h.watch(to)
	h.keep("ipn", inbox.Person)
	since := h.now
	h.now = h.now.Add(25 * time.Hour)
	h.keep("ipn", inbox.Done)
	began := h.now
	for range 3 {
		w.Look(t.Context())
		h.now = h.now.Add(alert.DefaultAgain)
	}
	if n := strings.Count(h.log.String(), "the mail server refuses the mail"); n != 1 {
		t.Errorf("the log says it %d times, want once:\n%s", n, &h.log)
	}
	office = newMailServer(t, office.addr)
	for range 3 {
		w.Look(t.Context())
		h.now = h.now.Add(alert.DefaultAgain)
	}
	mails := office.take()
	if len(mails) != 1 || mails[0].from != "desk@example.org" ||
		strings.Join(mails[0].to, " ") != "anna@example.org ben@example.org" {
		t.Fatalf("the mails are %+v\n%s", mails, &h.log)
	}
	message, text := mails[0].read(t)
	if got, want := message.Header.Get("Subject"), "live: One message has waited for a person for more than a day"; got != want {
		t.Errorf("the subject is %q, want %q", got, want)
	}
	for _, want := range []string{
		"One message has waited for a person, the oldest since " + since.UTC().Format("Mon 2 Jan 2006, 15:04"),
		"\nhttps://desk.example.org/waiting#person\n",
		"First seen on " + began.UTC().Format("Mon 2 Jan 2006 at 15:04"),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the mail does not say %q:\n%s", want, text)
		}
	}
	if message.Header.Get("Auto-Submitted") != "auto-generated" || message.Header.Get("Message-Id") == "" {
		t.Errorf("the header is %v", message.Header)
	}
	if len(office.users) != 1 || office.users[0] != "desk" {
		t.Errorf("%q have logged in", office.users)
	}
	if err := h.closeAll(); err != nil {
		t.Fatal(err)
	}
	w.Look(t.Context())
	w.Look(t.Context())
	mails = office.take()
	if len(mails) != 1 {
		t.Fatalf("at the end came %d mails, want one", len(mails))
	}
	over, text := mails[0].read(t)
	if subject := over.Header.Get("Subject"); !strings.HasPrefix(subject, "live: Over: ") ||
		over.Header.Get("Message-Id") == message.Header.Get("Message-Id") {
		t.Errorf("the header is %v", over.Header)
	}
	if !strings.Contains(text, "https://desk.example.org/waiting#person") {
		t.Errorf("the mail says\n%s", text)
	}
}

// A wrong password and an unknown mailbox are reported, without the password.
func TestMailIsRefused(t *testing.T) {
	office := newMailServer(t, "127.0.0.1:0")
	for address, secret := range map[string]string{
		"smtp://desk@" + office.addr + "?from=desk@example.org&to=anna@example.org": "wrong secret",
		"smtp://" + office.addr + "?from=desk@example.org&to=nobody@example.org":    "",
	} {
		to, err := alert.NewSender(address, secret)
		if err != nil {
			t.Fatal(err)
		}
		err = to.Send(t.Context(), alert.Message{ID: "x", Subject: "x", Text: "x", At: time.Now()})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if mails := office.take(); len(mails) > 0 {
		t.Errorf("the office has taken %v", mails)
	}
}

// smtps uses TLS or fails.
func TestMailNeedsTLS(t *testing.T) {
	office := newMailServer(t, "127.0.0.1:0")
	_, port, err := net.SplitHostPort(office.addr)
	if err != nil {
		t.Fatal(err)
	}
	to, err := alert.NewSender("smtps://127.0.0.1:"+port+"?from=desk@example.org&to=anna@example.org", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Send(t.Context(), alert.Message{ID: "x", Subject: "x", Text: "x", At: time.Now()}); err == nil {
		t.Error("smtps speaks without TLS")
	}
	if mails := office.take(); len(mails) > 0 {
		t.Errorf("the office has taken %v", mails)
	}
}

// A wrong address gets an error with the remedy.
func TestNewSender(t *testing.T) {
	for _, c := range []struct{ address, secret, want string }{
		{"mail.example.org", "", "write smtp://USER@HOST:PORT?from=ADDRESS&to=ADDRESS"},
		{"ftp://example.org", "", `"ftp" is not smtp`},
		{"smtp://example.org?to=a@example.org", "", "needs a sender and recipients"},
		{"smtp://example.org?from=x@example.org", "", "needs a sender and recipients"},
		{"smtp://example.org?from=x&to=a@example.org", "", `"x" is not a sender's address`},
		{"smtp://example.org?from=x@example.org&to=a", "", `not all of "a" are recipients`},
		{"smtp://ann:pw@example.org?from=x@example.org&to=a@example.org", "", "the address must not contain a password"},
		{"smtp://ann@example.org?from=x@example.org&to=a@example.org", "", "has no password: name the file"},
		{"https://ann@example.org/", "", "must not contain a user"},
		{"https://example.org/", "short", "echo whsec_$(openssl rand -base64 32)"},
	} {
		_, err := alert.NewSender(c.address, c.secret)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v, want %q", c.address, err, c.want)
		}
	}
}
