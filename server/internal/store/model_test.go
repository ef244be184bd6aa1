package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/donation-dedupe/noted/server/internal/embedded"
	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestModel compares the store with the model over random steps of every kind, on so few
// series that the steps meet. NOTED_SEED repeats a run.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("NOTED_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	counts, ran := map[string]int{}, &store.Ran{}
	for run := range uint64(4) {
		t.Run(fmt.Sprint(run), func(t *testing.T) { newWalk(t, seed+run, counts, ran).run(3000, randomRequest) })
	}
	t.Run("crowded", func(t *testing.T) { newWalk(t, seed, counts, ran).run(3000, crowdedRequest) })
	t.Run("clock set back", func(t *testing.T) {
		w := newWalk(t, seed, counts, ran)
		w.setsBack = true
		w.run(2000, func(random *rand.Rand, m *model.Model) model.Request {
			r := randomRequest(random, m)
			// No note may be forgotten here: the contract does not say what happens to a
			// forgotten note when the clock is set back before its end.
			r.Rules.Retention, r.Rules.SeriesLimit = 1000*time.Hour, 512
			return r
		})
	})
	t.Run("lines without extras", func(t *testing.T) {
		newWalk(t, seed, counts, ran).run(2000, func(random *rand.Rand, m *model.Model) model.Request {
			r := randomRequest(random, m)
			// Only such a note can be left without a table.
			r.Rules.Retention, r.Rules.SeriesLimit = 45*24*time.Hour, 512
			if random.IntN(4) > 0 {
				r.Hold = 0
			}
			return r
		})
	})
	ran.WantAll(t, "beat")
	for _, must := range []string{
		"verdict 1 by 1", "verdict 1 by 2", "verdict 1 by 6", "verdict 2 by 3", "verdict 2 by 4", "verdict 2 by 5",
		"verdict 3 by 3", "verdict 3 by 4", "verdict 3 by 5", "spared", "contradicted", "set back", "forgotten",
		"note: " + store.ErrRequestReused.Error(), "note: " + store.ErrTooEarly.Error(), "note: " + store.ErrTooLate.Error(),
		"note: " + store.ErrSeriesFull.Error(),
		"settle: <nil>", "release: <nil>", "extend: <nil>", "settle: " + store.ErrHoldLost.Error(),
		"settle: " + store.ErrSettledByAnother.Error(), "settle: " + store.ErrHoldReleased.Error(),
		"release: " + store.ErrAlreadySettled.Error(), "extend: " + store.ErrHoldReleased.Error(),
	} {
		if counts[must] == 0 {
			t.Errorf("no step had the outcome %q, so the walks prove too little: %v", must, counts)
		}
	}
}

// passes are the amounts of time that pass at once.
var passes = []time.Duration{time.Millisecond, time.Second, time.Minute, 10 * time.Minute, time.Hour, 7 * time.Hour}

// A walk takes random steps with a store and a model of it.
type walk struct {
	t        *testing.T
	random   *rand.Rand
	model    *model.Model
	server   *embedded.Server
	store    *store.Store
	receipts []given
	requests []model.Request // those noted so far, to be repeated
	counts   map[string]int
	setsBack bool
	step     int
}

type given struct {
	receipt string
	model.Receipt
}

func newWalk(t *testing.T, seed uint64, counts map[string]int, ran *store.Ran) *walk {
	t.Logf("NOTED_SEED=%d repeats this", seed)
	now := time.UnixMilli(1_790_000_000_000)
	server, err := embedded.StartFrozen(now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return &walk{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), model: model.New(now), server: server,
		store:  openWith(t, store.Config{URL: server.URL(), Mode: "standalone", Took: ran.Took}),
		counts: counts,
	}
}

func (w *walk) run(steps int, request func(*rand.Rand, *model.Model) model.Request) {
	defer func() { w.counts["spared"] += w.model.Spared }()
	for w.step = range steps {
		switch pick := w.random.IntN(100); {
		case pick < 50:
			w.note(request(w.random, w.model))
		case pick < 55 && len(w.requests) > 0:
			w.note(w.requests[max(0, len(w.requests)-1-w.random.IntN(12))])
		case pick < 62:
			w.look(request(w.random, w.model))
		case pick < 85 && len(w.receipts) > 0:
			w.finish(w.receipts[max(0, len(w.receipts)-1-w.random.IntN(12))])
		case pick < 88:
			w.list(randomSeries(w.random))
		case pick < 89:
			w.forget(randomSeries(w.random))
		case pick < 90 && w.setsBack:
			w.advance(-time.Duration(w.random.IntN(20*60)) * time.Second)
			w.counts["set back"]++
		default:
			w.advance(passes[w.random.IntN(len(passes))])
		}
	}
}

