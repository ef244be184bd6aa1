package door

import (
	_ "embed"
	"net/http"
)

// OpenAPIPath is where the door describes itself, for tools that make a client from a
// description.
const OpenAPIPath = "/openapi.json"

// openAPI describes the calls that this door answers as JSON. TestOpenAPI makes it from
// the contract.
//
//go:embed openapi.json
var openAPI []byte

func describe(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(openAPI)
}
