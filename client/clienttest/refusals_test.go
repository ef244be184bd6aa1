package clienttest

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// The fake fails with each reason of the contract, under the contract's code.
func TestCodesAreTheContracts(t *testing.T) {
	contract, err := os.ReadFile("../../api/noted/v1/noted.proto")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(contract), "syntax =")
	_, list, found := strings.Cut(head, "helps:\n//\n")
	if !found {
		t.Fatal("noted.proto no longer begins with a list of reasons; change this test with it")
	}
	documented := map[string]codes.Code{}
	var code codes.Code
	remarks, word := regexp.MustCompile(`\([^)]*\)`), regexp.MustCompile(`[A-Z_]{4,}`)
	for line := range strings.Lines(remarks.ReplaceAllString(list, "")) {
		words := word.FindAllString(line, -1)
		if strings.HasPrefix(line, "//   ") && line[5] != ' ' && len(words) > 0 {
			if err := code.UnmarshalJSON([]byte(`"` + words[0] + `"`)); err != nil {
				t.Fatal(err)
			}
			words = words[1:]
		}
		for _, reason := range words {
			documented[reason] = code
		}
	}
	if !maps.Equal(documented, codeOf) {
		t.Errorf("the contract's reasons and codes differ from those of the fake:\n%v\n%v", documented, codeOf)
	}
}
