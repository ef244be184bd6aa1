package door

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/bufbuild/protocompile"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/donation-dedupe/noted/server/internal/contract"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// TestOpenAPI makes the description from the contract: calls, fields and comments from
// noted.proto, limits from package contract.
func TestOpenAPI(t *testing.T) {
	var made bytes.Buffer
	encoder := json.NewEncoder(&made)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document(t)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(made.Bytes(), openAPI) {
		t.Error("openapi.json differs from the contract: run go test -run TestOpenAPI ./server/internal/door -update")
	}
}

// The door shows its description to everybody, also to a caller without a token.
func TestDoorDescribesItself(t *testing.T) {
	door := New(Config{MaxDeadline: time.Second, Age: time.Minute})
	for _, c := range []struct {
		method string
		status int
	}{{http.MethodGet, http.StatusOK}, {http.MethodHead, http.StatusOK}, {http.MethodPost, http.StatusNotFound}} {
		answer := httptest.NewRecorder()
		door.ServeHTTP(answer, httptest.NewRequest(c.method, OpenAPIPath, nil))
		if answer.Code != c.status || answer.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s, want %d and JSON", c.method, answer.Code, answer.Header().Get("Content-Type"), c.status)
		}
		if c.status == http.StatusOK && !json.Valid(answer.Body.Bytes()) {
			t.Errorf("%s: the body is not JSON", c.method)
		}
	}
}

type object = map[string]any

// document is the description of the contract.
func document(t *testing.T) object {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"../../../api"}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(t.Context(), "noted/v1/noted.proto")
	if err != nil {
		t.Fatal(err)
	}
	d := describer{t: t, file: files[0], schemas: object{}}
	service := d.file.Services().Get(0)
	paths := object{}
	for i := range service.Methods().Len() {
		if method := service.Methods().Get(i); !method.IsStreamingClient() {
			path := object{"post": d.operation(method, false)}
			if method.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
				path["get"] = d.operation(method, true)
			}
			paths[fmt.Sprintf("/%s/%s", service.FullName(), method.Name())] = path
		}
	}
	d.schemas["Error"] = failure()
	for field := range bounds {
		if !d.limited[field] {
			t.Errorf("the contract has no field %s", field)
		}
	}
	return object{
		"openapi":           "3.1.0",
		"jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
		"info": object{
			"title":   "Noted",
			"version": "v1",
			"summary": "Tells whether a donation has been noted already",
			"description": d.comment(service) + "\n\nThis is the JSON door of noted/v1/noted.proto, without its stream. " +
				"A field that is not described here is refused. Answers leave out fields that are empty, 0 or false.",
			"license": object{"name": "Apache 2.0", "identifier": "Apache-2.0"},
		},
		"servers":  []object{{"url": "/"}},
		"security": []object{{"token": []string{}}, {}},
		"paths":    paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{
				"token": object{"type": "http", "scheme": "bearer", "description": "needed where the server has -callers"},
			},
		},
	}
}

type describer struct {
	t       *testing.T
	file    protoreflect.FileDescriptor
	schemas object
	limited map[string]bool // fields of bounds that the contract has
}

// operation describes a call. asked is for one by GET, whose query holds the request.
func (d *describer) operation(method protoreflect.MethodDescriptor, asked bool) object {
	in := func(schema object) object { return object{"application/json": object{"schema": schema}} }
	request := in(d.message(method.Input(), true))
	operation := object{
		"operationId": string(method.Name()),
		"description": d.comment(method),
		"responses": object{
			"200":     object{"description": "the answer", "content": in(d.message(method.Output(), false))},
			"default": object{"description": "a failure", "content": in(object{"$ref": "#/components/schemas/Error"})},
		},
	}
	if !asked {
		operation["requestBody"] = object{"required": true, "content": request}
		return operation
	}
	operation["operationId"] = string(method.Name()) + "ByGet"
	operation["parameters"] = []object{
		{"in": "query", "name": "encoding", "required": true, "schema": object{"type": "string", "enum": []string{"json"}}},
		{"in": "query", "name": "message", "required": true, "description": "the request", "content": request},
	}
	return operation
}

