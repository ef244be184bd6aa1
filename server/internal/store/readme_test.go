package store_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeFigures checks that the README shows what the simulation printed.
func TestReadmeFigures(t *testing.T) {
	golden, err := os.ReadFile("testdata/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(golden), "\n\n")
	if !strings.Contains(string(readme), table) {
		t.Errorf("README.md does not have the table\n%s", table)
	}
	if strings.Contains(string(golden), "| 6,095 daily, 2 % paid twice | 3 lost, 3 doubled |") != strings.Contains(string(readme), "of 6,095 daily payments of which 2 % were paid twice") {
		t.Error("README.md states the known limit with other figures than simulation.md")
	}
}
