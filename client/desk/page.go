package desk

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"time"

	"github.com/donation-dedupe/noted/client/desk/reconcile"
)

//go:embed pages
var files embed.FS

// pageNames are the templates, each with the layout around it.
var pageNames = []string{"find", "waiting", "agree", "audit", "plan", "done", "login", "failed"}

func (d *Desk) templates() map[string]*template.Template {
	pages := map[string]*template.Template{}
	funcs := template.FuncMap{
		"decimal": reconcile.Decimal,
		"when":    func(t time.Time) string { return d.when(t) },
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
	for _, name := range pageNames {
		pages[name] = template.Must(template.New("layout.html").Funcs(funcs).
			ParseFS(files, "pages/layout.html", "pages/"+name+".html"))
	}
	return pages
}

// when writes a time as people say it, in the desk's zone.
func (d *Desk) when(t time.Time) string {
	return t.In(d.config.Zone).Format("Mon 2 Jan 2006, 15:04:05")
}

// A frame is what every page has.
type frame struct {
	Title  string
	Page   string
	Person person
	Token  string
	Dev    bool
	Ledger string
	Zone   string
	View   any
}

// show writes a page.
func (d *Desk) show(w http.ResponseWriter, r *http.Request, status int, page, title string, view any) {
	f := frame{
		Title: title, Page: page, Person: personOf(r), Token: sessionOf(r).Token, Dev: d.config.Open,
		Ledger: d.config.Ledger, Zone: time.Now().In(d.config.Zone).Format("MST"), View: view,
	}
	var b bytes.Buffer
	if err := d.pages[page].Execute(&b, f); err != nil {
		d.log.Error("a page cannot be shown", "page", page, "cause", err.Error())
		http.Error(w, "This page cannot be shown. Tell the person who runs this desk.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a visitor who has left
}

type failedView struct{ Problem, Advice string }

// fail says what is wrong and what to do.
func (d *Desk) fail(w http.ResponseWriter, r *http.Request, status int, problem, advice string) {
	d.show(w, r, status, "failed", problem, failedView{problem, advice})
}

func style(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=300")
	http.ServeFileFS(w, r, files, "pages/desk.css")
}
