package clienttest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/clienttest"
	"github.com/donation-dedupe/noted/server/servertest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// noted is a client of the fake or of a real server. The stories below run over both.
type noted interface {
	Now() time.Time
	Advance(d time.Duration)
}

// story makes calls and keeps their answers, each as a word and as a whole.
type story struct {
	t        *testing.T
	noted    noted
	client   *client.Client
	receipts map[string]string // by their names in the story
	told     []string          // the words of the answers
	answers  []string          // the whole answers, with ids numbered in the order of their appearance
	ids      map[string]string
}

// note notes, and keeps the receipt under the name.
func (s *story) note(receipt string, request *client.NoteRequest) {
	s.t.Helper()
	answer, err := s.client.Note(s.t.Context(), request)
	if answer.GetReceipt() != "" {
		s.receipts[receipt] = answer.GetReceipt()
		answer.Receipt = receipt
	}
	s.tell(strings.TrimPrefix(answer.GetVerdict().String(), "VERDICT_"), answer, err)
}

func (s *story) exists(donation *client.Donation, message *client.Message) {
	s.t.Helper()
	found, err := s.client.Exists(s.t.Context(), donation, message)
	s.tell(fmt.Sprint(found.GetExists()), found, err)
}

func (s *story) settle(receipt string) {
	s.t.Helper()
	note, err := s.client.Settle(s.t.Context(), s.receipt(receipt), "")
	s.tell(note.GetState().String(), note, err)
}

func (s *story) release(receipt string) {
	s.t.Helper()
	note, err := s.client.Release(s.t.Context(), s.receipt(receipt), "")
	s.tell(note.GetState().String(), note, err)
}

func (s *story) extend(receipt string, hold time.Duration) {
	s.t.Helper()
	note, err := s.client.Extend(s.t.Context(), s.receipt(receipt), hold)
	s.tell(note.GetState().String(), note, err)
}

func (s *story) receipt(name string) string {
	if receipt, given := s.receipts[name]; given {
		return receipt
	}
	return name
}

func (s *story) tell(word string, answer proto.Message, err error) {
	s.t.Helper()
	if err != nil {
		fields := ""
		for _, v := range client.Violations(err) {
			fields += " " + v.Field
		}
		s.told = append(s.told, client.Reason(err))
		s.answers = append(s.answers, status.Code(err).String()+" "+client.Reason(err)+fields)
		return
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: " "}.Marshal(answer)
	if err != nil {
		s.t.Fatal(err)
	}
	// protojson adds spaces at random, so that programs do not rely on them.
	answered := strings.ReplaceAll(strings.ReplaceAll(string(text), "  ", " "), ":  ", ": ")
	id := regexp.MustCompile(`"donationId": *"([^"]*)"`)
	answered = id.ReplaceAllStringFunc(answered, func(field string) string {
		value := id.FindStringSubmatch(field)[1]
		if s.ids[value] == "" {
			s.ids[value] = fmt.Sprint("donation ", len(s.ids)+1)
		}
		return s.ids[value]
	})
	s.told = append(s.told, strings.TrimPrefix(word, "STATE_"))
	s.answers = append(s.answers, answered)
}

func held(d *client.Donation, m *client.Message) *client.NoteRequest {
	return &client.NoteRequest{Donation: d, Message: m, Hold: durationpb.New(time.Minute)}
}

func withoutHold(d *client.Donation, m *client.Message) *client.NoteRequest {
	return &client.NoteRequest{Donation: d, Message: m}
}

func asRequest(id string, r *client.NoteRequest) *client.NoteRequest {
	r.RequestId = id
	return r
}

func on(channel, id string) *client.Message { return &client.Message{Channel: channel, Id: id} }

func payment(transaction, amount string) *client.Donation {
	return &client.Donation{SeriesId: "I-1", TransactionId: transaction, Amount: amount, CurrencyCode: "EUR"}
}

func at(d *client.Donation, when time.Time) *client.Donation {
	d.OccurredAt = timestamppb.New(when)
	return d
}

