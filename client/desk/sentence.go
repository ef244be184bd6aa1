package desk

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// sentence answers for one donation. Noted's note decides. Without a note the journal
// says what happened, and the sentence never says that nothing did.
func (d *Desk) sentence(f *finding, a *donation) (tone, string) {
	heard := d.heard(a)
	switch a.note.GetState() {
	case client.StateSettled:
		return yes, "Yes: " + heard + ", " + d.booked(a) + "."
	case client.StateHeld:
		return wait, fmt.Sprintf(
			"Not yet: %s, and somebody is processing it right now. The hold ends on %s; look again then.",
			heard,
			d.when(timeOf(a.note.GetHeldUntil())),
		)
	}
	last, ok := a.open()
	switch {
	case ok && last.Donation.Outcome == inbox.Undecided:
		return unclear, fmt.Sprintf(
			"Undecided: %s, but Noted cannot say whether it was booked before: %s. Look in the books.",
			heard,
			explain(last.Donation.Reason),
		)
	case ok && (last.Donation.Outcome == inbox.Rejected || last.State == inbox.Person):
		return no, "Not booked: " + heard + ", and waits for a person. " + d.because(last.Message)
	case ok:
		return wait, "Not yet: " + heard + ", and waits. " + d.because(last.Message) + " " + d.nextTry(last)
	case a.note != nil: // open, and no message of it waits
		return no, "Not booked: " + heard + ", but its receiver gave up. The next message is " +
			"processed, but no message is expected."
	case f.notedError != nil:
		return unclear, "The inbox says: " + heard + ", " + d.booked(a) + ". Noted could not be asked."
	case a.untouched():
		return no, "No: " + heard + ", and was not processed. " + d.because(a.told[0].Message)
	}
	return unclear, "It was: " + heard + ", " + d.booked(
		a,
	) + ". Noted has no note of it any more: " + d.gone(
		f,
		a,
	) + "."
}

// gone says why Noted has no note of the donation.
func (d *Desk) gone(f *finding, a *donation) string {
	for _, t := range a.told {
		for _, act := range t.Acts {
			if act.Name == "forget" {
				return fmt.Sprintf("%s forgot it on %s, and wrote: “%s”", act.Actor, d.when(act.At), act.Reason)
			}
		}
	}
	if f.retention > 0 && time.Since(a.at()) > f.retention {
		return "it is older than the retention"
	}
	return "a person forgot it, or the store lost it. See Noted's audit"
}

// open returns the last message of a donation that still waits.
func (a *donation) open() (last told, ok bool) {
	for _, t := range a.told {
		outcome := t.Donation.Outcome
		if t.State != inbox.Done && (outcome == "" || outcome.ForPerson()) {
			last, ok = t, true
		}
	}
	return last, ok
}

// untouched reports whether the gateway finished all messages of a donation without
// asking Noted.
func (a *donation) untouched() bool {
	return len(a.told) > 0 && !slices.ContainsFunc(a.told, func(t told) bool {
		return t.State != inbox.Done || t.Donation.Outcome != "" || t.Donation.AcceptedID != ""
	})
}

// heard lists the first message of each channel: "received by IPN on …, again by webhook
// at …".
func (d *Desk) heard(a *donation) string {
	type arrival struct {
		channel string
		at      time.Time
	}
	var all []arrival
	for _, t := range a.told {
		all = append(all, arrival{t.Channel, t.ReceivedAt})
	}
	if len(all) == 0 {
		for _, s := range a.note.GetSightings() {
			at := timeOf(s.GetMessage().GetReceivedAt())
			if at.IsZero() {
				at = timeOf(s.GetSeenAt())
			}
			all = append(all, arrival{s.GetMessage().GetChannel(), at})
		}
	}
	if len(all) == 0 {
		return "noted on " + d.when(timeOf(a.note.GetNotedAt()))
	}
	const most = 3
	var b strings.Builder
	for i, each := range all {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "received by %s on %s", channelName(each.channel), d.when(each.at))
		case i < most:
			fmt.Fprintf(&b, ", again by %s %s", channelName(each.channel), d.later(all[i-1].at, each.at))
		case i == most:
			fmt.Fprintf(&b, ", and %d times more", len(all)-most)
		}
	}
	return b.String()
}

