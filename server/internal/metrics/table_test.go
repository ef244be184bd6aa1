package metrics

import (
	"regexp"
	"testing"
)

// TestTable checks that each metric has one row, a name that begins with noted_, and a
// sentence as its meaning.
func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^noted_[a-z_]+$`)
	seen := map[string]bool{}
	for _, m := range Table {
		if !name.MatchString(m.Name) || seen[m.Name] || len(m.Meaning) < 20 || m.Meaning[len(m.Meaning)-1] != '.' {
			t.Errorf("%+v: want a unique name that begins with noted_, and a sentence", m)
		}
		seen[m.Name] = true
	}
}
