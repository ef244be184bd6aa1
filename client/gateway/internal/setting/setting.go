// Package setting holds the error of an impossible setting.
package setting

import "fmt"

// An Error says what is wrong with one field of gateway.Config.
type Error struct {
	Field   string // its name, such as "ForwardTo"
	Problem string // continues the sentence after the name; names no other field and no secret
}

func (e *Error) Error() string { return e.Field + " " + e.Problem }

// Wrong makes an Error.
func Wrong(field, format string, args ...any) error {
	return &Error{Field: field, Problem: fmt.Sprintf(format, args...)}
}
