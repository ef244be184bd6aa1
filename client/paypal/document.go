package paypal

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// maxDepth limits the nesting of arrays and objects. PayPal stays below ten. Without a
// limit a few megabytes of [ exhaust the stack of a recursive parser.
const maxDepth = 64

// A document is the JSON object of a webhook. Numbers keep their spelling.
type document map[string]any

// parseDocument reads a body. Bytes above ASCII become 0x7f first: languages disagree
// about bad UTF-8, some refuse the whole body, and no field here needs it. 0x7f is legal
// in a JSON string and illegal in an id.
func parseDocument(body []byte) (document, error) {
	body = bytes.Clone(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	for i, c := range body {
		if c >= 0x80 {
			body[i] = 0x7f
		}
	}
	if depth(body) > maxDepth {
		return nil, &MalformedError{"body", "nests deeper than 64 levels; this is no event of PayPal's"}
	}
	var value any
	if json.Valid(body) { // a decoder alone would not check the bytes after the object
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		_ = decoder.Decode(&value) // valid JSON decodes
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &MalformedError{"body", "is no JSON object; pass the body of PayPal's POST unchanged"}
	}
	return object, nil
}

// depth returns the nesting of brackets outside strings. It need not be right about text
// that is not JSON.
func depth(body []byte) int {
	var depth, deepest int
	var quoted, escaped bool
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped = c == '\\'
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}

// find walks a path such as resource.links.0.href. It returns nil for an absent or null
// value, and a problem if the path leads through a value without such parts.
func (d document) find(path string) (value any, problem string) {
	value = map[string]any(d)
	for part := range strings.SplitSeq(path, ".") {
		switch parent := value.(type) {
		case nil:
			return nil, ""
		case map[string]any:
			value = parent[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(parent) {
				return nil, "is in an array where an object belongs"
			}
			value = parent[i]
		default:
			return nil, "is in a value that is not an object"
		}
	}
	return value, ""
}

// lookup returns the text at a path. For a number it returns the literal.
func (d document) lookup(path string) (text, problem string) {
	value, problem := d.find(path)
	switch v := value.(type) {
	case nil:
		return "", problem
	case string:
		return v, ""
	case json.Number:
		return v.String(), ""
	default:
		return "", "is neither a string nor a number"
	}
}

// length returns the number of elements of the array at a path: 0 if it is absent, and a
// problem if the value is not an array.
func (d document) length(path string) (n int, problem string) {
	value, problem := d.find(path)
	switch v := value.(type) {
	case nil:
		return 0, problem
	case []any:
		return len(v), ""
	default:
		return 0, "is no array"
	}
}
