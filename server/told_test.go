package server

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/limits"
	"github.com/donation-dedupe/noted/server/internal/metrics"
	"github.com/donation-dedupe/noted/server/internal/model"
)

// words reads a file as one line, without its comment marks. Of a folder, whose name ends
// with a slash, it reads all source files.
func words(t *testing.T, file string) string {
	t.Helper()
	files := []string{file}
	if strings.HasSuffix(file, "/") {
		files = nil
		err := filepath.WalkDir(file, func(path string, entry fs.DirEntry, err error) error {
			if ext := filepath.Ext(path); (ext == ".go" || ext == ".py") && !strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	mark := regexp.MustCompile(`(?m)^\s*(//|#|\* )`)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(strings.Join(strings.Fields(mark.ReplaceAllString(string(text), "")), " ") + " ")
	}
	return all.String()
}

// TestLimitsAreToldAsTheyAre compares sentences for callers and operators with the limits
// in the code.
func TestLimitsAreToldAsTheyAre(t *testing.T) {
	tenLinesInTenSeconds := metrics.FloodLines == 10 && metrics.FloodSpan == 10*time.Second
	for _, told := range []struct{ file, text string }{
		{contractFile, fmt.Sprintf("The transport refuses a request of more than %d KiB", contract.MaxMessage>>10)},
		{contractFile, fmt.Sprintf("it also ends at %d KiB of notes", contract.MaxPage>>10)},
		{contractFile, fmt.Sprintf("1 to %d; 0 means %d", contract.MaxPageSize, contract.DefaultPageSize)},
		{"../SECURITY.md", fmt.Sprintf("old ones live for up to %.0f minutes", limits.ConnectionAge.Minutes())},
		{"../SECURITY.md", map[int]string{10: "A denied caller may try ten times a second"}[limits.DenialsRate]},
		{"../SECURITY.md", map[bool]string{true: "ten of each kind in ten seconds"}[tenLinesInTenSeconds]},
		{"cmd/noted/flags.go", fmt.Sprintf("A caller whose calls are denied may try %d times a second", limits.DenialsRate)},
	} {
		if told.text == "" || !strings.Contains(words(t, told.file), told.text) {
			t.Errorf("%s does not say %q, which is the limit in the code", told.file, told.text)
		}
	}
}

const contractFile = "../api/noted/v1/noted.proto"

// TestLimitsAreTheContractsEverywhere compares each number that stands for a limit of the
// contract, in the clients of four languages and in the manuals, with limits.go. A pattern
// finds the number; all that it finds must be the limit.
func TestLimitsAreTheContractsEverywhere(t *testing.T) {
	minutes := int(contract.MaxHold.Minutes())
	for _, stands := range []struct {
		file, pattern string
		limit, times  int
	}{
		{contractFile, `Limits, .*?: ledger (\d+);`, contract.MaxLedger, 1},
		{contractFile, `series_id, message id, transaction_id, request_id (\d+)`, contract.MaxID, 1},
		{contractFile, `channel (\d+) of`, contract.MaxChannel, 1},
		{contractFile, `reason (\d+) of valid UTF-8`, contract.MaxReason, 1},
		{contractFile, `(\d+) minutes`, minutes, 2},
		{contractFile, `sightings are .*? at most (\d+)`, model.MostSightings, 1},
		{"../api/README.md", "\\| `ledger` \\| (\\d+) bytes", contract.MaxLedger, 1},
		{"../api/README.md", "`request_id` \\| (\\d+) bytes", contract.MaxID, 1},
		{"../api/README.md", "\\| `channel` \\| (\\d+) bytes", contract.MaxChannel, 1},
		{"../api/README.md", "\\| `reason` \\| (\\d+) bytes", contract.MaxReason, 1},
		{"../api/README.md", "\\| `hold` \\| 0 to (\\d+) minutes", minutes, 1},
		{"../api/README.md", `\| a request \| (\d+) KiB`, contract.MaxMessage >> 10, 1},
		{"../api/README.md", `1 to (\d+) notes`, contract.MaxPageSize, 1},
		{"../api/README.md", `\(.page_size.\), and (\d+) KiB`, contract.MaxPage >> 10, 1},
		{"../SECURITY.md", `at most (\d+) KiB and a byte`, contract.MaxMessage >> 10, 1},
		{"internal/store/notes.lua", `local MOST_SIGHTINGS = (\d+)`, model.MostSightings, 1},

		{"../client/paypal/doc.go", `An id is 1 to (\d+) bytes`, contract.MaxID, 1},
		{"../client/paypal/reader.go", `const maxID = (\d+)`, contract.MaxID, 1},
		{"../client/python/src/noted/paypal/", `(?:7e\]\{1,|more than |_MAX_ID = )(\d+)(?:\}"| bytes|\s)`, contract.MaxID, 0},
		{"../client/php/src/PayPal/Reader.php", `const MAX_ID = (\d+)`, contract.MaxID, 1},
		{"../client/ts/src/paypal/fields.ts", `const maxId = (\d+)`, contract.MaxID, 1},
		{"../client/desk/question.go", `!-~\]\{1,(\d+)\}`, contract.MaxID, 1},
		{"../client/clienttest/refusals.go", `!-~\]\{0,(\d+)\}`, contract.MaxID, 1},
		{"../client/clienttest/refusals.go", `up to (\d+) letters`, contract.MaxID, 3},
		{"../client/cmd/notectl/", `(?:up to|len\(s\) <=) (\d+)(?: characters| &&)`, contract.MaxLedger, 3},

		{"../client/clienttest/refusals.go", `const maxHold = (\d+) \* time.Minute`, minutes, 1},
		{"../client/clienttest/refusals.go", `must be 0 to (\d+) minutes`, minutes, 1},
		{"../client/client.go", `const maxHold = (\d+) \* time.Minute`, minutes, 1},
		{"../client/client.go", `Up to (\d+) minutes`, minutes, 1},
		{"../client/python/src/noted/", `MAX_HOLD = (\d+) \* 60`, minutes, 1},
		{"../client/python/src/noted/", `and (\d+) minutes`, minutes, 0},
		{"../client/php/src/Client.php", `const MAX_HOLD = (\d+)`, 60 * minutes, 1},
		{"../client/php/src/Client.php", `Up to (\d+)`, 60 * minutes, 1},
		{"../client/ts/src/settings.ts", `const maxHold = (\d+) \* 60_000`, minutes, 1},
		{"../client/ts/src/settings.ts", `(\d+) minutes`, minutes, 1},
		{"../client/gateway/", `longestHold = (\d+) \* time.Minute`, minutes, 1},
		{"../client/gateway/", `up to (\d+)m\b`, minutes, 1},
		{"../client/cmd/noted-gateway/", `[Uu]p to (\d+)m\b`, minutes, 1},
		{"../client/cmd/notectl/", `up to (\d+)m\b`, minutes, 2},
		{"../client/desk/", `PageSize: (\d{3,})`, contract.MaxPageSize, 0},
		{"../client/php/src/Client.php", `1 to (\d+); 0 means`, contract.MaxPageSize, 1},
		{"../client/php/src/Client.php", `; 0 means (\d+)`, contract.DefaultPageSize, 1},
	} {
		found := regexp.MustCompile(stands.pattern).FindAllStringSubmatch(words(t, stands.file), -1)
		if len(found) == 0 || stands.times > 0 && len(found) != stands.times {
			t.Errorf(
				"%s has %q %d times, want %d (0: at least once)", stands.file, stands.pattern, len(found),
				stands.times,
			)
		}
		for _, number := range found {
			if number[1] != strconv.Itoa(stands.limit) {
				t.Errorf("%s says %q, the limit is %d", stands.file, number[0], stands.limit)
			}
		}
	}
}

// TestAmountsAreTheContractsEverywhere compares how many digits an amount may have.
func TestAmountsAreTheContractsEverywhere(t *testing.T) {
	checked := regexp.MustCompile(`isDigits\(whole, (\d+)\) .*isDigits\(fraction, (\d+)\)`)
	want := checked.FindStringSubmatch(words(t, "internal/contract/check.go"))
	if want == nil {
		t.Fatalf("check.go has no %v", checked)
	}
	said := regexp.MustCompile(`1(?:,| to )(\d+)(?:}| digits).{1,40}?1(?:,| to )(\d+)(?:}| digits)`)
	for _, file := range []string{
		contractFile, "internal/contract/check.go",
		"../client/paypal/doc.go", "../client/paypal/reader.go", "../client/python/src/noted/paypal/fields.py",
		"../client/php/src/PayPal/Reader.php", "../client/ts/src/paypal/fields.ts",
		"../client/clienttest/refusals.go", "../client/desk/question.go",
	} {
		found := said.FindAllStringSubmatch(words(t, file), -1)
		if len(found) == 0 {
			t.Errorf("%s does not say how many digits an amount may have", file)
		}
		for _, number := range found {
			if number[1] != want[1] || number[2] != want[2] {
				t.Errorf("%s says %q, check.go takes %s and %s digits", file, number[0], want[1], want[2])
			}
		}
	}
}

// TestLimitsInTheContractsComments compares the comments of the fields with limits.go.
func TestLimitsInTheContractsComments(t *testing.T) {
	text, err := os.ReadFile(contractFile)
	if err != nil {
		t.Fatal(err)
	}
	limit := map[string]int{
		"ledger": contract.MaxLedger, "series_id": contract.MaxID, "transaction_id": contract.MaxID,
		"id": contract.MaxID, "request_id": contract.MaxID, "channel": contract.MaxChannel,
		"receipt": contract.MaxReceipt, "reason": contract.MaxReason, "donation_id": contract.MaxDonationID,
	}
	told := map[string]bool{}
	comment := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if after, ok := strings.CutPrefix(line, "//"); ok {
			comment += after
			continue
		}
		if field := regexp.MustCompile(`^\w\S* (\w+) = \d+;`).FindStringSubmatch(line); field != nil {
			for _, number := range regexp.MustCompile(`(\d+) bytes`).FindAllStringSubmatch(comment, -1) {
				told[field[1]] = true
				if number[1] != strconv.Itoa(limit[field[1]]) {
					t.Errorf("the comment of %s says %s, the limit is %d", field[1], number[0], limit[field[1]])
				}
			}
		}
		comment = ""
	}
	for field := range limit {
		if !told[field] {
			t.Errorf("no comment says the limit of %s", field)
		}
	}
	constants := regexp.MustCompile(`\b(Max\w+) +=`)
	for _, m := range constants.FindAllStringSubmatch(words(t, "internal/contract/limits.go"), -1) {
		if uses := regexp.MustCompile(`\b` + m[1] + `\b`); len(uses.FindAllString(words(t, "./"), -1)) < 2 {
			t.Errorf("no code checks %s of limits.go", m[1])
		}
	}
}
