package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/paypal"
	"github.com/donation-dedupe/noted/client/terminal"
	"github.com/donation-dedupe/noted/server"
)

// The design that Noted replaces.
const (
	replacedKeeps = time.Hour       // how long it remembers a series id
	replacedLag   = 2 * time.Second // between the look and the note: the time to process a donation
)

// maxBody is far more than PayPal sends.
const maxBody = 4 << 20

// channels are PayPal's two kinds of messages.
var channels = []struct {
	name     string
	identify func([]byte) (paypal.Identified, error)
}{
	{"ipn", paypal.IdentifyIPN},
	{"webhook", paypal.IdentifyWebhook},
}

// A replay asks about every message of an archive, with each of its windows.
//
// It replays series in batches, each in its own trial, several batches at a time. No
// verdict depends on another series, and a trial is slow with many series. Within a
// batch, and so within a series, messages are in the order of their arrival.
type replay struct {
	past    *archive
	rules   server.Rules
	windows []time.Duration

	items     []item
	answers   [][]answer // :: index of a window → answer to each item
	processed []bool     // :: index of an item → whether the replaced design would process it

	seed  maphash.Seed
	mu    sync.Mutex
	aside []aside

	progress func(int64)
	done     int64
}

// An item is a donation in a message: one question.
type item struct {
	series  uint64 // a hash that includes the ledger
	arrival int32
	pair    int32 // the index of the donation in the message
}

// An answer is Noted's answer to an item.
type answer struct {
	first    int32 // the first item of the same donation, the item itself for FIRST, or undecided
	evidence client.Evidence
}

const undecided = -1

// verdict is Noted's verdict on an item.
func (a answer) verdict(item int32) client.Verdict {
	switch a.first {
	case undecided:
		return client.Undecided
	case item:
		return client.First
	}
	return client.Duplicate
}

// An aside is a message, or a donation in it, with a remark, either beside an answer or
// without one.
type aside struct {
	arrival int32
	remark  unique.Handle[remark] // shared by many messages, without any part of the body
}

// A remark is the text of an aside, by its kind.
type remark struct{ kind, what, why string }

// batchSize is the number of items in a batch: enough to be worth a new trial, few enough
// for a fast clock.
const batchSize = 500

// identify finds the donations in a message of the archive.
func (r *replay) identify(index int32, body []byte) {
	if r.seed == (maphash.Seed{}) {
		r.seed = maphash.MakeSeed()
	}
	identified, err := identifyBody(r.past.arrivals[index], body)
	if err != nil {
		r.tellAside(index, remark{"malformed", "", err.Error()})
		return
	}
	if identified.Skipped != "" {
		kind := "skipped"
		if identified.Unknown {
			kind = "unknown"
		}
		r.tellAside(index, remark{kind, identified.Type, identified.Skipped})
	}
	for _, warning := range identified.Warnings {
		r.tellAside(index, remark{"warning", identified.Type, warning})
	}
	ledger := r.past.ledgers[r.past.arrivals[index].ledger]
	for i, pair := range identified.Pairs {
		series := maphash.String(r.seed, ledger+" "+pair.Donation.SeriesID)
		r.items = append(r.items, item{series: series, arrival: index, pair: int32(i)})
	}
}

func identifyBody(m arrival, body []byte) (paypal.Identified, error) {
	if len(body) > maxBody {
		return paypal.Identified{}, fmt.Errorf("body: is longer than %d bytes", maxBody)
	}
	return channels[m.channel].identify(body)
}

func (r *replay) tellAside(arrival int32, of remark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aside = append(r.aside, aside{arrival, unique.Make(of)})
}

// sort puts the items in the order of arrival. Items with equal times stay in the order
// of reading.
func (r *replay) sort() {
	slices.SortFunc(r.items, func(a, b item) int {
		return cmp.Or(cmp.Compare(r.at(a), r.at(b)), cmp.Compare(a.arrival, b.arrival), cmp.Compare(a.pair, b.pair))
	})
}

func (r *replay) at(i item) int64 { return r.past.arrivals[i.arrival].at }

// ledger is the ledger of an item.
func (r *replay) ledger(item int32) string {
	return r.past.ledgers[r.past.arrivals[r.items[item].arrival].ledger]
}

// size is the amount of run's work: the bytes of all messages, once for each window.
func (r *replay) size() (size int64) {
	for _, i := range r.items {
		size += int64(r.past.arrivals[i.arrival].length)
	}
	return size * int64(len(r.windows))
}

func (r *replay) advance(i item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += int64(r.past.arrivals[i.arrival].length)
	r.progress(r.done)
}

// pair reads the donation and the message of an item again.
func (r *replay) pair(i item) (paypal.Pair, error) {
	body, err := r.past.body(i.arrival)
	if err != nil {
		return paypal.Pair{}, err
	}
	m := r.past.arrivals[i.arrival]
	identified, err := identifyBody(m, body)
	if err != nil || int(i.pair) >= len(identified.Pairs) {
		return paypal.Pair{}, fmt.Errorf("reading %s again: it has changed since it was first read", r.past.place(m))
	}
	return identified.Pairs[i.pair], nil
}

