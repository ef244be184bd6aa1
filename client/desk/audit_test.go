package desk_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
)

// An admin sees the audit, and downloads it as a table that no spreadsheet runs.
func TestAudit(t *testing.T) {
	h := newHarness(t)
	row := h.rowOf(week.Waiting)
	if err := h.box.Redo(t.Context(), row, time.Now(), "ben", "=1+1"); err != nil {
		t.Fatal(err)
	}
	v := h.visitor()
	status, page := v.get("/audit")
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	wantAll(
		t,
		"the page",
		text(page),
		"ben asked for another try =1+1 "+row,
		"clerk closed it by hand booked by hand, entry 4711",
	)
	_, table := v.get("/audit?as=csv")
	wantAll(t, "the table", table, "at,who,act,row,reason\n", ",ben,redo,"+row+",'=1+1\n", `,clerk,close,`)
	if lines := strings.Count(table, "\n"); lines != 3 {
		t.Errorf("the table has %d lines:\n%s", lines, table)
	}

	none := newHarness(t, func(c *desk.Config) { c.Inbox = nil })
	_, page = none.visitor().get("/audit")
	wantAll(t, "a desk without an inbox", text(page), "This desk has no inbox")
}
