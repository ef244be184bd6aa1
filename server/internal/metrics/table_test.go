package metrics

import (
	"regexp"
	"testing"
)

// TestTable checks that each metric stands once, with a name that says whose it is and a
// meaning that is a sentence.
func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^noted_[a-z_]+$`)
	seen := map[string]bool{}
	for _, m := range Table {
		if !name.MatchString(m.Name) || seen[m.Name] || len(m.Meaning) < 20 || m.Meaning[len(m.Meaning)-1] != '.' {
			t.Errorf("%+v: want a name of its own that begins with noted_, and a sentence", m)
		}
		seen[m.Name] = true
	}
}
