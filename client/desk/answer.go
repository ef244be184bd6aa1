package desk

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// A tone is the colour of an answer. A word beside it says the same for people who see no
// colours.
type tone string

const (
	yes     tone = "yes"     // booked
	wait    tone = "wait"    // on its way
	no      tone = "no"      // not booked, and stays so unless a person acts
	unclear tone = "unclear" // not known
)

// An answer is the part of the page below the question.
type answer struct {
	Question string
	Problem  string // with the question itself
	Tone     tone
	Sentence string   // the answer
	Remarks  []string // the limits of the answer
	Items    []item
	More     string // the address that searches all of Noted's ledger
	Advice   bool   // whether to show how PayPal sends a message again
	Examples []Example
}

// An item is one donation, or one message without a donation.
type item struct {
	Title    string
	Tone     tone
	Sentence string
	Facts    []fact
	Timeline []entry
	Actions  []link
	Open     bool // its timeline is open at first
}

type fact struct{ Name, Value string }

type link struct{ Text, URL string }

func (d *Desk) findPage(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimSpace(r.FormValue("q"))
	a := answer{Question: text, Examples: d.config.Examples}
	title := "Where is this donation?"
	if text != "" {
		q, err := parseQuestion(text, d.config.Zone)
		if err != nil {
			a.Problem = err.Error()
			title = "The question is not clear"
		} else {
			a = d.answer(r.Context(), q, text, r.FormValue("all") != "", personOf(r))
			title = a.Sentence
		}
	}
	d.show(w, r, http.StatusOK, "find", title, a)
}

// answer finds the donation and says where it is.
func (d *Desk) answer(ctx context.Context, q question, text string, all bool, who person) answer {
	f := d.find(ctx, q, all)
	a := answer{Question: text, Examples: d.config.Examples}
	for _, each := range f.donations {
		a.Items = append(a.Items, d.itemOf(f, each, who))
	}
	for _, each := range f.alone {
		a.Items = append(a.Items, d.itemAlone(each, who))
	}
	switch n := len(a.Items); n {
	case 0:
		d.notFound(f, &a)
	case 1:
		a.Tone, a.Sentence = a.Items[0].Tone, a.Items[0].Sentence
		a.Items[0].Open = true
	default:
		a.Tone, a.Sentence = several(a.Items)
		for i := range a.Items {
			a.Items[i].Open = n <= 3
		}
	}
	a.Remarks = append(a.Remarks, d.remarks(f)...)
	if !f.asked && (!f.walked || f.unfinished || f.underWay) && f.notedError == nil {
		a.More = "/?" + url.Values{"q": {text}, "all": {"1"}}.Encode()
	}
	return a
}

// several counts the answers for several donations.
func several(items []item) (tone, string) {
	counts := map[tone]int{}
	for _, i := range items {
		counts[i.Tone]++
	}
	var parts []string
	worst := yes
	for _, each := range []struct {
		tone tone
		text string
	}{{yes, "booked"}, {wait, "on the way"}, {no, "not booked"}, {unclear, "unclear"}} {
		if counts[each.tone] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[each.tone], each.text))
			worst = each.tone
		}
	}
	return worst, fmt.Sprintf("%d answers fit: %s.", len(items), strings.Join(parts, ", "))
}

// notFound says that the search found nothing, and how certain that is.
func (d *Desk) notFound(f *finding, a *answer) {
	if f.notedError != nil || f.journalError != nil || f.unfinished {
		a.Tone, a.Sentence = unclear, "Not found so far, but a source does not answer."
		return
	}
	if f.underWay {
		a.Tone, a.Sentence = unclear, "Not found so far: the search of Noted's ledger goes on."
		return
	}
	a.Tone, a.Advice = no, true
	switch {
	case f.bySum() && f.forgotten():
		a.Tone, a.Advice = unclear, false
		a.Sentence = "Not known: the day is before the oldest entry of Noted and the inbox. Look in the books."
	case f.unverified == 1:
		a.Tone = unclear
		a.Sentence = "Not found so far: one message has come that PayPal could not be asked about yet, " +
			"and it may be this one."
	case f.unverified > 1:
		a.Tone = unclear
		a.Sentence = fmt.Sprintf("Not found so far: %d messages have come that PayPal could not be asked about yet, "+
			"and one of them may be this one.", f.unverified)
	case f.bySum():
		a.Sentence = "No: no donation has this amount and day."
	case f.noJournal:
		a.Sentence = "No: Noted has no such donation."
	default:
		a.Sentence = "No: no such message has come."
	}
}

