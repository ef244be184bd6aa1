package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/servertest"
)

const stormLedger = "paypal-live"

// paid is a donation that a receiver of the storm has finished with: its messages, and
// what Noted said.
type paid struct {
	ipn, webhook *notedv1.NoteDonationRequest
	id, receipt  string
	fate         string // settled, released, or held by a receiver that is slow
}

// A storm is a group of receivers that take donations from both channels, one after the
// other, in series that they share.
type storm struct {
	t     *testing.T
	calls notedv1.DedupeServiceClient
	name  string

	mu    sync.Mutex
	books []paid
	stop  chan struct{}
	all   sync.WaitGroup
}

func begin(t *testing.T, server *servertest.Server, name string) *storm {
	s := &storm{t: t, calls: notedv1.NewDedupeServiceClient(server.Conn()), name: name, stop: make(chan struct{})}
	for receiver := range 4 {
		s.all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-s.stop:
					return
				default:
					s.take(receiver, i)
				}
			}
		})
	}
	return s
}

func (s *storm) end() []paid {
	close(s.stop)
	s.all.Wait()
	return s.books
}

// so far the donations that are finished.
func (s *storm) soFar() []paid {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]paid(nil), s.books...)
}

// await waits until so many donations are finished.
func (s *storm) await(n int) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); len(s.soFar()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("the storm %s has %d donations after a minute, want %d", s.name, len(s.soFar()), n)
		}
	}
}

func (s *storm) message(receiver, i int, channel string) *notedv1.NoteDonationRequest {
	id := fmt.Sprintf("%s-%d-%d", s.name, receiver, i)
	return &notedv1.NoteDonationRequest{
		Donation: &notedv1.Donation{
			Ledger: stormLedger, SeriesId: fmt.Sprintf("I-%d-%d", receiver, i%50), Amount: "25.00", CurrencyCode: "EUR",
			TransactionId: "T" + id, OccurredAt: timestamppb.New(time.Now().Truncate(time.Second)),
		},
		Message: &notedv1.Message{Channel: channel, Id: channel + "-" + id},
		Hold:    durationpb.New(10 * time.Minute), RequestId: channel + "-" + id,
	}
}