// stories are the shared cases. Each begins with an empty store.
var stories = []struct {
	name     string
	tell     func(s *story)
	want     string // the words of all answers
	inShadow string // the words in shadow, where they are others than FIRST for every verdict
}{
	{"a series id alone", func(s *story) {
		donation := &client.Donation{SeriesId: "I-1"}
		s.exists(donation, nil)
		s.note("", withoutHold(donation, nil))
		s.note("", withoutHold(donation, nil))
		s.exists(donation, nil)
		s.note("", withoutHold(&client.Donation{SeriesId: "I-2"}, nil))
		s.note("", withoutHold(&client.Donation{SeriesId: "I-1", Ledger: "paypal-live"}, nil))
		s.note("", withoutHold(&client.Donation{SeriesId: "I-1", Event: client.EventRefund}, nil))
		s.note("", withoutHold(&client.Donation{SeriesId: "I-1", Event: client.EventPayment}, nil))
	}, "false FIRST DUPLICATE true FIRST FIRST FIRST DUPLICATE", ""},
	{"hold and settle", func(s *story) {
		s.note("one", held(payment("T1", "25.00"), on("ipn", "1")))
		s.note("", held(payment("T1", "25.00"), on("webhook", "W1")))
		s.exists(payment("T1", "25.00"), nil)
		s.settle("one")
		s.settle("one")
		s.note("", held(payment("T1", "25.00"), on("ipn", "1")))
		s.release("one")
		s.extend("one", time.Minute)
	}, "FIRST HELD true SETTLED SETTLED DUPLICATE ALREADY_SETTLED ALREADY_SETTLED", ""},
	{"receipts of others", func(s *story) {
		s.note("one", asRequest("R1", held(payment("T1", "25.00"), on("ipn", "1"))))
		s.note("other", asRequest("R2", held(payment("T1", "25.00"), on("webhook", "W1"))))
		s.note("", withoutHold(payment("T1", "25.00"), on("webhook", "W1")))
		s.settle("other")
		s.release("other")
		s.extend("other", time.Minute)
		s.release("one")
		s.settle("other")
		s.note("two", asRequest("R2", held(payment("T1", "25.00"), on("webhook", "W1"))))
		s.settle("one")
		s.settle("two")
		s.note("late", held(payment("T1", "25.00"), on("ipn", "2")))
		s.release("late")
	}, "FIRST HELD HELD INVALID_REQUEST INVALID_REQUEST INVALID_REQUEST OPEN INVALID_REQUEST FIRST HOLD_LOST SETTLED " +
		"DUPLICATE INVALID_REQUEST", "FIRST FIRST FIRST HELD HELD HELD OPEN OPEN FIRST HOLD_LOST SETTLED FIRST SETTLED"},
	{"release", func(s *story) {
		s.note("one", held(payment("T1", "25.00"), on("ipn", "1")))
		s.release("one")
		s.release("one")
		s.settle("one")
		s.extend("one", time.Minute)
		s.exists(payment("T1", "25.00"), on("ipn", "1"))
		s.note("two", held(payment("T1", "25.00"), on("ipn", "1")))
		s.settle("one")
		s.settle("two")
		s.settle("one")
		s.release("one")
	}, "FIRST OPEN OPEN HOLD_RELEASED HOLD_RELEASED false " +
		"FIRST HOLD_LOST SETTLED SETTLED_BY_ANOTHER SETTLED_BY_ANOTHER", ""},
	{"a hold runs out", func(s *story) {
		s.note("one", held(payment("T1", "25.00"), nil))
		s.noted.Advance(59 * time.Second)
		s.note("", held(payment("T1", "25.00"), nil))
		s.extend("one", 2*time.Minute)
		s.noted.Advance(2 * time.Minute)
		s.exists(payment("T1", "25.00"), nil)
		s.extend("one", time.Minute)
		s.noted.Advance(2 * time.Minute)
		s.note("two", held(payment("T1", "25.00"), on("webhook", "W1")))
		s.extend("one", time.Minute)
		s.noted.Advance(2 * time.Minute)
		s.settle("two")
	}, "FIRST HELD HELD false HELD FIRST HOLD_LOST SETTLED", "FIRST FIRST HELD false HELD FIRST HOLD_LOST SETTLED"},
	{"a request asks again", func(s *story) {
		s.note("one", asRequest("R1", held(payment("T1", "25.00"), on("ipn", "1"))))
		s.note("again", asRequest("R1", held(payment("T1", "25.00"), on("ipn", "1"))))
		s.settle("again")
		s.note("one", asRequest("R1", held(payment("T1", "25.00"), on("ipn", "1"))))
		s.note("", asRequest("R1", held(payment("T1", "25.00"), on("ipn", "2"))))
		s.note("", asRequest("R2", held(payment("T1", "25.00"), on("ipn", "1"))))
	}, "FIRST FIRST SETTLED FIRST REQUEST_ID_REUSED DUPLICATE", ""},
	{"a request asks again after its hold", func(s *story) {
		s.note("one", asRequest("R1", held(payment("", "25.00"), nil)))
		s.note("", asRequest("R1", held(payment("", "26.00"), nil)))
		s.noted.Advance(2 * time.Minute)
		s.note("again", asRequest("R1", held(payment("", "25.00"), nil)))
		s.release("one")
		s.note("two", asRequest("R1", held(payment("", "25.00"), nil)))
		s.settle("one")
		s.settle("two")
	}, "FIRST REQUEST_ID_REUSED FIRST OPEN FIRST HOLD_LOST SETTLED", ""},
	{"transaction ids", func(s *story) {
		s.note("", withoutHold(payment("T1", "25.00"), on("ipn", "1")))
		s.note("", withoutHold(payment("T1", "25.0"), on("ipn", "2")))
		s.note("", withoutHold(payment("T2", "25.00"), on("ipn", "3")))
		s.note("", withoutHold(payment("T2", "26.00"), on("webhook", "W1")))
		s.note("", withoutHold(payment("T2", "25.00"), nil))
	}, "FIRST DUPLICATE FIRST DUPLICATE DUPLICATE", ""},
	{"channels with ids of their own", func(s *story) {
		s.note("", withoutHold(payment("T1", "25.00"), on("ipn", "1")))
		s.note("", withoutHold(payment("T2", "25.00"), on("webhook", "W1")))
		s.note("", withoutHold(payment("T2", "25.00"), nil))
	}, "FIRST DUPLICATE DUPLICATE", ""},
	{"pairing", func(s *story) {
		now := s.noted.Now()
		s.note("", withoutHold(at(payment("", "25.00"), now), on("ipn", "1")))
		s.note("", withoutHold(at(payment("", "26.00"), now), on("webhook", "W1")))
		s.note("", withoutHold(at(payment("", "25"), now.Add(-2*time.Hour)), on("webhook", "W2")))
		s.note("", withoutHold(at(payment("", "25.00"), now.Add(-5*time.Hour)), on("queue", "Q1")))
		s.note("", withoutHold(at(payment("", "25.00"), now), on("ipn", "2")))
		s.note("", withoutHold(payment("", "26.00"), on("ipn", "4")))
	}, "FIRST FIRST DUPLICATE FIRST FIRST DUPLICATE", ""},
	{"arrivals", func(s *story) {
		s.note("", withoutHold(payment("", "25.00"), on("ipn", "1")))
		s.noted.Advance(4*24*time.Hour + time.Second)
		early := on("webhook", "W1")
		early.ReceivedAt = timestamppb.New(s.noted.Now().Add(-time.Hour))
		s.note("", withoutHold(payment("", "25.00"), early))
		s.note("", withoutHold(payment("", "25.00"), on("webhook", "W2")))
	}, "FIRST DUPLICATE FIRST", ""},
	{"notes are forgotten", func(s *story) {
		s.note("one", held(payment("T1", "25.00"), on("ipn", "1")))
		s.noted.Advance(45*24*time.Hour - time.Second)
		s.exists(payment("T1", "25.00"), on("ipn", "1"))
		s.noted.Advance(2 * time.Second)
		s.settle("one")
		s.exists(payment("T1", "25.00"), on("ipn", "1"))
	}, "FIRST false NOTE_NOT_FOUND false", ""},
	{"mistakes", func(s *story) {
		s.note("", &client.NoteRequest{Donation: &client.Donation{}})
		s.note("", withoutHold(&client.Donation{SeriesId: "I 1"}, nil))
		s.note("", withoutHold(payment("T 1", "25.00"), nil))
		s.note("", withoutHold(payment("T1", "a lot"), nil))
		s.note("", withoutHold(&client.Donation{SeriesId: "I-1", Amount: "25.00"}, nil))
		s.note("", withoutHold(&client.Donation{SeriesId: "I-1", CurrencyCode: "EUR"}, nil))
		s.note("", withoutHold(payment("T1", "25.00"), on("", "1")))
		s.note("", withoutHold(payment("T1", "25.00"), on("ipn", "1 2")))
		s.note("", &client.NoteRequest{Donation: payment("T1", "25.00"), Hold: durationpb.New(time.Hour)})
		s.exists(&client.Donation{}, nil)
		s.settle("no-receipt")
		s.extend("no-receipt", time.Minute)
		s.note("one", held(payment("T1", "25.00"), nil))
		s.extend("one", 0)
		s.extend("one", time.Hour)
	}, strings.Repeat("INVALID_REQUEST ", 12) + "FIRST INVALID_REQUEST INVALID_REQUEST", ""},
}

