package epoch

import (
	"fmt"
	"strings"
	"testing"
)

// TestStands checks which values of a mark count as having this server's last beat.
// beat.lua has the same rule.
func TestStands(t *testing.T) {
	known := mark{key: markKey, id: "k7q2", letters: "b5xa", beats: 100}
	sixty := strings.Repeat(" 9c2k", 60)
	for value, want := range map[string]bool{
		"1 k7q2 100 b5xa":                true,
		"1 k7q2 101 9c2k b5xa":           true,
		"1 k7q2 160" + sixty:             true, // the beat has dropped out
		"1 k7q2 159" + sixty:             false,
		"1 k7q2 100 9c2k":                false, // another server's beat in its place
		"1 k7q2 99 b5xa":                 false, // older than the beat
		"1 other 100 b5xa":               false,
		"2 k7q2 100 b5xa":                false,
		"1 k7q2 many b5xa":               false,
		"1 k7q2":                         false,
		"":                               false,
		fmt.Sprint("1 k7q2 ", 1<<62, ""): true,
	} {
		if got := known.stands(value); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
