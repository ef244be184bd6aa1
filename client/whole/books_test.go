//go:build whole

package whole_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// books gets the donations of all receivers. It counts repeated donation ids, which real
// books would refuse.
type books struct {
	*httptest.Server
	mu   sync.Mutex
	list []entry
}

// An entry is a donation in the books.
type entry struct {
	place    string
	id       string // the donation id
	name     string // the test's name for it, from the message
	Donation map[string]string
	Message  map[string]string
	Body     string
}

var nameInBody = regexp.MustCompile(`\bwhole-\d{4}\b`)

func newBooks(t testing.TB, c *chance) *books {
	b := &books{}
	verifier := must(standardwebhooks.NewWebhook(secret))
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading a donation for the books: %v", err)
			return
		}
		if c.of(4) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		e := entry{place: strings.TrimPrefix(r.URL.Path, "/"), id: r.Header.Get("Idempotency-Key")}
		if e.place == gate {
			var event struct {
				ID   string
				Data struct {
					Donation, Message map[string]string
					Original          struct{ Body string }
				}
			}
			if err = verifier.Verify(body, r.Header); err == nil {
				err = json.Unmarshal(body, &event)
			}
			e.id, e.Body = event.ID, event.Data.Original.Body
			e.Donation, e.Message = event.Data.Donation, event.Data.Message
		} else {
			err = json.Unmarshal(body, &e)
		}
		e.name = nameInBody.FindString(e.Body)
		if err != nil || e.id == "" || e.name == "" {
			t.Errorf("a receiver sent the books no donation: %v %q %s", err, e.id, body)
		}
		b.mu.Lock()
		b.list = append(b.list, e)
		b.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *books) entries() []entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}
