package store_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDesignFigures checks that DESIGN.md has the figures that the simulation printed.
func TestDesignFigures(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	design, settings := read("../../DESIGN.md"), read("testdata/settings.md")
	table, _, _ := strings.Cut(read("testdata/simulation.md"), "\n\n")
	if !strings.Contains(design, table) {
		t.Errorf("server/DESIGN.md does not have the table\n%s", table)
	}
	const paidTwice = "of %s payments of which 2 %% were paid twice within the window %s"
	for row, says := range map[string]string{
		"ids differ, 2 % paid twice":                                 paidTwice + "; and each refund",
		"ids differ, a fifth without times":                          "of %s payments %s, all in daily series",
		"ids agree, 2 % paid twice, a fifth without transaction ids": paidTwice + ".\n",
		"ids agree in 95 % of the series, 2 % paid twice":            "%[2]s of %[1]s payments, about one in each",
		"PAYMENT_FAILED": "of %s of them %s. Two suspensions",
	} {
		count, wrongs := figures(settings, row)
		if sentence := fmt.Sprintf(says, count, wrongs); !strings.Contains(design, sentence) {
			t.Errorf("server/DESIGN.md does not say %q of %s", sentence, row)
		}
	}
}

// figures returns how many donations a row is about, and how many went wrong with auto.
func figures(settings, row string) (count, wrongs string) {
	for line := range strings.Lines(settings) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if number, name, ok := strings.Cut(cells[0], ", "); ok && name == row {
			return number, cells[1]
		}
		if cells[0] == row {
			return cells[1], cells[2]
		}
	}
	return "", ""
}
