package door

import (
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"
)

// explaining says why a request is not answered where the Connect library sends the status
// alone. It is for calls with one answer: it does not flush.
type explaining struct {
	http.ResponseWriter
	request *http.Request
}

// WriteHeader is of http.ResponseWriter.
func (w explaining) WriteHeader(status int) {
	r := w.request
	switch {
	case w.Header().Get("Content-Type") != "":
		w.ResponseWriter.WriteHeader(status)
	case status == http.StatusMethodNotAllowed:
		refuseJSON(w.ResponseWriter, status, codes.Unimplemented,
			fmt.Sprintf("%s cannot be called with %.20s; it takes %s", r.Method, r.URL.Path, w.Header().Get("Allow")))
	case status == http.StatusUnsupportedMediaType && r.Method == http.MethodGet:
		refuseJSON(w.ResponseWriter, status, codes.InvalidArgument,
			"the query of a GET needs encoding=json, and the request in message; or POST the request")
	case status == http.StatusUnsupportedMediaType:
		refuseJSON(w.ResponseWriter, status, codes.InvalidArgument,
			fmt.Sprintf("a request of the type %.100q is not read; send JSON with the header content-type: "+
				"application/json", r.Header.Get("Content-Type")))
	default:
		w.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap is for http.ResponseController.
func (w explaining) Unwrap() http.ResponseWriter { return w.ResponseWriter }
