package desk

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// An order is a person's request: an act on a message of the inbox, or on a note.
type order struct {
	Do                 string // redo, close, forget or acknowledge
	Row                string
	Ledger, Series, ID string
}

func orderOf(r *http.Request) order {
	return order{r.FormValue("do"), r.FormValue("row"), r.FormValue("ledger"), r.FormValue("series"), r.FormValue("id")}
}

// A plan lists the changes of an order. The person sees it before the act.
type plan struct {
	order
	Title   string
	About   string   // the message or the note
	Changes []string // of the act
	Warning string   // a risk of the act
	Refusal string   // why the act is impossible
	Button  string

	Problem, Reason string // of the form that was sent
	Mark            string // of the facts behind the plan

	do func(ctx context.Context, who person, reason string) error
}

// rests computes the mark of the facts behind a plan. If the form comes back with another
// mark, the person sees the plan anew.
func (p *plan) rests(on ...any) {
	sum := sha256.Sum256([]byte(fmt.Sprint(append(on, p.Changes, p.Refusal)...)))
	p.Mark = hex.EncodeToString(sum[:8])
}

// The limits of a reason, in bytes. Noted takes 256, and the desk adds the person's name.
const maxReason = 160

func (d *Desk) planPage(w http.ResponseWriter, r *http.Request) {
	o := orderOf(r)
	if !d.mayOrder(w, r, o) {
		return
	}
	p, err := d.plan(r.Context(), o)
	if err != nil {
		d.failPlan(w, r, err)
		return
	}
	d.show(w, r, http.StatusOK, "plan", p.Title, p)
}

func (d *Desk) actPage(w http.ResponseWriter, r *http.Request) {
	o := orderOf(r)
	if !d.mayOrder(w, r, o) {
		return
	}
	p, err := d.plan(r.Context(), o)
	if err != nil {
		d.failPlan(w, r, err)
		return
	}
	p.Reason = strings.TrimSpace(r.PostFormValue("reason"))
	switch {
	case p.Refusal != "":
	case p.Mark != r.PostFormValue("mark"):
		p.Problem = "Something has changed since you opened this page, so nothing was done. Read the changes again."
	case p.Reason == "":
		p.Problem = "Write a reason. The audit keeps it."
	case len(p.Reason) > maxReason || !utf8.ValidString(p.Reason):
		p.Problem = fmt.Sprintf("The reason is longer than %d letters. Shorten it.", maxReason)
	}
	if p.Refusal != "" || p.Problem != "" {
		d.show(w, r, http.StatusConflict, "plan", p.Title, p)
		return
	}
	who := personOf(r)
	err = p.do(r.Context(), who, p.Reason)
	attrs := []any{"act", o.Do, "actor", who.Name, "row", o.Row, "donation_id", o.ID, "reason", p.Reason}
	if err != nil {
		d.log.Warn("an act failed", append(attrs, "cause", err.Error())...)
		p.Problem = "It was not done: " + said(err)
		d.show(w, r, http.StatusConflict, "plan", p.Title, p)
		return
	}
	d.log.Info("audit", attrs...)
	to := url.Values{"do": {o.Do}, "row": {o.Row}, "series": {o.Series}, "id": {o.ID}}
	http.Redirect(w, r, "/done?"+to.Encode(), http.StatusSeeOther)
}

// said puts an error into words for a person.
func said(err error) string {
	if busy, ok := errors.AsType[*inbox.Busy](err); ok {
		return "a worker is processing the message; try again after " + busy.Until.Format(time.TimeOnly) + " UTC."
	}
	if reason := client.Reason(err); reason != "" {
		return "Noted answered " + reason + "."
	}
	if errors.Is(err, client.ErrUnavailable) {
		return "Noted does not answer. Look where the donation is before you try again."
	}
	return err.Error() + "."
}

// The errors of an order without a plan.
var (
	errNoOrder = errors.New("the address names no known act")
	errNoInbox = errors.New("this desk has no inbox")
)