// forgotten reports whether the day is before the memory of both sources.
func (f *finding) forgotten() bool {
	noted := f.retention > 0 && f.until().After(time.Now().Add(-f.retention))
	journalled := !f.noJournal && !f.journalFrom.IsZero() && f.until().After(f.journalFrom)
	return !noted && !journalled
}

// remarks list the limits of an answer.
func (d *Desk) remarks(f *finding) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if f.notedError != nil {
		add("Noted could not be asked: %s. This answer comes from the inbox alone.", reasonOf(f.notedError))
	}
	if f.journalError != nil {
		add("The inbox does not answer. This answer comes from Noted alone.")
	}
	if f.underWay {
		add("Noted's ledger is large, and the search goes on: load the page again in a few seconds. " +
			"A series id is found at once.")
	}
	if f.unfinished {
		add("Noted's ledger is too large to search in time. Ask with the series id, which is found at once.")
	}
	if f.cut {
		add("This page does not show everything. Ask for one transaction, or for one day.")
	}
	if f.retention > 0 {
		add("Noted's notes reach back to %s. Noted cannot say whether an earlier donation was booked.",
			time.Now().Add(-f.retention).In(d.config.Zone).Format("2 January 2006"))
	}
	switch {
	case f.noJournal:
		add("This desk has no inbox, so it knows no refused messages and no messages without a donation.")
	case f.journalError == nil && f.journalFrom.IsZero():
		add("The inbox is empty.")
	case f.journalError == nil:
		add("The inbox's journal begins on %s.", f.journalFrom.In(d.config.Zone).Format("2 January 2006"))
	}
	if twice := f.twice(); twice != "" {
		add(
			"Transaction %s is in two donations that are both settled. "+
				"It may be booked twice: compare them in the books.",
			twice,
		)
	}
	return all
}

// twice returns a transaction id that two settled donations of one event share.
func (f *finding) twice() string {
	seen := map[string]bool{}
	for _, each := range f.donations {
		key := each.event + " " + each.transaction
		if each.transaction == "" || each.note.GetState() != client.StateSettled {
			continue
		}
		if seen[key] {
			return each.transaction
		}
		seen[key] = true
	}
	return ""
}

// reasonOf says in words why Noted did not answer.
func reasonOf(err error) string {
	if reason := client.Reason(err); reason != "" {
		return reason
	}
	return "it does not answer"
}

// itemOf makes the answer about one donation.
func (d *Desk) itemOf(f *finding, each *donation, who person) item {
	i := item{Title: each.title(), Timeline: d.timeline(each)}
	i.Tone, i.Sentence = d.sentence(f, each)
	add := func(name, value string) {
		if value != "" {
			i.Facts = append(i.Facts, fact{name, value})
		}
	}
	add("Transaction", each.transaction)
	if each.series != each.transaction {
		add("Series", each.series)
	}
	add("Donation id", each.id)
	add("Ledger", each.ledger)
	if each.note.GetAttempt() > 1 {
		add("Attempt", fmt.Sprint(each.note.GetAttempt()))
	}
	if forget := each.note.GetForgetAt(); forget != nil {
		add("Note kept until", d.when(forget.AsTime()))
	}
	if who.Role >= Clerk {
		i.Actions = d.actionsOn(each)
	}
	return i
}

// actionsOn lists the acts that a clerk can do on a donation.
func (d *Desk) actionsOn(each *donation) (all []link) {
	for _, t := range each.told {
		all = append(all, rowActions(t)...)
	}
	if each.note == nil {
		return all
	}
	byNote := func(act string) string {
		return "/act?" + url.Values{
			"do": {act}, "ledger": {each.ledger}, "series": {each.series}, "id": {each.id},
		}.Encode()
	}
	if len(each.told) == 0 && each.note.GetState() == client.StateOpen {
		all = append(all, link{"I have booked it", byNote("close")})
	}
	return append(all, link{"Forget the note", byNote("forget")})
}

