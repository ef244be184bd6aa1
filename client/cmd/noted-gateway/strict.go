package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/donation-dedupe/noted/client/cmdline"
)

// A strict reader reads settings from JSON. It keeps every mistake with its path, such as
// accounts[1].forward.to, so that an operator corrects them all together. It quotes no
// value, because any value may be a secret.
type strict struct{ wrong []error }

func (s *strict) mistake(path, format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Errorf("%s %s", path, fmt.Sprintf(format, args...)))
}

// An object keeps its fields in their order, including repeated fields.
type object []struct {
	name  string
	value any
}

// parse reads JSON into objects, lists ([]any) and values. A mistake in the syntax is
// reported with its line, and ends the reading.
func parseJSON(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	value, err := parseValue(decoder)
	if err == nil {
		if _, err = decoder.Token(); err == nil {
			err = errors.New("there is more after the end")
		} else if errors.Is(err, io.EOF) {
			return value, nil
		}
	}
	at := decoder.InputOffset()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = min(syntax.Offset, int64(len(text)))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends too early")
	}
	return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:at], []byte("\n")), err)
}

func parseValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		read := object{}
		for decoder.More() {
			name, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			read = append(read, struct {
				name  string
				value any
			}{name.(string), value}) // the decoder guarantees a string
		}
		_, err = decoder.Token()
		return read, err
	case json.Delim('['):
		read := []any{}
		for decoder.More() {
			value, err := parseValue(decoder)
			if err != nil {
				return nil, err
			}
			read = append(read, value)
		}
		_, err = decoder.Token()
		return read, err
	}
	return token, nil
}

// A field reads the value at a path.
type field func(path string, value any)

// object reads an object with known fields.
func (s *strict) object(fields map[string]field) field {
	return func(path string, value any) {
		read, ok := value.(object)
		if !ok {
			s.mistake(path, "must be an object, {…}")
			return
		}
		seen := make(map[string]bool)
		for _, f := range read {
			at := strings.TrimPrefix(path+"."+f.name, ".")
			switch known, ok := fields[f.name]; {
			case !ok:
				names := slices.Sorted(maps.Keys(fields))
				s.mistake(at, "is not a field; the nearest is %s, of %s", cmdline.Nearest(f.name, names),
					strings.Join(names, ", "))
			case seen[f.name]:
				s.mistake(at, "is there twice; remove one")
			default:
				known(at, f.value)
			}
			seen[f.name] = true
		}
	}
}

// list reads a list, each element with its own field.
func (s *strict) list(of string, each func() field) field {
	return func(path string, value any) {
		read, ok := value.([]any)
		switch {
		case !ok:
			s.mistake(path, "must be a list of %s, […]", of)
		case len(read) == 0:
			s.mistake(path, "is empty; name %s, or leave it out", of)
		}
		for i, element := range read {
			each()(fmt.Sprintf("%s[%d]", path, i), element)
		}
	}
}

// text reads a text, and passes it to take.
func (s *strict) text(take func(path, text string)) field {
	return func(path string, value any) {
		if text, ok := value.(string); ok {
			take(path, text)
		} else {
			s.mistake(path, "must be a text in quotes")
		}
	}
}

// into reads a text into a variable, and texts reads a list of texts.
func (s *strict) into(to *string) field { return s.text(func(_, text string) { *to = text }) }

func (s *strict) texts(of string, to *[]string) field {
	return s.list(of, func() field { return s.text(func(_, text string) { *to = append(*to, text) }) })
}

// yes reads true or false.
func (s *strict) yes(to *bool) field {
	return func(path string, value any) {
		var ok bool
		if *to, ok = value.(bool); !ok {
			s.mistake(path, "must be true or false")
		}
	}
}
