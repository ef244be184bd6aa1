package wire

import "testing"

// TestWorsePersistence checks that the report of a cluster has the persistence of the
// primary that can lose most, in whatever order they answer.
func TestWorsePersistence(t *testing.T) {
	fromWorst := []string{"none", "rdb", "aof", ""}
	for i, worst := range fromWorst {
		for _, other := range fromWorst[i:] {
			a, b := Report{Version: "7.0", Persistence: worst}, Report{Version: "7.0", Persistence: other}
			if got := []string{worse(a, b).Persistence, worse(b, a).Persistence}; got[0] != worst || got[1] != worst {
				t.Errorf("%q and %q: the worse is %q, want %q twice", worst, other, got, worst)
			}
		}
	}
}