func (w *walk) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("step %d: %s", w.step, fmt.Sprintf(format, args...))
}

// wantError ends the walk if the store's error is not the model's. It is true if there is
// no error, so that there is more to compare.
func (w *walk) wantError(about string, want, got error) bool {
	w.t.Helper()
	want = storeError(want)
	if !errors.Is(got, want) || (got == nil) != (want == nil) {
		w.fail("%s: got error %v, want %v", about, got, want)
	}
	return want == nil
}

func (w *walk) advance(d time.Duration) {
	w.model.Now = w.model.Now.Add(d)
	w.server.Advance(d)
}

func (w *walk) note(r model.Request) {
	want, n, wantErr := w.model.Note(r)
	got, err := w.store.Note(ctx(w.t), r)
	if !w.wantError(fmt.Sprintf("Note(%+v), the note being %v", r, n), wantErr, err) {
		w.counts[fmt.Sprint("note: ", storeError(wantErr))]++
		return
	}
	w.counts[fmt.Sprintf("verdict %d by %d", want.Verdict, want.Evidence)]++
	if want.Contradicted != nil {
		w.counts["contradicted"]++
	}
	if n.DonationID == "" {
		n.DonationID = got.Note.DonationID
	}
	want.Note.DonationID, want.Receipt = n.DonationID, got.Receipt
	if diff := cmp.Diff(want.NoteReply, got); diff != "" {
		w.fail("Note(%+v), the note being %v (-want +got):\n%s", r, n, diff)
	}
	if (got.Receipt != "") != (got.Verdict == store.First && r.Hold > 0) {
		w.fail("Note(%+v): verdict %d with receipt %q", r, got.Verdict, got.Receipt)
	}
	if got.Receipt != "" {
		receipt := model.Receipt{Note: n, Request: r.RequestID, Attempt: n.Life.Attempt}
		w.receipts = append(w.receipts, given{got.Receipt, receipt})
	}
	w.requests = append(w.requests, r)
}

func (w *walk) look(r model.Request) {
	r.RequestID = ""
	n, evidence, wantErr := w.model.Exists(r)
	got, err := w.store.Exists(ctx(w.t), r.Donation, r.Message, r.Rules)
	if !w.wantError(fmt.Sprintf("Exists(%+v)", r), wantErr, err) {
		return
	}
	want := store.ExistsReply{Now: w.model.Now}
	if n != nil {
		want.Evidence, want.Note = evidence, w.model.Shown(n)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.fail("Exists(%+v) (-want +got):\n%s", r, diff)
	}
}

func (w *walk) finish(g given) {
	verb := []model.Verb{model.Settle, model.Settle, model.Release, model.Extend}[w.random.IntN(4)]
	d := time.Duration(1+w.random.IntN(600)) * time.Second
	wantErr := w.model.Finish(verb, g.Receipt, d)
	w.counts[fmt.Sprintf("%s: %v", verb, storeError(wantErr))]++
	var n store.Note
	var err error
	switch verb {
	case model.Settle:
		n, err = w.store.Settle(ctx(w.t), g.receipt)
	case model.Release:
		n, err = w.store.Release(ctx(w.t), g.receipt)
	case model.Extend:
		n, err = w.store.Extend(ctx(w.t), g.receipt, d)
	}
	if !w.wantError(fmt.Sprintf("%s, the note being %v", verb, g.Note), wantErr, err) {
		return
	}
	if diff := cmp.Diff(w.model.Shown(g.Note), n); diff != "" {
		w.fail("%s (-want +got):\n%s", verb, diff)
	}
}

func (w *walk) list(series string) {
	var want []store.Note
	for _, n := range w.model.Live("l", series) {
		want = append(want, w.model.Shown(n))
	}
	slices.SortFunc(want, func(a, b store.Note) int { return a.NotedAt.Compare(b.NotedAt) })
	got, err := w.store.List(ctx(w.t), store.ListRequest{Ledger: "l", SeriesID: series, PageSize: 1000})
	if diff := cmp.Diff(want, got.Notes); err != nil || diff != "" {
		w.fail("List(%s): %v (-want +got):\n%s", series, err, diff)
	}
}