func (s *storm) take(receiver, i int) {
	ctx := context.Background()
	p := paid{fate: []string{"settled", "settled", "released", "held"}[i%4]}
	p.ipn, p.webhook = s.message(receiver, i, "ipn"), s.message(receiver, i, "webhook")
	first, err := s.calls.NoteDonation(ctx, p.ipn)
	if err != nil || first.GetVerdict() != notedv1.Verdict_VERDICT_FIRST {
		s.t.Errorf("a new donation of %s is %v, %v", s.name, first.GetVerdict(), err)
		return
	}
	p.id, p.receipt = first.GetNote().GetDonationId(), first.GetReceipt()
	if second, err := s.calls.NoteDonation(ctx, p.webhook); err != nil || second.GetVerdict() != notedv1.Verdict_VERDICT_HELD {
		s.t.Errorf("the other channel of %s is %v, %v", s.name, second.GetVerdict(), err)
		return
	}
	switch p.fate {
	case "settled":
		_, err = s.calls.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: p.receipt})
	case "released":
		_, err = s.calls.ReleaseDonation(ctx, &notedv1.ReleaseDonationRequest{Receipt: p.receipt})
	}
	if err != nil {
		s.t.Errorf("%s: %v", p.fate, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books = append(s.books, p)
}

// notesOf are all notes of the storm's ledger, by id.
func notesOf(t *testing.T, server *servertest.Server) map[string]*notedv1.Note {
	t.Helper()
	notes := map[string]*notedv1.Note{}
	request := &notedv1.ListDonationsRequest{Ledger: stormLedger, PageSize: 500}
	for {
		page, err := notedv1.NewDedupeServiceClient(server.Conn()).ListDonations(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, note := range page.GetNotes() {
			notes[note.GetDonationId()] = note
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return notes
		}
	}
}

// again tells a server of both messages of a donation once more, as PayPal does, with new
// request ids. It returns the first answer.
func again(t *testing.T, server *servertest.Server, p paid) (verdicts [2]notedv1.Verdict, first *notedv1.NoteDonationResponse) {
	t.Helper()
	calls := notedv1.NewDedupeServiceClient(server.Conn())
	for i, m := range []*notedv1.NoteDonationRequest{p.webhook, p.ipn} {
		m = proto.CloneOf(m)
		m.RequestId = ""
		reply, err := calls.NoteDonation(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if reply.GetNote().GetDonationId() != p.id {
			t.Errorf("the donation %s (%s) is now %s", p.id, p.fate, reply.GetNote().GetDonationId())
		}
		verdicts[i] = reply.GetVerdict()
		if i == 0 {
			first = reply
		}
	}
	return verdicts, first
}

// holds checks that nothing of the books is lost or doubled: PayPal repeats each message,
// and receivers go on where they were.
func holds(t *testing.T, server *servertest.Server, books []paid) {
	t.Helper()
	const duplicate, held, first = notedv1.Verdict_VERDICT_DUPLICATE, notedv1.Verdict_VERDICT_HELD, notedv1.Verdict_VERDICT_FIRST
	calls := notedv1.NewDedupeServiceClient(server.Conn())
	for _, p := range books {
		want := map[string][2]notedv1.Verdict{
			"settled": {duplicate, duplicate}, "held": {held, held}, "released": {first, held},
		}[p.fate]
		got, reply := again(t, server, p)
		if got != want {
			t.Errorf("the messages of a %s donation are %v, want %v", p.fate, got, want)
			continue
		}
		receipt := p.receipt
		if p.fate == "released" {
			if receipt = reply.GetReceipt(); reply.GetNote().GetAttempt() != 2 {
				t.Errorf("the attempt after a release is %d, want 2", reply.GetNote().GetAttempt())
			}
		}
		if _, err := calls.SettleDonation(t.Context(), &notedv1.SettleDonationRequest{Receipt: receipt}); err != nil {
			t.Errorf("settling a donation that was %s: %v", p.fate, err)
		}
		if got, _ := again(t, server, p); got != [2]notedv1.Verdict{duplicate, duplicate} {
			t.Errorf("the messages of a settled donation are %v", got)
		}
	}
}

// runs runs noted to its end, and returns what it says.
func runs(t *testing.T, args ...string) (code int, said string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = run(t.Context(), append([]string{"noted"}, args...), nil, &out, &out)
	return exitCode(err), out.String(), err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	code, said, err := runs(t, args...)
	if code != 0 {
		t.Fatalf("noted %v exits with %d: %v\n%s", args, code, err, said)
	}
	return said
}

// Donations go on while their notes are exported, and while they are imported into
// another store, where the receivers then continue. No donation that was answered before
// the export is lost or doubled. Then that store is emptied, and the export brings the
// notes back, with the messages since noted again from the receivers' journal.
func TestMoveUnderStorm(t *testing.T) {
	from, to := redistest.Start(t), redistest.Start(t)
	file := filepath.Join(t.TempDir(), "noted.jsonl")
	here := servertest.Start(t, servertest.Options{Redis: from.URL()})
	old := begin(t, here, "old")
	old.await(400)
	before := old.soFar()
	mustRun(t, "export", "-redis", from.URL(), file)
	after := len(old.soFar())
	old.end()
	wantNotes := notesOf(t, here)

	there := servertest.Start(t, servertest.Options{Redis: to.URL()})
	young := begin(t, there, "young")
	young.await(100)
	mustRun(t, "import", "-redis", to.URL(), file)
	young.await(len(young.soFar()) + 100)
	books := young.end()
	t.Logf("%d donations before the export, %d while it ran, %d in the new store", len(before), after-len(before), len(books))

	gotNotes := notesOf(t, there)
	for _, p := range before {
		if diff := cmp.Diff(wantNotes[p.id], gotNotes[p.id], protocmp.Transform()); diff != "" {
			t.Fatalf("a note has changed (-exported +imported):\n%s", diff)
		}
	}
	holds(t, there, append(before, books...))
	if said := mustRun(t, "import", "-redis", to.URL(), file); !strings.Contains(said, ": 0 notes added, 0 changed") {
		t.Errorf("importing a second time says %s", said)
	}

	yesterday := filepath.Join(t.TempDir(), "yesterday.jsonl")
	mustRun(t, "export", "-redis", to.URL(), yesterday)
	since := begin(t, there, "since")
	since.await(100)
	journal := since.end()
	to.Do("FLUSHALL")
	mustRun(t, "import", "-redis", to.URL(), yesterday)
	calls := notedv1.NewDedupeServiceClient(there.Conn())
	for i, p := range journal {
		if p.fate != "settled" {
			continue // it is not booked, and its next message is FIRST
		}
		m := proto.CloneOf(p.ipn)
		m.RequestId, m.Hold, m.Message.ReceivedAt = "", nil, p.ipn.GetDonation().GetOccurredAt()
		reply, err := calls.NoteDonation(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		journal[i].id = reply.GetNote().GetDonationId() // a new one: only an export keeps ids
	}
	for _, p := range append(before, books...) {
		if got, _ := again(t, there, p); got != [2]notedv1.Verdict{2, 2} {
			t.Errorf("after the flush the messages of a donation of the export are %v", got)
		}
	}
	for _, p := range journal {
		if p.fate != "settled" {
			continue
		}
		if got, _ := again(t, there, p); got != [2]notedv1.Verdict{2, 2} {
			t.Errorf("after the flush the messages of a donation of the journal are %v", got)
		}
	}
}

// A file that is not whole is refused before anything is imported.
func TestImportRefusesBadFiles(t *testing.T) {
	redis := redistest.Start(t)
	server := servertest.Start(t, servertest.Options{Redis: redis.URL()})
	s := begin(t, server, "some")
	s.await(100)
	s.end()
	dir := t.TempDir()
	whole := filepath.Join(dir, "noted.jsonl")
	mustRun(t, "export", "-redis", redis.URL(), whole)
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(whole); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the export: %v, %v", info.Mode(), err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty := redistest.Start(t)
	for _, c := range []struct {
		name, file, want string
		args             []string
	}{
		{"half a file", write("half", string(text[:len(text)/2])), "it was cut short; nothing was imported", nil},
		{"without its end", write("noend", strings.Join(lines[:len(lines)-2], "")), "it was cut short", nil},
		{"without a line", write("less", strings.Join(append(lines[:1:1], lines[2:]...), "")), "it was changed", nil},
		{"with a changed id", write("changed", strings.Replace(string(text), "I-0-", "I-9-", 1)), "it was changed", nil},
		{
			"of a later form", write("form", strings.Replace(string(text), `"noted-export":1`, `"noted-export":2`, 1)),
			"import it with that release or a later one", nil,
		},
		{
			"of a later format", write("format", strings.Replace(string(text), `"notes_format":"1"`, `"notes_format":"2"`, 1)),
			"with notes of format 2", nil,
		},
		{"no export", write("none", "{}\n"), "its first line is not that of an export", nil},
		{
			"of another ledger", whole, `it has no series of the ledger "paypal-sandbox", and has "paypal-live"`,
			[]string{"-ledger", "paypal-sandbox"},
		},
		{"no file", filepath.Join(dir, "nowhere"), "no such file", nil},
	} {
		args := append([]string{"import", "-redis", empty.URL()}, c.args...)
		code, _, err := runs(t, append(args, c.file)...)
		if code != 1 || !strings.Contains(errText(err), c.want) {
			t.Errorf("%s: import exits with %d and says %v, want %q", c.name, code, err, c.want)
		}
		if left := empty.Do("DBSIZE"); left != "0" {
			t.Errorf("%s: the import has left %s keys", c.name, left)
		}
	}
	said := mustRun(t, "import", "-redis", empty.URL(), "-partial", filepath.Join(dir, "half"))
	if !strings.Contains(said, "is not whole") || strings.Contains(said, ": 0 notes added") {
		t.Errorf("importing half a file says %s", said)
	}

	evicting := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	if code, _, err := runs(t, "import", "-redis", evicting.URL(), whole); code != 1 ||
		!strings.Contains(errText(err), "evicts keys") {
		t.Errorf("importing into a Redis that evicts exits with %d: %v", code, err)
	}
	empty.Do("FLUSHALL")
	empty.Do("CONFIG SET maxmemory 1")
	code, _, err := runs(t, "import", "-redis", empty.URL(), whole)
	if code != 1 || !strings.Contains(errText(err), "importing the file again goes on") {
		t.Errorf("importing into a full Redis exits with %d: %v", code, err)
	}
	empty.Do("CONFIG SET maxmemory 0")
	mustRun(t, "import", "-redis", empty.URL(), whole)

	empty.Do(`SET "noted:{paypal-live I-FOREIGN}" x`)
	code, _, err = runs(t, "export", "-redis", empty.URL(), filepath.Join(dir, "foreign"))
	if code != 1 || !strings.Contains(errText(err), "1 series could not be read, and are not in the file") {
		t.Errorf("exporting an unreadable series exits with %d: %v", code, err)
	}
	said = mustRun(t, "import", "-redis", empty.URL(), filepath.Join(dir, "foreign"))
	if !strings.Contains(said, "1 series are missing in ") {
		t.Errorf("importing that file says %s", said)
	}
	for _, args := range [][]string{{"export"}, {"export", "-ledger"}, {"import", "-redis", "redis://127.0.0.1:1"}} {
		if code, _, err := runs(t, args...); code != 2 {
			t.Errorf("noted %v exits with %d: %v, want 2", args, code, err)
		}
	}
	old, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	code, _, err = runs(t, "export", "-redis", "redis://127.0.0.1:1", whole)
	if now, _ := os.ReadFile(whole); code != 1 || string(now) != string(old) {
		t.Errorf("an export that fails exits with %d: %v, and the older one is changed: %v", code, err, string(now) != string(old))
	}
}
