package contract

import (
	"testing"
)

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
