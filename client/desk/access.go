package desk

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
	"golang.org/x/time/rate"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The limits of a session and of logins. A hash takes 64 MiB, so few are computed at
// once.
const (
	sessionFor   = 12 * time.Hour
	hashesAtOnce = 2
	tries        = 5                // for one name in a row
	tryAgain     = 20 * time.Second // then one more in each interval
)

// A denial of one page to one person is kept once in this time, and of so many at most.
const (
	denialsEvery = time.Hour
	mostDenials  = 10_000
)

const cookieName = "noted_desk"

// access decides what a visitor may do.
type access struct {
	config  Config
	cookies *securecookie.SecureCookie
	origins *http.CrossOriginProtection
	hashing chan struct{}

	mu     sync.Mutex
	logins map[string]*rate.Limiter // by name; "" for all names that are not in the file
	denied map[[2]string]time.Time  // :: name and page → when it was kept
}

func newAccess(config Config) *access {
	cookies := securecookie.New(config.SessionKey, nil)
	cookies.MaxAge(int(sessionFor / time.Second))
	cookies.SetSerializer(securecookie.JSONEncoder{})
	return &access{
		config: config, cookies: cookies, origins: http.NewCrossOriginProtection(),
		hashing: make(chan struct{}, hashesAtOnce), logins: map[string]*rate.Limiter{},
		denied: map[[2]string]time.Time{},
	}
}

// A session is the content of the signed cookie. A visitor without a login has a session
// too, for its token.
type session struct {
	Token string `json:"t"`           // in every form
	Name  string `json:"n,omitempty"` // of the logged-in person
	Mark  string `json:"m,omitempty"` // of the user's line at the login
}

// A person is the sender of a request.
type person struct {
	Name string
	Role Role
	// Login says that the person logged in here and can log out here.
	Login bool
}

// May reports whether the person has the role of this name.
func (p person) May(role string) bool {
	needed, err := ParseRole(role)
	return err == nil && p.Role >= needed
}

type key int

const (
	personKey key = iota
	sessionKey
)

func personOf(r *http.Request) person {
	p, _ := r.Context().Value(personKey).(person)
	return p
}

func sessionOf(r *http.Request) session {
	s, _ := r.Context().Value(sessionKey).(session)
	return s
}

// open reads the session of a request, or starts a session.
func (a *access) open(w http.ResponseWriter, r *http.Request) session {
	var s session
	if cookie, err := r.Cookie(cookieName); err == nil {
		if a.cookies.Decode(cookieName, cookie.Value, &s) == nil && s.Token != "" {
			return s
		}
	}
	s = session{Token: rand.Text()}
	a.save(w, r, s)
	return s
}

func (a *access) save(w http.ResponseWriter, r *http.Request, s session) {
	value, err := a.cookies.Encode(cookieName, s)
	if err != nil {
		panic(err) // the session is short text
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: int(sessionFor / time.Second), HttpOnly: true,
		// Without TLS the browser sends the cookie to this machine only.
		Secure: !isLoopback(r.Host), SameSite: http.SameSiteLaxMode,
	})
}

// isLoopback reports whether a request is addressed to this machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// sender returns the sender of a request. It fails if the users cannot be read.
func (a *access) sender(r *http.Request, s session) (person, error) {
	if a.config.Open {
		return person{Name: "dev", Role: Admin}, nil
	}
	users := map[string]user{}
	if a.config.UsersFile != "" {
		var err error
		if users, err = readUsers(a.config.UsersFile); err != nil {
			return person{}, err
		}
	}
	if name := a.named(r); name != "" {
		role := a.config.ProxyRole
		if u, ok := users[name]; ok {
			role = u.role
		}
		return person{Name: name, Role: role}, nil
	}
	u, ok := users[s.Name]
	if !ok || u.hash == noPassword || subtle.ConstantTimeCompare([]byte(u.mark()), []byte(s.Mark)) != 1 {
		return person{}, nil
	}
	return person{Name: u.name, Role: u.role, Login: true}, nil
}

// named returns the name that an authenticating proxy gives for the visitor.
func (a *access) named(r *http.Request) string {
	if a.config.ProxyHeader == "" {
		return ""
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	names := r.Header.Values(a.config.ProxyHeader)
	if len(names) != 1 || !userName.MatchString(names[0]) {
		return "" // of two names, one may be the visitor's own
	}
	for _, proxy := range a.config.Proxies {
		if proxy.Contains(from.Addr().Unmap()) {
			return names[0]
		}
	}
	return ""
}

// genuine reports whether a form comes from a page of this desk.
func (a *access) genuine(r *http.Request, s session) bool {
	return a.genuineToken(r, s, r.PostFormValue("token"))
}

func (a *access) genuineToken(r *http.Request, s session, token string) bool {
	return a.origins.Check(r) == nil && subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) == 1
}

// login checks a password. slow means too many tries. An unknown name is not returned,
// because a visitor may have typed a password in its place.
func (a *access) login(name, password string) (u user, ok, slow bool, err error) {
	users, err := readUsers(a.config.UsersFile)
	if err != nil {
		return u, false, false, err
	}
	u, known := users[name]
	hash := stranger
	if known && u.hash != noPassword {
		if hash, err = parseHash(u.hash); err != nil {
			return u, false, false, err
		}
	} else {
		known, name = false, ""
	}
	if len(password) > maxPassword || !a.mayTry(name) {
		return u, false, true, nil
	}
	a.hashing <- struct{}{}
	defer func() { <-a.hashing }()
	return u, hash.matches(password) && known, false, nil
}