// later writes a time after another, with the day only if it is another day.
func (d *Desk) later(before, at time.Time) string {
	before, at = before.In(d.config.Zone), at.In(d.config.Zone)
	if before.YearDay() == at.YearDay() && before.Year() == at.Year() {
		return "at " + at.Format("15:04:05")
	}
	return "on " + d.when(at)
}

// booked says what the books did with a donation.
func (d *Desk) booked(a *donation) string {
	for _, t := range a.told {
		switch {
		case t.Donation.Outcome == inbox.Closed:
			for _, act := range t.Acts {
				if act.Name == "close" {
					return fmt.Sprintf("booked by hand: %s wrote “%s” on %s", act.Actor, act.Reason, d.when(act.At))
				}
			}
			return "booked by hand"
		case !t.Donation.AcceptedAt.IsZero():
			return "accepted by the books " + d.later(t.ReceivedAt, t.Donation.AcceptedAt) + answered(t.Donation)
		}
	}
	switch {
	case a.note.GetState() == client.StateSettled && len(a.told) == 0:
		return "settled by its receiver; the journal does not say when the books accepted it"
	case a.note.GetState() == client.StateSettled:
		return "settled through another receiver"
	}
	return "and the journal does not say that the books accepted it"
}

// answered is the word with which the books accepted a donation, in parentheses, if the
// journal has it.
func answered(d *inbox.Donation) string {
	if d.AcceptedAnswer == "" {
		return ""
	}
	return " (" + d.AcceptedAnswer + ")"
}

// explanations say in words why a message is not processed. The keys are the gateway's
// causes; an unknown cause is shown unchanged.
var explanations = map[string]string{
	"OCCURRED_TOO_EARLY": "it is older than Noted's notes",
	"RECEIVED_TOO_EARLY": "it came before the oldest of Noted's notes",
	"OCCURRED_TOO_LATE":  "its time is too far in the future",
	"SERIES_FULL":        "its series has more donations than a real series can have; the id may be a constant",
	"INVALID_REQUEST":    "Noted refuses the request as invalid",
	"RECEIVER_MISSING":   "the message does not say whose account it is about",
	"NOT_ALL_FIRST":      "only part of the message is new, and its listener takes a whole message or nothing",
	"off":                "the gateway has no listener for messages of its channel",
	"held":               "somebody else is processing it",
	"unknown": "the gateway does not know messages of this type; " +
		"a person should check whether it is a donation",
	"foreign":    "it is for a PayPal account that is not ours",
	"sandbox":    "it is a test from PayPal's sandbox, and the gateway takes no tests",
	"skipped":    "it has no donation",
	"unverified": "PayPal says that it did not send it",
	"other_body": "a copy came with another body; one of them may be forged",
	"internal":   "the gateway failed on it",

	"PayPal could not be asked": "PayPal could not be asked whether it sent it",
}

// explain puts a cause into words.
func explain(cause string) string {
	if text, ok := explanations[cause]; ok {
		return text
	}
	for prefix, text := range map[string]string{
		"downstream: ":     "the books did not accept it",
		"malformed: ":      "the gateway cannot read it",
		"patience ended: ": "the gateway tried it for as long as its settings allow",
	} {
		if rest, ok := strings.CutPrefix(cause, prefix); ok {
			if inner := explain(rest); prefix == "patience ended: " {
				rest = inner
			}
			return text + " (" + rest + ")"
		}
	}
	return cause
}

// because is explain as a sentence.
func (d *Desk) because(m inbox.Message) string {
	if m.Cause == "" {
		return "No try has ended yet."
	}
	return "Why: " + explain(m.Cause) + "."
}
