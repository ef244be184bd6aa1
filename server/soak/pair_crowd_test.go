package soak_test

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// hundred lets a hundred callers ask at once, half of them at each server. One caller
// gets FIRST, and all get the same donation id.
func (p *pair) hundred() {
	receipt := ""
	for round, want := range []map[string]int{{"FIRST": 1, "HELD": 99}, {"DUPLICATE": 100}} {
		var mu sync.Mutex
		var all sync.WaitGroup
		got, ids := map[string]int{}, map[string]bool{}
		for i := range 100 {
			all.Go(func() {
				answered, err := p.clients[i%2].NoteDonation(p.t.Context(), &notedv1.NoteDonationRequest{
					Donation: &notedv1.Donation{Ledger: p.ledger, SeriesId: "I-HUNDRED"},
					Message: &notedv1.Message{
						Channel: "ipn",
						Id:      "1",
					},
					Hold:      durationpb.New(5 * time.Minute),
					RequestId: fmt.Sprintf("%s-%d-%d", p.ledger, round, i),
				})
				if err != nil {
					p.t.Errorf("caller %d: %v", i, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got[short(answered.GetVerdict())]++
				ids[answered.GetNote().GetDonationId()] = true
				if answered.GetReceipt() != "" {
					receipt = answered.GetReceipt()
				}
			})
		}
		all.Wait()
		if diff := cmp.Diff(want, got); diff != "" || len(ids) != 1 {
			p.t.Errorf(
				"round %d of a hundred callers: the donation ids %v, verdicts (-want +got):\n%s",
				round,
				ids,
				diff,
			)
		}
		if _, err := p.clients[p.turn%2].SettleDonation(
			p.t.Context(),
			&notedv1.SettleDonationRequest{Receipt: receipt},
		); err != nil {
			p.t.Errorf("settling the donation of the hundred callers: %v", err)
		}
	}
}

// inStreams is how many donations come on a stream: several batches.
const inStreams = 300

// streams notes the same donations on a stream at each server, on one of them in the
// opposite order: each donation is FIRST once, and answers come in the order of the
// requests.
func (p *pair) streams() {
	verdicts := make([]map[string]int, inStreams)
	ids := make([]map[string]bool, inStreams)
	for i := range inStreams {
		verdicts[i], ids[i] = map[string]int{}, map[string]bool{}
	}
	series := func(i int) string { return fmt.Sprintf("I-STREAM%03d", i) }
	var mu sync.Mutex
	var all sync.WaitGroup
	for s, client := range p.clients {
		order := func(k int) int {
			if s == p.turn%2 {
				return k
			}
			return inStreams - 1 - k
		}
		stream, err := client.NoteDonations(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		all.Go(func() {
			for k := range inStreams {
				request := &notedv1.NoteDonationRequest{
					Donation: &notedv1.Donation{Ledger: p.ledger, SeriesId: series(order(k))},
					Message:  &notedv1.Message{Channel: []string{"ipn", "webhook"}[s], Id: "1"},
				}
				if err := stream.Send(&notedv1.NoteDonationsRequest{Request: request}); err != nil {
					p.t.Errorf("sending on a stream at the %s release: %v", p.releases[s].name, err)
					return
				}
			}
			stream.CloseSend()
		})
		all.Go(func() {
			for k := range inStreams {
				answered, err := stream.Recv()
				note := answered.GetResponse().GetNote()
				if err != nil || note.GetDonation().GetSeriesId() != series(order(k)) {
					p.t.Errorf(
						"answer %d on a stream at the %s release: %v, %v; want one of %s",
						k,
						p.releases[s].name,
						answered,
						err,
						series(order(k)),
					)
					return
				}
				mu.Lock()
				verdicts[order(k)][short(answered.GetResponse().GetVerdict())]++
				ids[order(k)][note.GetDonationId()] = true
				mu.Unlock()
			}
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				p.t.Errorf(
					"behind the last answer on a stream at the %s release: %v, want EOF",
					p.releases[s].name,
					err,
				)
			}
		})
	}
	all.Wait()
	for i := range inStreams {
		if diff := cmp.Diff(map[string]int{"FIRST": 1, "DUPLICATE": 1}, verdicts[i]); diff != "" || len(ids[i]) != 1 {
			p.t.Errorf("%s on two streams: the donation ids %v, verdicts (-want +got):\n%s", series(i), ids[i], diff)
		}
	}
}

// pages lists the whole ledger at each server, and at both in turns, each going on with
// the page token of the other. All listings must be the same.
func (p *pair) pages() {
	list := func(turn func(page int) int) map[string]*notedv1.Note {
		notes, token := map[string]*notedv1.Note{}, ""
		for page := 0; page == 0 || token != ""; page++ {
			answered, err := p.clients[turn(page)].ListDonations(
				p.t.Context(),
				&notedv1.ListDonationsRequest{Ledger: p.ledger, PageSize: 50, PageToken: token},
			)
			if err != nil {
				p.t.Fatalf("page %d: %v", page, err)
			}
			for _, note := range answered.GetNotes() {
				notes[note.GetDonationId()] = note
			}
			token = answered.GetNextPageToken()
		}
		return notes
	}
	first := list(func(int) int { return 0 })
	if want := 2 + 1 + inStreams; len(first) != want {
		p.t.Errorf("%d notes are listed, want %d", len(first), want)
	}
	for name, turn := range map[string]func(int) int{
		"present release": func(int) int { return 1 }, "both in turns": func(page int) int { return page % 2 },
	} {
		if diff := cmp.Diff(first, list(turn), protocmp.Transform()); diff != "" {
			p.t.Errorf("the ledger (-first release +%s):\n%.4000s", name, diff)
		}
	}
}
