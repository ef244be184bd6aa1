package contract

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/donation-dedupe/noted/server/internal/store"
)

// TestNoteMessageIsWhole writes a note of which every field is known: no field of the
// contract's message, or of a message in it, is left empty.
func TestNoteMessageIsWhole(t *testing.T) {
	var n store.Note
	fill(reflect.ValueOf(&n).Elem())
	whole(t, NoteMessage(n).ProtoReflect())
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("1")
	case reflect.Int:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	default:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.UnixMilli(1_790_000_000_001)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

func whole(t *testing.T, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch field := fields.Get(i); {
		case !m.Has(field):
			t.Errorf("%s is empty", field.FullName())
		case field.IsList():
			whole(t, m.Get(field).List().Get(0).Message())
		case field.Message() != nil:
			whole(t, m.Get(field).Message())
		}
	}
}

func TestNumber(t *testing.T) {
	same := [][]string{
		{"25", "25.0", "25.00", "025"},
		{"0", "-0", "0.00", "-00.0"},
		{"-1.50", "-1.5", "-01.5"},
		{"0.1", "00.10"},
	}
	for i, group := range same {
		for j, other := range same {
			for _, a := range group {
				for _, b := range other {
					if (canonical(a) == canonical(b)) != (i == j) {
						t.Errorf("%s and %s: equal = %v, want %v", a, b, i != j, i == j)
					}
				}
			}
		}
	}
	for _, pair := range [][2]string{{"1", "-1"}, {"10", "1"}, {"0.1", "0.01"}, {"1.0", "10"}} {
		if canonical(pair[0]) == canonical(pair[1]) {
			t.Errorf("%s and %s are equal", pair[0], pair[1])
		}
	}
}
