package desk_test

import (
	"net/url"
	"testing"

	"github.com/donation-dedupe/noted/client/desk/week"
)

// Every page is accessible: axe finds nothing on it, in both themes, on a phone and on a
// desktop, and no page is wider than its screen.
func TestPagesAreForEverybody(t *testing.T) {
	h := newHarness(t)
	row := h.rowOf(week.Waiting)
	note := h.noteOf(week.Booked)
	forget := "/act?" + url.Values{
		"do": {
			"forget",
		},
		"ledger": {week.Ledger},
		"series": {note.GetDonation().GetSeriesId()},
		"id":     {note.GetDonationId()},
	}.Encode()
	pages := map[string]string{
		"find":      "/",
		"booked":    "/?q=" + h.cases[week.Booked],
		"differs":   "/?q=" + h.cases[week.Differs],
		"open":      "/?q=" + h.cases[week.Waiting],
		"rejected":  "/?q=" + h.cases[week.Rejected],
		"undecided": "/?q=" + h.cases[week.Undecided],
		"series":    "/?q=" + h.cases[week.Series],
		"nothing":   "/?q=9XX99999XX999999X",
		"problem":   "/?q=25.00+EUR",
		"waiting":   "/waiting",
		"audit":     "/audit",
		"redo":      "/act?do=redo&row=" + row,
		"close":     "/act?do=close&row=" + row,
		"forget":    forget,
		"missing":   "/nowhere",
	}
	for name, path := range pages {
		b := h.tab()
		b.open(path)
		b.want("Where is it?", "Does PayPal agree?") // the links to the pages
		b.onEveryDevice(name)
	}
}
