// Package setting holds the error of an impossible setting.
package setting

import (
	"errors"
	"fmt"
)

// An Error is a mistake in one field of gateway.Config.
type Error struct {
	Field   string // its name, such as "ForwardTo"
	Problem string // continues the sentence after the name; names no other field and no secret
}

func (e *Error) Error() string { return e.Field + " " + e.Problem }

// In puts the errors of a part's settings under the name of the part, such as
// "PayPalAccounts[1].".
func In(part string, err error) error {
	switch e := err.(type) { //nolint:errorlint // it walks the tree of joined errors itself
	case *Error:
		return &Error{Field: part + e.Field, Problem: e.Problem}
	case interface{ Unwrap() []error }:
		var all []error
		for _, one := range e.Unwrap() {
			all = append(all, In(part, one))
		}
		return errors.Join(all...)
	}
	return err
}

// Wrong makes an Error.
func Wrong(field, format string, args ...any) error {
	return &Error{Field: field, Problem: fmt.Sprintf(format, args...)}
}
