package desk

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// The bounds of the audit.
const (
	mostActs     = 500     // on the page
	mostExported = 100_000 // in the table
)

type auditView struct {
	Acts    []auditLine
	More    bool
	NoInbox bool
}

// An auditLine is one act of a person.
type auditLine struct {
	inbox.Act
	What  string
	Where string // the address of the message's story
}

// auditPage shows who did what. The inbox keeps it as long as the message.
func (d *Desk) auditPage(w http.ResponseWriter, r *http.Request) {
	if d.box == nil {
		d.show(w, r, http.StatusOK, "audit", "Who did what?", auditView{NoInbox: true})
		return
	}
	limit := mostActs + 1
	export := r.FormValue("as") == "csv"
	if export {
		limit = mostExported
	}
	acts, err := d.box.AllActs(r.Context(), limit)
	if err != nil {
		d.log.Error("the audit cannot be read", "cause", err.Error())
		d.fail(w, r, http.StatusBadGateway, "The inbox could not be asked.", "Try again in a minute.")
		return
	}
	if export {
		writeActs(w, acts)
		return
	}
	view := auditView{More: len(acts) > mostActs}
	for _, act := range acts[:min(len(acts), mostActs)] {
		view.Acts = append(view.Acts, auditLine{act, actNames[act.Name], "/?" + url.Values{"q": {act.Row}}.Encode()})
	}
	d.show(w, r, http.StatusOK, "audit", "Who did what?", view)
}

func writeActs(w http.ResponseWriter, acts []inbox.Act) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="who-did-what.csv"`)
	table := csv.NewWriter(w)
	_ = table.Write([]string{"at", "who", "act", "row", "reason"})
	for _, a := range acts {
		_ = table.Write([]string{a.At.Format(time.RFC3339), harmless(a.Actor), a.Name, a.Row, harmless(a.Reason)})
	}
	table.Flush() // a visitor who has left
}
