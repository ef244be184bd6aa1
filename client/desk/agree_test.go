package desk_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk"
	"github.com/donation-dedupe/noted/client/desk/week"
)

// report writes PayPal's report of the week. change may change or drop the row of a
// transaction.
func (h *harness) report(change func(transaction, amount string) (string, bool)) string {
	h.t.Helper()
	var b strings.Builder
	b.WriteString("Date,Time,Name,Type,Status,Currency,Gross,From Email Address,Transaction ID\n")
	for note, err := range h.noted.List(h.t.Context(), &client.ListRequest{Ledger: week.Ledger}) {
		if err != nil {
			h.t.Fatal(err)
		}
		about := note.GetDonation()
		kind, amount := "Subscription Payment", about.GetAmount()
		if about.GetEvent() == client.EventRefund {
			kind, amount = "Payment Refund", "-"+amount
		}
		amount, keep := change(about.GetTransactionId(), amount)
		if !keep {
			continue
		}
		fmt.Fprintf(
			&b,
			"%s,10:00,Ann Donor,%s,Completed,%s,%s,ann@example.org,%s\n",
			about.GetOccurredAt().
				AsTime().
				Format(time.DateOnly),
			kind,
			about.GetCurrencyCode(),
			amount,
			about.GetTransactionId(),
		)
	}
	return b.String()
}

// upload posts a report.
func (v *visitor) upload(report string, fields ...string) (status int, header http.Header, page string) {
	v.h.t.Helper()
	_, form := v.get("/agree")
	values := fill(form, fields...)
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	for name := range values {
		if err := parts.WriteField(name, values.Get(name)); err != nil {
			v.h.t.Fatal(err)
		}
	}
	file, err := parts.CreateFormFile("report", "Download.CSV")
	if err != nil {
		v.h.t.Fatal(err)
	}
	_, _ = io.WriteString(file, report) // to memory
	parts.Close()
	ctx, cancel := context.WithTimeout(v.h.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.h.desk.URL+"/agree", &body)
	if err != nil {
		v.h.t.Fatal(err)
	}
	request.Header.Set("Content-Type", parts.FormDataContentType())
	response, err := v.client.Do(request)
	if err != nil {
		v.h.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		v.h.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

// A person compares a report by keyboard and without scripts. All roles may use the page.
func TestAgreeByKeyboardWithoutScript(t *testing.T) {
	h := newHarness(t)
	path := filepath.Join(t.TempDir(), "Download.CSV")
	report := h.report(func(transaction, amount string) (string, bool) {
		switch transaction {
		case h.cases[week.Differs]:
			return "12.00", true
		case h.cases[week.Booked]:
			return "", false
		}
		return amount, true
	}) + time.Now().Format(time.DateOnly) + ",10:00,Ben Donor,Donation Payment,Completed,EUR,4.00," +
		"ben@example.org,9XX99999XX999999X\n"
	if err := os.WriteFile(path, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	b := h.tab()
	b.open("/agree")
	b.onEveryDevice("agree")
	b.withoutScript()
	b.open("/agree")
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#report"), []string{path}))
	b.tabTo("the button", "form.ask button")
	b.press(kb.Enter)
	b.want(
		"No: ",
		"At PayPal, and missing here: 1",
		"9XX99999XX999999X",
		"Amounts differ: 1",
		"12.00 EUR",
		"12.50 EUR",
		"Here, but not in the report: 1",
		h.cases[week.Booked],
		"Here, but not booked yet: 4",
		"Noted's notes reach back to",
	)
	if strings.Contains(b.says(), "Donor") {
		t.Error("the page shows a donor's name")
	}
	b.onEveryDevice("agree-answer")
	if log := h.log.String(); strings.Contains(log, "Donor") || strings.Contains(log, "@") {
		t.Errorf("the log has a donor: %s", log)
	}
}

// The table has all findings. A wrong report and a wrong form get an error, and a looker
// may compare.
func TestAgree(t *testing.T) {
	h := newHarness(t, withUsers(usersFile(t)))
	v := h.visitor()
	if status, _ := v.login("looker1", password, "/agree"); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	all := func(_, amount string) (string, bool) { return amount, true }
	status, header, table := v.upload(h.report(all), "as", "csv")
	if status != http.StatusOK || header.Get("Content-Disposition") != `attachment; filename="noted-and-paypal.csv"` {
		t.Fatalf("status %d, %v", status, header)
	}
	if got := strings.Count(table, "\nopen,"); got != 4 || strings.Count(table, "\n") != 5 {
		t.Errorf("the table is\n%s", table)
	}
	settled := func(transaction, amount string) (string, bool) {
		for _, open := range []string{week.Waiting, week.Rejected, week.Held, week.Crashed} {
			if transaction == h.cases[open] {
				return "", false
			}
		}
		return amount, true
	}
	status, _, page := v.upload(h.report(settled), "as", "page")
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	wantAll(t, "the answer", text(page), "Yes: all ", "are here, once, with PayPal's amounts.")

	status, _, page = v.upload("Name,Price\nA,1\n")
	if status != http.StatusUnprocessableEntity {
		t.Errorf("status %d", status)
	}
	wantAll(t, "the answer to another file", text(page), `has no column "date"`, "download PayPal's activity report")
	status, _, page = v.upload("Date,Currency,Gross,Transaction ID\n1/2/2026,EUR,1.00,T\n", "order", "")
	wantAll(t, "the answer to an unclear order", text(page), "say which comes first, the day or the month")
	if status != http.StatusUnprocessableEntity {
		t.Errorf("status %d", status)
	}
	if status, _, _ = v.upload(h.report(all), "token", "another"); status != http.StatusForbidden {
		t.Errorf("without the token the status is %d", status)
	}
	h.server.Stop()
	if status, _, page = v.upload(
		"Date,Currency,Gross,Transaction ID\n2026-11-01,EUR,1.00,T\n",
	); status != http.StatusBadGateway {
		t.Errorf("without Noted the status is %d: %s", status, text(page))
	}
}

// BenchmarkAgree compares a report of 100,000 rows with as many notes in a real Redis.
func BenchmarkAgree(b *testing.B) {
	const rows = 100_000
	h := newHarness(b, func(c *desk.Config) { c.Ledger = "bench" })
	at := time.Now().Add(-time.Hour)
	requests := func(yield func(*client.NoteRequest) bool) {
		for i := range rows {
			id := fmt.Sprintf("T%016d", i)
			if !yield(&client.NoteRequest{Donation: &client.Donation{
				Ledger: "bench", SeriesId: id, TransactionId: id, Amount: "25.00", CurrencyCode: "EUR",
				OccurredAt: timestamppb.New(at),
			}, Message: &client.Message{Channel: "ipn", Id: id}}) {
				return
			}
		}
	}
	for _, err := range h.noted.Notes(b.Context(), requests) {
		if err != nil {
			b.Fatal(err)
		}
	}
	var report strings.Builder
	report.WriteString("Date,Name,Type,Status,Currency,Gross,Transaction ID\n")
	for i := range rows {
		fmt.Fprintf(&report, "%s,A Donor,Donation Payment,Completed,EUR,25.00,T%016d\n", at.Format(time.DateOnly), i)
	}
	v := h.visitor()
	b.SetBytes(int64(report.Len()))
	for b.Loop() {
		if status, _, page := v.upload(
			report.String(),
			"as",
			"page",
		); !strings.Contains(
			text(page),
			"Yes: all 100000 ",
		) {
			b.Fatalf("status %d: %s", status, text(page))
		}
	}
}