// message is the schema of a message. A request is strict. An answer is not, since a later
// server may say more, so a message of both has two schemas.
func (d *describer) message(m protoreflect.MessageDescriptor, request bool) object {
	switch m.FullName() {
	case "google.protobuf.Timestamp":
		return object{"type": "string", "format": "date-time"}
	case "google.protobuf.Duration":
		return object{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]{1,9})?s$`}
	}
	name := string(m.Name())
	if !request && (name == "Donation" || name == "Message") {
		name += "Read"
	}
	reference := object{"$ref": "#/components/schemas/" + name}
	if _, known := d.schemas[name]; known {
		return reference
	}
	schema := object{"type": "object", "description": d.comment(m)}
	d.schemas[name] = schema
	properties, required := object{}, []string{}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		field := d.field(f, request)
		if request && mustBe(f, d.comment(f)) {
			required = append(required, f.JSONName())
		} else if request { // null means the same as a missing field
			description := field["description"]
			delete(field, "description")
			also := []object{field, {"type": "null"}}
			if f.Kind() == protoreflect.EnumKind {
				also = append(also, object{"type": "integer", "minimum": 0, "maximum": f.Enum().Values().Len() - 1})
			}
			field = object{"anyOf": also, "description": description}
		}
		properties[f.JSONName()] = field
	}
	if len(properties) > 0 {
		schema["properties"] = properties
	}
	if request {
		schema["additionalProperties"] = false
		switch m.Name() {
		case "Donation":
			schema["dependentRequired"] = object{"amount": []string{"currencyCode"}, "currencyCode": []string{"amount"}}
		case "Message":
			schema["dependentRequired"] = object{"id": []string{"channel"}}
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	return reference
}

// mustBe tells whether a request without the field is refused.
func mustBe(f protoreflect.FieldDescriptor, comment string) bool {
	return strings.Contains(comment, "Required.") || f.FullName() == "noted.v1.Donation.series_id"
}

func (d *describer) field(f protoreflect.FieldDescriptor, request bool) object {
	schema := object{}
	switch f.Kind() {
	case protoreflect.StringKind:
		schema["type"] = "string"
	case protoreflect.BoolKind:
		schema["type"] = "boolean"
	case protoreflect.Int32Kind:
		schema["type"] = "integer"
		schema["format"] = "int32"
	case protoreflect.EnumKind:
		schema = d.enum(f.Enum())
	case protoreflect.MessageKind:
		schema = d.message(f.Message(), request)
	default:
		d.t.Fatalf("%s is a %s, which the description does not know", f.FullName(), f.Kind())
	}
	if f.IsList() {
		schema = object{"type": "array", "items": schema}
	}
	name := strings.TrimPrefix(string(f.FullName()), "noted.v1.")
	limit, has := bounds[name]
	switch kind := f.Kind(); {
	case !request:
	case has:
		maps.Copy(schema, limit)
	case kind == protoreflect.StringKind || kind == protoreflect.Int32Kind:
		d.t.Errorf("bounds has no limit of %s: add the limit by which package contract refuses the field", name)
	}
	if d.limited == nil {
		d.limited = map[string]bool{}
	}
	d.limited[name] = true
	schema["description"] = d.comment(f)
	return schema
}

func (d *describer) enum(e protoreflect.EnumDescriptor) object {
	name := string(e.Name())
	if _, known := d.schemas[name]; !known {
		values, text := []string{}, d.comment(e)
		for i := range e.Values().Len() {
			values = append(values, string(e.Values().Get(i).Name()))
			text += "\n\n" + d.comment(e.Values().Get(i))
		}
		d.schemas[name] = object{"type": "string", "enum": values, "description": text}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// comment returns the contract's comment above a declaration.
func (d *describer) comment(of protoreflect.Descriptor) string {
	lines := strings.Split(d.file.SourceLocations().ByDescriptor(of).LeadingComments, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], " ")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// bounds are those of the fields of requests.
var bounds = func() map[string]object {
	words := func(least, most int) object {
		return object{"pattern": fmt.Sprintf("^[!-~]{%d,%d}$", least, most)}
	}
	receipt := words(1, contract.MaxReceipt)
	hold := object{"examples": []string{"60s"}}
	return map[string]object{
		"Donation.ledger":         words(0, contract.MaxLedger),
		"Donation.series_id":      words(1, contract.MaxID),
		"Donation.amount":         {"pattern": `^(-?[0-9]{1,15}(\.[0-9]{1,8})?)?$`},
		"Donation.currency_code":  {"pattern": "^([A-Z]{3})?$"},
		"Donation.transaction_id": words(0, contract.MaxID),

		"Message.channel": {"pattern": fmt.Sprintf("^[a-z0-9._-]{0,%d}$", contract.MaxChannel)},
		"Message.id":      words(0, contract.MaxID),

		"NoteDonationRequest.hold":       hold,
		"NoteDonationRequest.request_id": words(0, contract.MaxID),
		"SettleDonationRequest.receipt":  receipt,
		"SettleDonationRequest.reason":   {"maxLength": contract.MaxReason},
		"ReleaseDonationRequest.receipt": receipt,
		"ReleaseDonationRequest.reason":  {"maxLength": contract.MaxReason},
		"ExtendHoldRequest.receipt":      receipt,
		"ExtendHoldRequest.hold":         hold,

		"ListDonationsRequest.ledger":         words(0, contract.MaxLedger),
		"ListDonationsRequest.series_id":      words(0, contract.MaxID),
		"ListDonationsRequest.transaction_id": words(0, contract.MaxID),
		"ListDonationsRequest.seen_only_on":   {"pattern": fmt.Sprintf("^[a-z0-9._-]{0,%d}$", contract.MaxChannel)},
		"ListDonationsRequest.page_token":     {}, // the store's
		"ListDonationsRequest.page_size":      {"minimum": 0, "maximum": contract.MaxPageSize},

		"ForgetDonationRequest.ledger":      words(0, contract.MaxLedger),
		"ForgetDonationRequest.series_id":   words(1, contract.MaxID),
		"ForgetDonationRequest.donation_id": {"pattern": fmt.Sprintf("^[a-zA-Z0-9-]{1,%d}$", contract.MaxDonationID)},
		"ForgetDonationRequest.reason":      {"minLength": 1, "maxLength": contract.MaxReason},
	}
}()

// failure is the schema of a failed call.
func failure() object {
	var names []string
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		names = append(names, connect.Code(code).String())
	}
	return object{
		"type":        "object",
		"description": "Error says why a call failed, and what to do about it.",
		"required":    []string{"code"},
		"properties": object{
			"code":    object{"type": "string", "enum": names},
			"message": object{"type": "string", "description": "for a person"},
			"details": object{
				"type": "array",
				"items": object{
					"type":     "object",
					"required": []string{"type", "value"},
					"properties": object{
						"type":  object{"type": "string", "examples": []string{"google.rpc.ErrorInfo"}},
						"value": object{"type": "string", "description": "the message of this type, in protobuf and base64"},
						"debug": object{"description": "the same message as JSON; google.rpc.ErrorInfo has the reason"},
					},
				},
			},
		},
	}
}