// mayTry limits the rate of password tries. All unknown names share one limiter, so the
// file bounds the number of limiters. A guesser keeps the owner of a name from logging in
// meanwhile; open sessions stay open.
func (a *access) mayTry(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	limiter := a.logins[name]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Every(tryAgain), tries)
		a.logins[name] = limiter
	}
	return limiter.Allow()
}

// guard passes a request on if the person has the role and the form is genuine.
func (d *Desk) guard(needed Role, next http.HandlerFunc) http.HandlerFunc {
	return d.guardUpload(needed, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && !d.access.genuine(r, sessionOf(r)) {
			d.fail(
				w,
				r,
				http.StatusForbidden,
				"This form is no longer valid.",
				"It was opened before you logged in, or on another site. Nothing was changed. "+
					"Load the page again and repeat it.",
			)
			return
		}
		next(w, r)
	})
}

// guardUpload is guard for a form with a file. next reads the form and checks its token.
func (d *Desk) guardUpload(needed Role, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s := d.access.open(w, r)
		p, err := d.access.sender(r, s)
		if err != nil {
			d.log.Error("every visitor is refused: the users cannot be read", "cause", err.Error())
			d.fail(w, r, http.StatusInternalServerError, "The desk cannot let you in right now.",
				"The file of users cannot be read. Tell the person who runs this desk.")
			return
		}
		r = r.WithContext(context.WithValue(context.WithValue(r.Context(), personKey, p), sessionKey, s))
		switch {
		case p.Name == "" && d.config.UsersFile != "" && r.Method == http.MethodGet:
			http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		case p.Name == "":
			d.fail(w, r, http.StatusForbidden, "This desk does not know who you are.",
				"Log in, or come through the proxy that logs you in. Your request has changed nothing.")
		case p.Role < needed:
			d.deny(r, needed)
			d.fail(w, r, http.StatusForbidden, "You may not see this page.",
				"It needs the role "+needed.String()+". Ask the person who runs this desk.")
		default:
			next(w, r)
		}
	}
}

// deny keeps in the audit that a person lacked the role for a page.
func (d *Desk) deny(r *http.Request, needed Role) {
	name, page := personOf(r).Name, r.URL.Path
	if page == "/act" { // no other form is read: one may have a report in it
		if do := r.FormValue("do"); doneSentences[do][0] != "" {
			page += " (" + do + ")"
		}
	}
	if !d.access.deniedAnew(name, page) {
		return
	}
	d.log.Info("audit", "act", "deny", "actor", name, "page", page, "needs", needed.String())
	if d.box == nil {
		return
	}
	act := inbox.Act{Actor: name, Name: "deny", Reason: page + " needs the role " + needed.String()}
	if err := d.box.Record(r.Context(), act); err != nil {
		d.log.Warn("a denial is not in the inbox's audit", "actor", name, "page", page, "cause", err.Error())
	}
}

// deniedAnew says whether a denial is to be kept: loading a page again and again does not
// fill the audit.
func (a *access) deniedAnew(name, page string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if kept, ok := a.denied[[2]string{name, page}]; ok && now.Sub(kept) < denialsEvery {
		return false
	}
	if len(a.denied) >= mostDenials {
		maps.DeleteFunc(a.denied, func(_ [2]string, kept time.Time) bool { return now.Sub(kept) >= denialsEvery })
	}
	if len(a.denied) >= mostDenials {
		return false
	}
	a.denied[[2]string{name, page}] = now
	return true
}

type loginView struct {
	Next, Name, Problem string
}

func (d *Desk) loginPage(w http.ResponseWriter, r *http.Request) {
	s := d.access.open(w, r)
	r = r.WithContext(context.WithValue(r.Context(), sessionKey, s))
	d.show(w, r, http.StatusOK, "login", "Log in", loginView{Next: local(r.FormValue("next"))})
}

func (d *Desk) login(w http.ResponseWriter, r *http.Request) {
	s := d.access.open(w, r)
	r = r.WithContext(context.WithValue(r.Context(), sessionKey, s))
	view := loginView{Next: local(r.PostFormValue("next")), Name: r.PostFormValue("name")}
	again := func(status int, problem string) {
		view.Problem = problem
		d.show(w, r, status, "login", "Log in", view)
	}
	if d.config.UsersFile == "" {
		d.fail(w, r, http.StatusNotFound, "There are no logins here.", "Come through the proxy that logs you in.")
		return
	}
	if !d.access.genuine(r, s) {
		again(http.StatusForbidden, "The form was too old. Try again.")
		return
	}
	u, ok, slow, err := d.access.login(view.Name, r.PostFormValue("password"))
	switch {
	case err != nil:
		d.log.Error("every login is refused: the users cannot be read", "cause", err.Error())
		again(http.StatusInternalServerError, "The file of users cannot be read. Tell the person who runs this desk.")
	case slow:
		d.log.Warn("a name has too many failed logins", "actor", u.name)
		w.Header().Set("Retry-After", "20")
		again(http.StatusTooManyRequests, "Too many tries. Wait a minute, and try again.")
	case !ok:
		d.log.Warn("a login failed", "actor", u.name)
		again(http.StatusUnauthorized, "Name or password is wrong.")
	default:
		d.log.Info("audit", "act", "login", "actor", u.name)
		d.access.save(w, r, session{Token: rand.Text(), Name: u.name, Mark: u.mark()})
		http.Redirect(w, r, view.Next, http.StatusSeeOther)
	}
}

func (d *Desk) logout(w http.ResponseWriter, r *http.Request) {
	s := d.access.open(w, r)
	if d.access.genuine(r, s) {
		d.access.save(w, r, session{Token: rand.Text()})
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// local keeps a redirect within this desk.
func local(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n") {
		return "/"
	}
	return next
}