// The fake gives the same answers as a real server, in each story.
func TestFakeIsAsAServer(t *testing.T) {
	for _, each := range stories {
		t.Run(each.name, func(t *testing.T) { tellBoth(t, each.tell, each.want, false) })
		t.Run(each.name+", in shadow", func(t *testing.T) {
			allFirst := strings.NewReplacer("DUPLICATE", "FIRST", "HELD ", "FIRST ").Replace(each.want)
			tellBoth(t, each.tell, cmp.Or(each.inShadow, allFirst), true)
		})
	}
}

// tellBoth tells a story to the fake and to a server, and compares their answers.
func tellBoth(t *testing.T, story func(*story), want string, shadow bool) {
	fake := clienttest.New(t)
	fake.Shadow(shadow)
	options := servertest.Options{Frozen: fake.Now()}
	if shadow {
		options.ShadowLedgers = []string{"*"}
	}
	server := servertest.Start(t, options)
	ofServer, err := client.New(server.Addr(), client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer ofServer.Close()
	of, is := told(t, fake, fake.Client(client.Config{}), story), told(t, server, ofServer, story)
	if got := strings.Join(is.told, " "); got != want {
		t.Errorf("the server answers %s\nwant              %s", got, want)
	}
	if got := strings.Join(of.told, " "); got != want {
		t.Errorf("the fake answers %s\nwant             %s", got, want)
	}
	for i, want := range is.answers {
		if got := of.answers[i]; got != want {
			t.Errorf("answer %d of the fake is\n%s\nand of the server\n%s", i+1, got, want)
		}
	}
}

func told(t *testing.T, noted noted, c *client.Client, tell func(*story)) *story {
	s := &story{t: t, noted: noted, client: c, receipts: map[string]string{}, ids: map[string]string{}}
	tell(s)
	return s
}

// A user's test can see that Once settles or releases, and can make calls fail.
func TestOnceOverTheFake(t *testing.T) {
	fake := clienttest.New(t)
	noted := fake.Client(client.Config{})
	if err := noted.Serving(t.Context()); err != nil {
		t.Errorf("Serving: %v", err)
	}
	broken := errors.New("the books are closed")
	for _, process := range []error{broken, nil} {
		verdict, err := noted.Once(t.Context(), payment("T1", "25.00"), nil, func(context.Context, *client.Note) error {
			return process
		})
		if verdict != client.First || !errors.Is(err, process) {
			t.Errorf("Once: got %v, %v; want First, %v", verdict, err, process)
		}
	}
	notes := fake.All()
	if len(notes) != 1 || notes[0].GetState() != client.StateSettled || notes[0].GetAttempt() != 2 {
		t.Errorf("All: got %v; want a settled note at attempt 2", notes)
	}
	fake.FailNext("OCCURRED_TOO_EARLY")
	_, err := noted.Note(t.Context(), withoutHold(payment("T2", "25.00"), nil))
	if !errors.Is(err, client.ErrOccurredTooEarly) || !errors.Is(err, client.ErrUndecidable) ||
		status.Code(err) != codes.OutOfRange {
		t.Errorf("Note: got %v; want ErrOccurredTooEarly, ErrUndecidable, OUT_OF_RANGE", err)
	}
	answer, err := noted.Note(t.Context(), withoutHold(payment("T2", "25.00"), nil))
	if answer.GetVerdict() != client.First {
		t.Errorf("Note after a failure: got %v, %v; want First", answer, err)
	}
	fake.FailNext("STORE_UNAVAILABLE", "STORE_UNAVAILABLE", "STORE_UNAVAILABLE", "STORE_UNAVAILABLE")
	if _, err := noted.Exists(t.Context(), payment("T2", "25.00"), nil); !errors.Is(err, client.ErrStoreUnavailable) {
		t.Errorf("Exists: got %v; want ErrStoreUnavailable", err)
	}
	for _, err := range noted.List(t.Context(), &client.ListRequest{}) {
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "server/servertest") {
			t.Errorf("List: got %v; want UNIMPLEMENTED and where to go", err)
		}
	}
}
