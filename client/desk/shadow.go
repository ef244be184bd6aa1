package desk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/reconcile"
	"github.com/donation-dedupe/noted/client/desk/shadow"
)

// This file shows how a receiver without Noted would book the ledger's payments. shadow/
// does the counting.

// shadowFor is the span that the page covers at first.
const shadowFor = 30

// A shadowView is the page.
type shadowView struct {
	Problem string
	Hears   string // the chosen channel, or everyChannel; empty before the choice
	Choices []shadowChoice
	Since   string // the first day, in the form's format
	Result  *shadow.Result
	Answer  string
	Remarks []string
}

type shadowChoice struct{ Value, Text string }

const everyChannel = "every"

var shadowChoices = []shadowChoice{
	{everyChannel, "IPN and webhooks: every message"},
	{"ipn", "IPN only"},
	{"webhook", "webhooks only"},
}

// shadowPage asks for the channels that the old code hears, and counts how it would book
// them.
func (d *Desk) shadowPage(w http.ResponseWriter, r *http.Request) {
	day := time.Now().In(d.config.Zone).AddDate(0, 0, -shadowFor).Format(time.DateOnly)
	view := shadowView{Hears: r.FormValue("hears"), Choices: shadowChoices, Since: day}
	if given := r.FormValue("since"); given != "" {
		view.Since = given
	}
	const title = "What would change?"
	fail := func(status int, problem string) {
		view.Problem = problem
		d.show(w, r, status, "shadow", "The payments could not be counted", view)
	}
	if view.Hears == "" {
		d.show(w, r, http.StatusOK, "shadow", title, view)
		return
	}
	since, err := time.ParseInLocation(time.DateOnly, view.Since, d.config.Zone)
	if err != nil {
		fail(http.StatusBadRequest, "The day cannot be read. Write it as 2026-03-01.")
		return
	}
	select {
	case d.comparing <- struct{}{}:
		defer func() { <-d.comparing }()
	default:
		fail(http.StatusTooManyRequests, "Other people are comparing right now. Try again in a minute.")
		return
	}
	deadline := time.Now().Add(compareFor)
	_ = http.NewResponseController(w).SetWriteDeadline(deadline) // if it cannot be set, the server's own deadline holds
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	begin, err := reconcile.Begin(ctx, d.noted, d.config.Ledger)
	if err == nil {
		hears := func(channel string) bool { return view.Hears == everyChannel || view.Hears == channel }
		notes := d.noted.List(ctx, &client.ListRequest{
			Ledger: d.config.Ledger, NotedAfter: timestamppb.New(since), PageSize: 1000,
		})
		view.Result, err = shadow.Count(notes, hears, d.config.Zone)
	}
	if err != nil {
		if !errors.Is(err, client.ErrUnavailable) && ctx.Err() == nil {
			d.log.Error("the payments could not be counted", "cause", err.Error())
		}
		fail(http.StatusBadGateway, "Noted's ledger could not be listed to its end ("+reasonOf(err)+
			"), so there is no count. Try again, or count fewer days.")
		return
	}
	view.Answer = shadowAnswer(view.Result, since)
	view.Remarks = d.shadowRemarks(view.Result, since, begin)
	d.show(w, r, http.StatusOK, "shadow", title, view)
}

// shadowAnswer is the count in a sentence.
func shadowAnswer(result *shadow.Result, since time.Time) string {
	total := result.Total
	if total.Payments == 0 {
		return "Noted has no note of a payment since " + since.Format("2 January 2006") + "."
	}
	return fmt.Sprintf(
		"Of %s since %s, code that books every message it hears books %s too many, and never hears of %s.",
		counted(total.Payments, "payment"), since.Format("2 January 2006"),
		counted(total.Doubles, "message"), counted(total.Unheard, "payment"),
	)
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// shadowRemarks describe the counts, and the facts that the notes lack.
func (d *Desk) shadowRemarks(result *shadow.Result, since, begin time.Time) []string {
	total := result.Total
	remarks := []string{
		"A double is a further message of one payment with its own message id, such as its webhook after its " +
			"IPN. The notes do not record PayPal's repeats of one message, so they are not counted: " +
			"noted_shadow_verdicts_total at the server counts every answer.",
		fmt.Sprintf("Doubles with the transaction id of an earlier message that the code hears: %d. "+
			"Code that compares transaction ids drops these.", total.SameID),
		"Never heard means that all messages of the payment came over other channels. A payment without any message " +
			"is not in the notes: compare with PayPal's report to find it.",
		"Open are payments that a receiver got and did not settle. It may have " +
			"failed, or it never settles. The notes cannot tell which. The other columns count them too.",
		"The notes do not say when the ledger was in shadow. Outside shadow these are the doubles that Noted " +
			"kept out of the books.",
	}
	if result.Full > 0 {
		remarks = append(remarks, fmt.Sprintf("%s had as many messages as a note keeps, so there may be more doubles.",
			counted(result.Full, "payment")))
	}
	if result.Others > 0 {
		remarks = append(remarks, "Not counted: "+counted(result.Others, "note")+" of other events, such as refunds.")
	}
	if begin.After(since) {
		remarks = append(remarks, "Noted's notes reach back to "+
			begin.In(d.config.Zone).Format("2 January 2006")+" only. Earlier payments are not counted.")
	}
	var channels []string
	for _, channel := range result.Channels {
		if channel == "" {
			channel = "no channel"
		}
		channels = append(channels, channel)
	}
	if len(channels) > 0 {
		remarks = append(remarks, "Messages came over: "+strings.Join(channels, ", ")+".")
	}
	return remarks
}
