package gateway

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
	"github.com/donation-dedupe/noted/client/gateway/internal/downstream"
	"github.com/donation-dedupe/noted/client/gateway/internal/process"
)

// firstRead is the initial memory of a body. Most of PayPal's need no more.
const firstRead = 4 << 10

// A room is the memory for bodies.
type room struct{ left atomic.Int64 } // bytes

func (r *room) take(bytes int) bool {
	if r.left.Add(-int64(bytes)) >= 0 {
		return true
	}
	r.free(bytes)
	return false
}

func (r *room) free(bytes int) { r.left.Add(int64(bytes)) }

// read reads the body, within the allowed size and time. The caller frees the room of the
// returned body, even after an error.
func (g *Gateway) read(w http.ResponseWriter, r *http.Request, c *process.Channel) ([]byte, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &answer.Refusal{Status: http.StatusMethodNotAllowed, Reason: "method", Text: "send a POST"}
	}
	if slices.Contains(r.Header["Via"], downstream.Via) {
		return nil, &answer.Refusal{
			Status: http.StatusLoopDetected,
			Reason: "loop",
			Text: "a gateway sent this message: the address of its listener leads back to a gateway; " +
				"give it an address that leads to the listener",
		}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != c.ContentType {
		return nil, &answer.Refusal{
			Status: http.StatusUnsupportedMediaType,
			Reason: "content_type",
			Text:   "the Content-Type must be " + c.ContentType,
		}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, &answer.Refusal{
			Status: http.StatusUnsupportedMediaType,
			Reason: "content_type",
			Text:   "send no Content-Encoding: the bytes are verified as they arrive",
		}
	}
	tooLarge := &answer.Refusal{
		Status: http.StatusRequestEntityTooLarge,
		Reason: "too_large",
		Text:   "the message has more than " + strconv.FormatInt(g.config.MaxBody, 10) + " bytes",
	}
	if r.ContentLength > g.config.MaxBody {
		return nil, tooLarge
	}
	// Some servers cannot set deadlines. There only MaxBody limits the body.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(g.config.BodyTimeout))
	body, err := g.gather(http.MaxBytesReader(w, r.Body, g.config.MaxBody))
	switch {
	case err == nil && len(body) == 0:
		return body, &answer.Refusal{Status: http.StatusBadRequest, Reason: "malformed", Text: "the body is empty"}
	case err == nil:
		_ = control.SetReadDeadline(time.Time{})
		return body, nil
	}
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errBusy):
		return body, err
	case errors.As(err, &large):
		return body, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return body, &answer.Refusal{
			Status: http.StatusRequestTimeout,
			Reason: "slow",
			Text:   "the message did not arrive in time",
		}
	}
	return body, &answer.Refusal{
		Status: http.StatusBadRequest,
		Reason: "broken",
		Text:   "the connection broke before the message was complete",
	}
}

var errBusy = answer.Again("busy", "too many messages at once; come again")

// gather reads to the end, like io.ReadAll, and takes room as the bytes arrive. Bytes
// that the sender announces but does not send take no room.
func (g *Gateway) gather(from io.Reader) (body []byte, err error) {
	for {
		if len(body) == cap(body) {
			// One byte more than the largest body, to see its end.
			size := int(min(int64(max(firstRead, 2*cap(body))), g.config.MaxBody+1))
			if !g.room.take(size - cap(body)) {
				return body, errBusy
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}
