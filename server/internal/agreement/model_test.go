package agreement_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/agreement"
	"github.com/donation-dedupe/noted/server/internal/model"
	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestAsTheModelLearns lets a Learner and the model's Learner learn from the same
// answers, and compares what they know.
func TestAsTheModelLearns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	channels := []string{"ipn", "webhook", "post"}
	rules := store.Rules{
		MatchWindow:   time.Hour,
		ArrivalWindow: time.Hour,
		Retention:     20 * time.Hour,
		SkewAhead:     time.Hour,
		SeriesLimit:   100,
	}
	changes := 0
	for range 20 {
		notes, byModel := model.New(time.UnixMilli(1_790_000_000_000)), &model.Learner{}
		learner := agreement.New(agreement.Config{Changed: func(agreement.Pair, bool, int, int) { changes++ }})
		for step := range 400 {
			notes.Now = notes.Now.Add(time.Duration(random.IntN(20)) * time.Minute)
			series := fmt.Sprint("I-", random.IntN(6))
			r := model.Request{
				Donation: store.Donation{
					SeriesID:      series,
					Event:         store.Event(1 + random.IntN(2)),
					TransactionID: fmt.Sprint(series, "-T", random.IntN(12)),
				},
				Message:   store.Message{Channel: channels[random.IntN(3)], ID: fmt.Sprint(step)},
				RequestID: fmt.Sprint(step),
				Rules:     rules,
			}
			if random.IntN(10) == 0 {
				r.Donation.SeriesID = r.Donation.TransactionID
			}
			r.Rules.Agreeing = byModel.Agreeing(r.Donation, r.Message.Channel)
			reply, _, err := notes.Note(r)
			if err != nil {
				t.Fatal(err)
			}
			byModel.Observe(r.Donation, r.Message, reply)
			learner.Observe(r, reply.NoteReply)
			for _, channel := range channels {
				want, got := byModel.Agreeing(r.Donation, channel), learner.Agreeing("", r.Donation.Event, channel)
				if !slices.Equal(want, got) {
					t.Fatalf("step %d, %+v: %v agree with %s, want %v", step, r, got, channel, want)
				}
			}
		}
	}
	if changes < 20 {
		t.Errorf("the knowledge changed only %d times, so the test proves little", changes)
	}
}