// run asks about every item.
func (r *replay) run(ctx context.Context, progress func(int64)) error {
	defer debug.SetGCPercent(debug.SetGCPercent(200)) // the embedded store makes an interpreter for each call
	r.processed = make([]bool, len(r.items))
	r.answers = make([][]answer, len(r.windows))
	for w := range r.windows {
		r.answers[w] = make([]answer, len(r.items))
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	batches := make(chan []int32)
	var workers sync.WaitGroup
	r.progress = progress
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for batch := range batches {
				if ctx.Err() != nil {
					continue
				}
				if err := r.replayBatch(ctx, batch); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, batch := range r.batches() {
		batches <- batch
	}
	close(batches)
	workers.Wait()
	return context.Cause(ctx)
}

// batches divides the items between series.
func (r *replay) batches() [][]int32 {
	order := make([]int32, len(r.items))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(r.items[a].series, r.items[b].series), cmp.Compare(a, b))
	})
	var batches [][]int32
	begin := 0
	for i := range order {
		if end := i + 1; end == len(order) ||
			end-begin >= batchSize && r.items[order[i]].series != r.items[order[end]].series {
			batches = append(batches, order[begin:end])
			begin = end
		}
	}
	return batches
}

// replayBatch asks about the items of some series.
func (r *replay) replayBatch(ctx context.Context, batch []int32) error {
	slices.Sort(batch)
	pairs := make([]paypal.Pair, len(batch))
	for i, at := range batch {
		var err error
		if pairs[i], err = r.pair(r.items[at]); err != nil {
			return err
		}
	}
	for w := range r.windows {
		if err := r.ask(ctx, w, batch, pairs); err != nil {
			return err
		}
	}
	r.replaced(batch, pairs)
	return nil
}

// ask asks Noted about the items of a batch, each at the time of its arrival.
func (r *replay) ask(ctx context.Context, window int, batch []int32, pairs []paypal.Pair) (err error) {
	rules := r.rules
	rules.MatchWindow = r.windows[window]
	noted, err := startTrial(time.Unix(0, r.at(r.items[batch[0]])), rules)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, noted.stop()) }()
	asker, err := client.New(noted.server.Addr(), client.Config{Timeout: patience})
	if err != nil {
		return err
	}
	defer asker.Close()

	firsts := map[string]int32{} // :: donation id → its first item
	for i, at := range batch {
		if err := noted.moveTo(time.Unix(0, r.at(r.items[at]))); err != nil {
			return err
		}
		donation, message := client.FromPayPal(pairs[i], r.ledger(at))
		response, err := asker.Note(ctx, &client.NoteRequest{Donation: donation, Message: message})
		r.advance(r.items[at])
		if why := cannotDecide(err); why != nil {
			r.answers[window][at] = answer{first: undecided}
			if len(r.windows) == 1 {
				r.tellAside(
					r.items[at].arrival,
					remark{"undecided", terminal.EventName(terminal.EventOf(donation)), why.Error()},
				)
			}
			continue
		}
		if err != nil {
			return err
		}
		id := response.GetNote().GetDonationId()
		if response.GetVerdict() == client.First {
			firsts[id] = at
		}
		first, known := firsts[id]
		if !known {
			return fmt.Errorf(
				"asking about %s: %s for a donation without a FIRST",
				r.past.place(r.past.arrivals[r.items[at].arrival]),
				response.GetVerdict(),
			)
		}
		r.answers[window][at] = answer{first: first, evidence: response.GetEvidence()}
	}
	return nil
}

// cannotDecide returns the reason why Noted cannot decide about a donation; nil if it
// decided or did not answer.
func cannotDecide(err error) error {
	for _, why := range []error{
		client.ErrOccurredTooEarly, client.ErrOccurredTooLate,
		client.ErrReceivedTooEarly, client.ErrSeriesFull, client.ErrInvalidRequest,
	} {
		if errors.Is(err, why) {
			return why
		}
	}
	return nil
}

// replaced finds the items that the replaced design would process.
func (r *replay) replaced(batch []int32, pairs []paypal.Pair) {
	type known struct{ from, until time.Time }
	series := map[string][]known{} // :: ledger and series
	for i, at := range batch {
		now, id := time.Unix(0, r.at(r.items[at])), r.ledger(at)+" "+pairs[i].Donation.SeriesID
		live := slices.DeleteFunc(series[id], func(k known) bool { return !now.Before(k.until) })
		if !slices.ContainsFunc(live, func(k known) bool { return !now.Before(k.from) }) {
			r.processed[at] = true
			noted := now.Add(replacedLag)
			live = append(live, known{noted, noted.Add(replacedKeeps)})
		}
		series[id] = live
	}
}
