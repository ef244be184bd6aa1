package desk_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/week"
	"github.com/donation-dedupe/noted/client/gateway/inbox"
)

// rowOf is the inbox's row of a case with one message.
func (h *harness) rowOf(name string) string { return h.messageOf(name).Row }

func (h *harness) messageOf(name string) inbox.Message {
	h.t.Helper()
	found, err := h.box.Find(h.t.Context(), h.cases[name], 10)
	if err != nil || len(found) == 0 {
		h.t.Fatalf("%s is not in the inbox: %v", name, err)
	}
	return found[len(found)-1]
}

// noteOf is Noted's note of a case, nil without a note.
func (h *harness) noteOf(name string) *client.Note {
	h.t.Helper()
	for note, err := range h.noted.List(h.t.Context(), &client.ListRequest{
		Ledger: week.Ledger, TransactionId: h.cases[name],
	}) {
		if err != nil {
			h.t.Fatal(err)
		}
		return note
	}
	return nil
}

// flush empties a store, as an operator's mistake does.
func flush(t *testing.T, addr string) {
	t.Helper()
	store := redis.NewClient(&redis.Options{Addr: addr})
	defer store.Close()
	if err := store.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}
