package soak_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestTwoReleases runs two releases of noted, each a process, on one Redis, as during an
// upgrade of a fleet. Neither can tell the work of the other from its own.
func TestTwoReleases(t *testing.T) {
	if testing.Short() {
		t.Skip("two releases take a minute to build")
	}
	u := newUpgrade(t, firstRelease, thisRelease)
	u.tellApart()
	for _, test := range []struct {
		name  string
		first int // the server that does the odd steps
	}{{"the first release begins", 0}, {"the present release begins", 1}} {
		t.Run(test.name, func(t *testing.T) {
			p := &pair{t: t, upgrade: u, ledger: fmt.Sprint("upgrade-", test.first), turn: test.first}
			p.live()
			p.hundred()
			p.streams()
			p.pages()
		})
	}
	u.beatOn()
	u.quiet()
}

// An upgrade is a group of Noteds on one Redis, which may be of different releases. A
// Noted that wrongly noticed a loss would refuse every call.
type upgrade struct {
	t        *testing.T
	redis    *redistest.Server
	noted    []*noted
	clients  []notedv1.DedupeServiceClient
	releases []*release
}

func newUpgrade(t *testing.T, releases ...*release) *upgrade {
	u := &upgrade{t: t, redis: redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"), releases: releases}
	for _, r := range releases {
		n := newNoted(t, r.build(t), "-redis", u.redis.URL(), "-on-loss", "refuse")
		u.noted, u.clients = append(u.noted, n), append(u.clients, connect(t, n.addr))
	}
	for _, n := range u.noted {
		await(t, "noted is ready", n.ready)
	}
	return u
}

// noteScript is the digest of a release's note script, by which Redis knows it.
func (r *release) noteScript(t *testing.T) string {
	t.Helper()
	read := func(name string) string {
		text, err := r.read(name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var library strings.Builder
	for _, name := range r.library {
		library.WriteString(read(name))
	}
	sum := sha1.Sum([]byte(store.Assemble(library.String(), read("note.lua"))))
	return hex.EncodeToString(sum[:])
}

// loaded tells whether Redis has seen the note script of the first release, and that of
// this one: "[1 0]".
func (u *upgrade) loaded() string {
	u.t.Helper()
	return u.redis.Tell("SCRIPT", "EXISTS", firstRelease.noteScript(u.t), thisRelease.noteScript(u.t))
}

// tellApart checks that the two servers run different scripts. Otherwise the test would
// prove nothing.
func (u *upgrade) tellApart() {
	u.t.Helper()
	for i, want := range []string{"[1 0]", "[1 1]"} {
		if _, err := u.clients[i].NoteDonation(
			u.t.Context(),
			&notedv1.NoteDonationRequest{Donation: &notedv1.Donation{SeriesId: "I-1"}},
		); err != nil {
			u.t.Fatal(err)
		}
		if got := u.loaded(); got != want {
			u.t.Fatalf(
				"after a note by the %s release Redis knows of the first release's script and of this one's %s, "+
					"want %s",
				u.releases[i].name,
				got,
				want,
			)
		}
	}
}

// beatOn waits until both servers have beaten several times, each after the other.
func (u *upgrade) beatOn() {
	u.t.Helper()
	beats := func() int {
		words := strings.Fields(u.redis.Tell("GET", "noted:{epoch}"))
		if len(words) < 3 {
			u.t.Fatalf("the mark of the epoch is %q", words)
		}
		n, err := strconv.Atoi(words[2])
		if err != nil {
			u.t.Fatal(err)
		}
		return n
	}
	enough := beats() + 6
	await(u.t, "six more beats", func() bool { return beats() >= enough })
}

// quiet checks the logs of the servers, and that they are still ready.
func (u *upgrade) quiet() {
	u.t.Helper()
	for i, n := range u.noted {
		for _, line := range n.troubles() {
			u.t.Errorf("noted %d: %s", i, line)
		}
		if !n.ready() {
			u.t.Errorf("noted %d is not ready any more:\n%s", i, n.said())
		}
	}
}

// TestTwoReleasesUnderLoad upgrades each Noted to this release, and takes one of them
// back to the first release, while receivers note and settle through both.
func TestTwoReleasesUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("two releases take a minute to build")
	}
	u := newUpgrade(t, firstRelease, firstRelease)
	r := &receivers{t: t, upgrade: u, books: newBooks()}
	thisRelease.build(t) // before the receivers start
	finish := r.begin(8)
	r.goOn("[1 0]")
	for _, step := range []struct {
		noted int
		to    *release
		want  string // the releases whose scripts Redis must be asked to run, the first and this one
	}{
		{0, thisRelease, "[1 1]"},
		{1, thisRelease, "[0 1]"},
		{0, firstRelease, "[1 1]"},
	} {
		n := u.noted[step.noted]
		n.end(syscall.SIGTERM)
		n.program, u.releases[step.noted] = step.to.build(t), step.to
		n.start()
		await(t, "noted is ready", n.ready)
		r.goOn(step.want)
	}
	finish()
	u.quiet()

	donations := int(r.donations.Load())
	t.Logf("%d donations, %d calls asked again", donations, r.again.Load())
	if lost, doubled := r.books.wrongs(
		donations,
	); lost != 0 || doubled != 0 || r.books.again != 0 || r.books.late != 0 ||
		len(r.books.problems) > 0 {
		t.Errorf(
			"of %d donations %d are lost and %d doubled, %d processed once more under their id, %d too late; want "+
				"none: %q",
			donations,
			lost,
			doubled,
			r.books.again,
			r.books.late,
			r.books.problems,
		)
	}
	r.compare(donations)
}

// receivers each process one donation after the other. Messages of both channels come at
// once.
type receivers struct {
	t *testing.T
	*upgrade
	books     *books
	donations atomic.Int64
	answered  [2]atomic.Int64 // verdicts of each server
	again     atomic.Int64    // calls that had no answer
}

// begin starts n receivers; finish waits until all donations that they have begun are
// settled.
func (r *receivers) begin(n int) (finish func()) {
	var working sync.WaitGroup
	var enough atomic.Bool
	for range n {
		working.Go(func() {
			for !enough.Load() && !r.t.Failed() {
				payment := int(r.donations.Add(1)) - 1
				var both sync.WaitGroup
				both.Go(func() { r.receive(payment, "ipn", payment%2) })
				both.Go(func() { r.receive(payment, "webhook", (payment+1)%2) })
				both.Wait()
			}
		})
	}
	finish = func() { enough.Store(true); working.Wait() }
	r.t.Cleanup(finish)
	return finish
}

// goOn waits until each server has given many more verdicts, and checks that these came
// from the note scripts of the releases that should run, and of no other.
func (r *receivers) goOn(want string) {
	r.t.Helper()
	if got := r.redis.Tell("SCRIPT", "FLUSH"); got != "OK" { // so that Redis knows only scripts that run from now on
		r.t.Fatalf("SCRIPT FLUSH: %q", got)
	}
	for i := range r.answered {
		enough := r.answered[i].Load() + 50
		await(
			r.t,
			fmt.Sprintf("noted %d of the %s release has given fifty verdicts more", i, r.releases[i].name),
			func() bool { return r.answered[i].Load() >= enough || r.t.Failed() },
		)
	}
	if got := r.loaded(); got != want {
		r.t.Fatalf(
			"Redis was asked to run the note script of the first release and of this one: %s, want %s",
			got,
			want,
		)
	}
}

// receive handles a message until PayPal could be answered 200. It notes the donation at
// one server and settles it at the other.
func (r *receivers) receive(payment int, channel string, at int) {
	message := &notedv1.Message{Channel: channel, Id: fmt.Sprint(payment)}
	donation := &notedv1.Donation{
		Ledger:        ledger,
		SeriesId:      fmt.Sprint("I-", payment),
		OccurredAt:    timestamppb.New(pairPaid),
		Amount:        "5.00",
		CurrencyCode:  "EUR",
		TransactionId: fmt.Sprint(channel, payment),
	}
	for try := 0; !r.t.Failed(); try++ {
		request := fmt.Sprint(payment, channel, try)
		var told *notedv1.NoteDonationResponse
		at = r.ask(at, "note "+request, func(ctx context.Context, c notedv1.DedupeServiceClient) (err error) {
			told, err = c.NoteDonation(
				ctx,
				&notedv1.NoteDonationRequest{
					Donation:  donation,
					Message:   message,
					Hold:      durationpb.New(5 * time.Minute),
					RequestId: request,
				},
			)
			return err
		})
		r.answered[at].Add(1)
		id, ids := told.GetNote().GetDonationId(), r.books.ids(payment)
		switch told.GetVerdict() {
		case notedv1.Verdict_VERDICT_FIRST:
			r.books.book(payment, id, told.GetNote().GetAttempt(), request)
			r.ask(1-at, "settle "+request, func(ctx context.Context, c notedv1.DedupeServiceClient) error {
				answered, err := c.SettleDonation(ctx, &notedv1.SettleDonationRequest{Receipt: told.GetReceipt()})
				if err == nil &&
					(answered.GetNote().GetState() != notedv1.State_STATE_SETTLED || answered.GetNote().GetDonationId() != id) {
					r.t.Errorf("settling %s: %v", id, answered.GetNote())
				}
				return err
			})
			return
		case notedv1.Verdict_VERDICT_DUPLICATE:
			if len(ids) != 1 || ids[0] != id {
				r.t.Errorf(
					"message %s of payment %d is a duplicate of donation %s, and the books have it as %q",
					channel,
					payment,
					id,
					ids,
				)
			}
			return
		}
		sleep(r.t.Context(), 20*time.Millisecond) // held: PayPal comes again
	}
}

// ask makes a call at one of the two servers. If that server is away, or the outcome is
// unknown, it asks the other. It returns the server that answered. A refusal fails the
// test.
func (r *receivers) ask(at int, what string, call func(context.Context, notedv1.DedupeServiceClient) error) int {
	for began := time.Now(); ; at = 1 - at {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := call(ctx, r.clients[at])
		cancel()
		if err == nil {
			return at
		}
		if code := status.Code(
			err,
		); code != codes.Unavailable && code != codes.DeadlineExceeded ||
			time.Since(began) > 30*time.Second {
			r.t.Errorf("%s by server %d: %v", what, at, err)
			return at
		}
		r.again.Add(1)
		sleep(r.t.Context(), 10*time.Millisecond)
	}
}

// compare compares the listing of each server with the books.
func (r *receivers) compare(donations int) {
	for i, client := range r.clients {
		listed := 0
		for token, more := "", true; more; more = token != "" {
			answered, err := client.ListDonations(
				r.t.Context(),
				&notedv1.ListDonationsRequest{Ledger: ledger, PageSize: 1000, PageToken: token},
			)
			if err != nil {
				r.t.Fatalf("listing at server %d: %v", i, err)
			}
			for _, note := range answered.GetNotes() {
				listed++
				payment, _ := strconv.Atoi(strings.TrimPrefix(note.GetDonation().GetSeriesId(), "I-"))
				if ids := r.books.ids(
					payment,
				); len(ids) != 1 || ids[0] != note.GetDonationId() || note.GetState() != notedv1.State_STATE_SETTLED ||
					len(note.GetSightings()) != 2 {
					r.t.Errorf("payment %d is in the books as %q, and listed as %v", payment, ids, note)
				}
			}
			token = answered.GetNextPageToken()
		}
		if listed != donations {
			r.t.Errorf("server %d lists %d notes, want one for each of %d donations", i, listed, donations)
		}
	}
}

// await waits for a condition, and ends the test if it does not come.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 30s still not: %s", what)
		}
	}
}