func (w *walk) forget(series string) {
	live := w.model.Live("l", series)
	if len(live) == 0 {
		return
	}
	n := live[w.random.IntN(len(live))]
	if err := w.model.Forget(n); err != nil {
		w.fail("the model forgets %v: %v", n, err)
	}
	w.counts["forgotten"]++
	if got, err := w.store.Forget(ctx(w.t), "l", series, n.DonationID); err != nil || got.DonationID != n.DonationID {
		w.fail("Forget(%v): %+v, %v", n, got, err)
	}
}

func randomSeries(random *rand.Rand) string { return fmt.Sprint("I-", random.IntN(5)) }

// randomRequest draws from few values, so that requests agree in some fields and differ
// in others.
func randomRequest(random *rand.Rand, m *model.Model) model.Request {
	r := model.Request{
		Donation:  store.Donation{Ledger: "l", SeriesID: randomSeries(random), Event: store.Event(1 + random.IntN(2))},
		RequestID: fmt.Sprint("r", random.IntN(4000)),
		Rules: store.Rules{
			MatchWindow:   2 * time.Hour,
			ArrivalWindow: 6 * time.Hour,
			Retention:     48 * time.Hour,
			SkewAhead:     time.Hour,
			TransactionIDs: []store.TransactionIDs{
				store.Auto, store.Auto, store.PerChannel, store.Shared,
			}[random.IntN(4)],
			SeriesLimit: 25,
		},
	}
	if live := m.Live("l", r.Donation.SeriesID); random.IntN(8) == 0 && len(live) > 0 {
		r.RequestID = live[max(0, len(live)-1-random.IntN(8))].Request
	}
	for _, channel := range []string{"", "ipn", "webhook"} {
		if random.IntN(2) == 0 {
			r.Rules.Agreeing = append(r.Rules.Agreeing, channel)
		}
	}
	if random.IntN(3) > 0 {
		r.Hold = time.Duration(1+random.IntN(900)) * time.Second
	}
	r.Donation.OccurredAt = randomTime(random, m.Now)
	if random.IntN(5) > 0 {
		r.Donation.Amount = []string{"25.00", "25", "25.000", "7.50"}[random.IntN(4)]
		r.Donation.CurrencyCode = []string{"USD", "USD", "EUR"}[random.IntN(3)]
	}
	if random.IntN(2) > 0 {
		r.Donation.TransactionID = fmt.Sprint("T", random.IntN(60))
	}
	switch random.IntN(5) {
	case 0, 1:
		r.Message = store.Message{Channel: "ipn", ID: fmt.Sprintf("%032x", random.IntN(80))}
	case 2, 3:
		r.Message = store.Message{Channel: "webhook", ID: fmt.Sprintf("WH-%017d-%017d", 0, random.IntN(80))}
	case 4:
		r.Message.Channel = []string{"", "ipn"}[random.IntN(2)]
	}
	if random.IntN(5) == 0 {
		r.Message.ReceivedAt = randomTime(random, m.Now)
	}
	return r
}

// randomTime is within ten hours before now, seldom further away, or unknown.
func randomTime(random *rand.Rand, now time.Time) time.Time {
	if random.IntN(6) == 0 {
		return time.Time{}
	}
	back := time.Duration(random.IntN(10*3600)) * time.Second
	if random.IntN(20) == 0 {
		back = time.Duration(random.IntN(60)-3) * time.Hour
	}
	if random.IntN(4) == 0 {
		back += time.Duration(random.IntN(1000)) * time.Millisecond
	}
	return now.Add(-back)
}

// crowdedRequest draws many messages of few donations, so that notes fill up. Few
// messages come on a second or third channel.
func crowdedRequest(random *rand.Rand, m *model.Model) model.Request {
	r := randomRequest(random, m)
	r.Donation.SeriesID, r.Donation.Event = "I-0", pay
	if r.Donation.TransactionID != "" || random.IntN(4) > 0 {
		r.Donation.TransactionID = fmt.Sprint("T", random.IntN(2))
	}
	if r.Message.ID != "" {
		r.Message = store.Message{Channel: "ipn", ID: fmt.Sprintf("%032x", random.IntN(400))}
		if random.IntN(25) == 0 {
			r.Message.Channel = []string{"webhook", "post"}[random.IntN(2)]
		}
	}
	return r
}