func (d *Desk) failPlan(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, inbox.ErrNotFound), errors.Is(err, client.ErrNoteNotFound):
		d.fail(w, r, http.StatusNotFound, "It is not there any more.", "Look where the donation is now.")
	case errors.Is(err, errNoOrder), errors.Is(err, errNoInbox):
		d.fail(w, r, http.StatusBadRequest, "This cannot be done.", sentenceCase(err.Error())+".")
	default:
		d.log.Error("a plan cannot be made", "cause", err.Error())
		d.fail(w, r, http.StatusBadGateway,
			"The desk cannot tell right now what this would change, so it does not offer it.",
			"Try again in a minute: "+said(err))
	}
}

// plan finds the changes of an order.
func (d *Desk) plan(ctx context.Context, o order) (p plan, err error) {
	switch {
	case o.Do == "redo" && o.Row != "":
		p, err = d.planRedo(ctx, o)
	case o.Do == "close" && o.Row != "":
		p, err = d.planClose(ctx, o)
	case o.Do == "close" && o.ID != "":
		p, err = d.planCloseNote(ctx, o)
	case o.Do == "forget" && o.ID != "":
		p, err = d.planForget(ctx, o)
	case o.Do == "acknowledge" && o.ID != "":
		p, err = d.planAcknowledge(ctx, o)
	default:
		return p, errNoOrder
	}
	p.order = o
	return p, err
}

// A doneView is the receipt of an act.
type doneView struct {
	Sentence string
	Next     string
	Where    string
	Acts     []inbox.Act
}

var doneSentences = map[string][2]string{
	"redo":        {"Done: the message waits, and a gateway takes it at once.", "Look where it is in a few seconds."},
	"close":       {"Done: it is closed. Later messages of the donation are duplicates.", ""},
	"acknowledge": {"Done: the loss is acknowledged.", "Noted accepts its store as it is."},
	"forget": {
		"Done: Noted has forgotten the note.",
		"To hand the donation to the books again, redo one of its messages.",
	},
}

func (d *Desk) donePage(w http.ResponseWriter, r *http.Request) {
	o := orderOf(r)
	sentence, ok := doneSentences[o.Do]
	if !ok {
		d.fail(w, r, http.StatusNotFound, "There is no such page.", "Use the links above.")
		return
	}
	view := doneView{Sentence: sentence[0], Next: sentence[1]}
	view.Where = "/?" + url.Values{"q": {firstOf(o.Row, o.ID, o.Series)}}.Encode()
	if o.Do == "acknowledge" {
		view.Where = "/alive"
	} else if d.box != nil {
		messages, err := d.box.Find(r.Context(), firstOf(o.Row, o.ID), mostMessages)
		for _, m := range messages {
			acts, actsErr := d.box.Acts(r.Context(), m.Row)
			err = errors.Join(err, actsErr)
			view.Acts = append(view.Acts, acts...)
		}
		if err != nil {
			d.log.Warn("the acts cannot be read", "cause", err.Error())
		}
		slices.SortFunc(view.Acts, func(a, b inbox.Act) int { return b.At.Compare(a.At) })
	}
	d.show(w, r, http.StatusOK, "done", sentence[0], view)
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// The limits of the audit.
const (
	mostActs     = 500     // on the page
	mostExported = 100_000 // in the CSV file
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
	Where string // the address of the message's story; empty for an act without a message
}

// auditPage shows all acts. The inbox keeps an act as long as its message.
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
		d.fail(w, r, http.StatusBadGateway, "The inbox does not answer.", "Try again in a minute.")
		return
	}
	if export {
		writeActs(w, acts)
		return
	}
	view := auditView{More: len(acts) > mostActs}
	for _, act := range acts[:min(len(acts), mostActs)] {
		line := auditLine{Act: act, What: actNames[act.Name]}
		if act.Row != "" {
			line.Where = "/?" + url.Values{"q": {act.Row}}.Encode()
		}
		view.Acts = append(view.Acts, line)
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
	table.Flush() // an error means the visitor has left
}
