// Package jsonfile reads an operator's settings from JSON, strictly: a repeated name, a
// wrong kind of value, or text after the end is an error, and every error names its line.
// The caller knows the names, and must make an unknown name an error too: a misspelled
// setting must not silently keep its default.
//
//	err := jsonfile.Read(path, text, func(r *jsonfile.Reader) error {
//		return r.Object("ledger", func(name string) error { … r.Text("retention") … })
//	})
package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Reader reads token by token, so that it knows at which line it is.
type Reader struct{ decoder *json.Decoder }

// Read reads text, the content of path, with the given function.
func Read(path string, text []byte, with func(*Reader) error) error {
	r := &Reader{decoder: json.NewDecoder(bytes.NewReader(text))}
	err := with(r)
	if err == nil {
		if _, err = r.decoder.Token(); err == nil {
			err = errors.New("there is more after the end")
		} else if errors.Is(err, io.EOF) {
			return nil
		}
	}
	at := r.decoder.InputOffset()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = min(syntax.Offset, int64(len(text)))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends too early")
	}
	return fmt.Errorf("%s line %d: %w", path, 1+bytes.Count(text[:at], []byte("\n")), err)
}

// Object reads an object and calls each for every name, to read its value. kind says in
// errors what the names stand for; empty for settings.
func (r *Reader) Object(kind string, each func(name string) error) error {
	if token, err := r.decoder.Token(); err != nil {
		return err
	} else if token != json.Delim('{') {
		return fmt.Errorf("an object, {…}, must be here, not %v", token)
	}
	seen := map[string]bool{}
	for r.decoder.More() {
		token, err := r.decoder.Token()
		if err != nil {
			return err
		}
		name := token.(string) // the decoder allows no other token here
		called := fmt.Sprintf("%q", name)
		if kind != "" {
			called = kind + " " + called
		}
		if seen[name] {
			return fmt.Errorf("%s is there twice", called)
		}
		seen[name] = true
		err = each(name)
		if err != nil && kind != "" {
			err = fmt.Errorf("%s: %w", called, err)
		}
		if err != nil {
			return err
		}
	}
	_, err := r.decoder.Token()
	return err
}

// Text reads the value of a setting that is a text.
func (r *Reader) Text(setting string) (string, error) {
	token, err := r.decoder.Token()
	if err != nil {
		return "", err
	}
	value, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%s must be a text in quotes", setting)
	}
	return value, nil
}

// Texts reads the value of a setting that is a list of texts, and calls each for every
// text.
func (r *Reader) Texts(setting string, each func(value string) error) error {
	if token, err := r.decoder.Token(); err != nil {
		return err
	} else if token != json.Delim('[') {
		return fmt.Errorf("%s must be a list of texts, [\"…\"]", setting)
	}
	for r.decoder.More() {
		value, err := r.Text(setting)
		if err == nil {
			err = each(value)
		}
		if err != nil {
			return err
		}
	}
	_, err := r.decoder.Token()
	return err
}
