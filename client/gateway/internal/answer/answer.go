// Package answer is the answer to PayPal for a message: 200, or a refusal with its
// status.
package answer

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// retryAfter is the Retry-After of a 503, in seconds. PayPal has its own schedule; the
// header is for other callers.
const retryAfter = 30

// A Refusal is any answer to PayPal except 200.
type Refusal struct {
	Status int
	Reason string // a label of the metrics, from a fixed list
	Text   string // what is wrong and what to do about it, for the reader of the answer
	Who    string // the receiver of a message for a foreign account; for the log alone
}

func (r *Refusal) Error() string { return r.Text }

// Final reports whether the same message would be refused again.
func (r *Refusal) Final() bool { return r.Status != http.StatusServiceUnavailable }

// Again makes a temporary refusal: PayPal comes again.
func Again(reason, text string) *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Reason: reason, Text: text}
}

// Write answers PayPal; refused is nil for 200. PayPal reads only the status. The other
// parts are for a person.
func Write(w http.ResponseWriter, refused *Refusal) {
	if refused == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !refused.Final() {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(refused.Status)
	// An error means that PayPal has hung up.
	_ = json.NewEncoder(w).Encode(map[string]string{"error": refused.Text, "reason": refused.Reason})
}