// rowActions lists the acts that a clerk can do on a message.
func rowActions(t told) (all []link) {
	byRow := func(act string) string { return "/act?" + url.Values{"do": {act}, "row": {t.Row}}.Encode() }
	if t.HasBody && t.State != inbox.Working {
		all = append(all, link{"Redo the " + channelName(t.Channel) + " now", byRow("redo")})
	}
	if t.State == inbox.Waiting && t.Verified || t.State == inbox.Person {
		all = append(all, link{"I have booked it (" + channelName(t.Channel) + ")", byRow("close")})
	}
	return all
}

// title names a donation.
func (a *donation) title() string {
	about := a.note.GetDonation()
	if about == nil && len(a.told) > 0 {
		about = a.told[0].pair.GetDonation()
	}
	text := sentenceCase(spoken(a.event, "EVENT_"))
	if about.GetAmount() != "" {
		text += " of " + about.GetAmount() + " " + about.GetCurrencyCode()
	}
	return text
}

func sentenceCase(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// itemAlone makes the answer about a message without a donation.
func (d *Desk) itemAlone(t told, who person) item {
	i := item{Title: channelName(t.Channel) + " message", Timeline: d.timeline(&donation{told: []told{t}})}
	if t.Type != "" {
		i.Title += " of type " + t.Type
	}
	i.Tone, i.Sentence = d.fateOf(t)
	for _, each := range []fact{
		{"Transaction", t.IDs.Transaction},
		{"Series", t.IDs.Series},
		{"About", t.IDs.Parent},
		{"Case", t.IDs.Case},
		{"Message id", t.ID},
		{"Receiver", t.Receiver},
		{"Row of the inbox", t.Row},
	} {
		if each.Value != "" {
			i.Facts = append(i.Facts, each)
		}
	}
	if who.Role >= Clerk {
		i.Actions = rowActions(t)
	}
	return i
}

// fateOf says what happened to a message without a donation.
func (d *Desk) fateOf(t told) (tone, string) {
	came := fmt.Sprintf("it came by %s on %s", channelName(t.Channel), d.when(t.ReceivedAt))
	switch {
	case t.State == inbox.Refused:
		return no, "No: " + came + " and was refused. " + d.because(t.Message)
	case t.State == inbox.Discarded:
		return no, "No: " + came + ", but PayPal says that it did not send it. It may be forged, and was not processed."
	case t.State == inbox.Person:
		return no, "Not yet: " + came + " and waits for a person. " + d.because(t.Message)
	case !t.Verified:
		return wait, "Not yet: " + came + ", but PayPal has not yet said whether it sent it. " + d.nextTry(t)
	case t.State == inbox.Waiting || t.State == inbox.Working:
		return wait, "Not yet: " + came + " and waits. " + d.because(t.Message) + " " + d.nextTry(t)
	case t.Cause == "closed by hand":
		return yes, "Yes: " + came + " and was closed by hand. " + actOf(t, "close")
	}
	return no, sentenceCase(
		came,
	) + ", but it has no donation: PayPal also sends messages that are not about payments."
}

// nextTry says when a waiting message has its next try.
func (d *Desk) nextTry(t told) string {
	if t.NextAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("It was tried %s; the next try is on %s.", times(t.Tries), d.when(t.NextAt))
}

func times(n int) string {
	switch n {
	case 0:
		return "never so far"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// channelName is a channel in a person's words.
func channelName(channel string) string {
	switch channel {
	case "ipn":
		return "IPN"
	case "":
		return "an unnamed channel"
	}
	return channel
}

// actOf quotes the last act of a kind.
func actOf(t told, name string) (text string) {
	for _, act := range t.Acts {
		if act.Name == name {
			text = fmt.Sprintf("%s wrote: “%s”.", act.Actor, act.Reason)
		}
	}
	return text
}
