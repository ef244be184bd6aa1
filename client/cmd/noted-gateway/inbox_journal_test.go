package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
	"github.com/donation-dedupe/noted/server/servertest"
)

// The notes of a store are lost. The program in server/BACKUP.md turns the journal into
// requests that make them again: of the donations that are booked, and of no other.
func TestJournalIsNotedAgain(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Fatal("jq is not installed; on Debian: apt-get install jq")
	}
	page, err := os.ReadFile("../../../server/BACKUP.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?s)inbox export -since AT \| jq -c '(.*?)'`).FindSubmatch(page)
	if found == nil {
		t.Fatal("server/BACKUP.md does not show how the journal is read")
	}
	d := newDesk(t)
	arrived := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	booked := d.keep("BOOKED", arrived, inbox.Waiting, "downstream: it answered 500")
	also := d.keep("ALSO", arrived, inbox.Person, "")
	d.keep("WAITS", arrived, inbox.Waiting, "downstream: it answered 500")
	if _, err := d.noted.Settle(t.Context(), d.note("ALSO").GetReceipt(), ""); err != nil {
		t.Fatal(err)
	}
	d.run(0, "close", booked, also, "-reason", "booked by hand") // closed, and a duplicate

	stdout, _ := d.run(0, "export", "-since", arrived.Add(-time.Minute).Format(time.RFC3339))
	jq := exec.CommandContext(t.Context(), "jq", "-c", string(found[1]))
	jq.Stdin = strings.NewReader(stdout)
	output, err := jq.Output()
	if err != nil {
		t.Fatalf("jq: %v", err)
	}
	empty := servertest.New(t)
	noted, err := client.New(empty.Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noted.Close() })
	lines := bytes.Split(bytes.TrimSpace(output), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("the journal gives %d requests, want 2:\n%s", len(lines), output)
	}
	for _, line := range lines {
		request := &client.NoteRequest{}
		if err := protojson.Unmarshal(line, request); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if at := request.GetMessage().GetReceivedAt().AsTime(); !at.Equal(arrived) || request.GetDonation().GetLedger() != "live" {
			t.Errorf("%s: received at %v, want %v, in the ledger live", line, at, arrived)
		}
		for _, want := range []client.Verdict{client.First, client.Duplicate} {
			if answer, err := noted.Note(t.Context(), request); err != nil || answer.GetVerdict() != want {
				t.Errorf("%s: %v, %v, want %v", line, answer.GetVerdict(), err, want)
			}
		}
	}
}
