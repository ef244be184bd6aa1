//go:build mutants

package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/donation-dedupe/noted/server/internal/redistest"
	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// A mutant is a script with one fault, and the tests that find the fault. A fault that no
// test finds could be made tomorrow and stay.
type mutant struct {
	fault    string
	file     string
	old, new string // old occurs once in file
	by       string // -test.run pattern of the tests that find the fault
}

// The tests that find the mutants. They use the embedded store, which is faster, unless
// it differs from Redis in the point.
const (
	bySameness      = `^TestSameness$/^embedded$`
	byFull          = `^TestFullNote$/^embedded$`
	byCrowd         = `^TestFullNoteOfManyChannels$/^embedded$`
	byChannels      = `^TestTwoChannels$/^embedded$`
	byLife          = `^TestLife$`
	byLongHold      = `^TestHoldOutlastsRetention$`
	byRefusals      = `^TestRefusals$`
	byNoMemory      = `^TestFull$`
	byEdges         = `^TestEdges$`
	byEnds          = `^TestKeyAndNoteEnd$`
	byForeign       = `^TestForeignValues$`
	byNewer         = `^TestNewerRelease$`
	byWritten       = `^TestAnswersAreWritten$`
	byLostTakeover  = `^TestReceiptOfALostTakeover$`
	byOwnTakeover   = `^TestReceiptOfAnEarlierAttempt$/^embedded$`
	byNoID          = `^TestSightingsWithoutAnID$/^embedded$`
	byStrongest     = `^TestStrongestEvidence$/^embedded$`
	byDeadline      = `^TestDeadlineEdge$`
	byKeyEnd        = `^TestKeyOutlivesItsNotes$`
	byMilliseconds  = `^TestMillisecondsOfATime$/^embedded$`
	byForget        = `^TestForgetWhenFull$`
	byOwnID         = `^TestOwnID$/^embedded$`
	byOrders        = `^TestOrders$`
	bySeries        = `^TestAgreementOfASeries$/^embedded$`
	byLedger        = `^TestAgreementOfALedger$/^embedded$`
	byReused        = `^TestRequestReused$/^embedded$`
	byReceived      = `^TestReceivedAt$`
	byNames         = `^TestNamesAreNeverUsedAgain$`
	byFloor         = `^TestFloorIsForgotten$`
	bySetBack       = `^TestHoldAfterTheClockWasSetBack$`
	byLetters       = `^TestUnknownLetters$`
	byModel         = `^TestModel$`
	byFuture        = `^TestReceivedInTheFuture$/^embedded$`
	byContradiction = `^TestSeriesThatContradictsTheLedger$/^embedded$`
	byPair          = `^TestAgreementIsOfAPair$/^embedded$`
	byOwnInFull     = `^TestOwnSightingInAFullNote$/^embedded$`
	byOtherEvents   = `^TestNotesOfOtherEvents$`
	byLoss          = `^TestLoss$`
	byFar           = `^TestNotesOutsideTheWindow$`
	byAlone         = `^TestAlone$`
	byExpected      = `^TestExpectedSecond$`
	byList          = `^TestListByTransaction$/^embedded$`
	byFarTeaches    = `^TestSeriesTeachesFromAfar$`
)

// mutable are the scripts that can have a fault: all.
var mutable = slices.Concat(scripts, []*wire.Script{exportScript, importScript})

// mutants are the faults. If a change of a script removes an old text, change the mutant
// with it. If it adds a rule, add the rule's faults.
var mutants = slices.Concat(mutantsOfNotes, mutantsOfRules, mutantsOfAnswers)

// chosen is the environment variable that names the mutant that this process is. Without
// it the scripts are as they were written.
const chosen = "NOTED_MUTANT"

func init() {
	fault := os.Getenv(chosen)
	for _, m := range mutants {
		if m.fault != fault {
			continue
		}
		for _, s := range mutable {
			if source := m.of(s); source != s.Source {
				*s = *wire.NewScript(s.Name, source, s.Writes)
			}
		}
	}
}

// of is the source of a script, with the fault if the script contains the mutant's file.
func (m mutant) of(s *wire.Script) string {
	var text strings.Builder
	for _, name := range libraryFiles {
		text.WriteString(m.in(name))
	}
	return Assemble(text.String(), m.in(s.Name+".lua"))
}

// in is the text of a file, with the fault if it is the mutant's file.
func (m mutant) in(file string) string {
	text := bodies[strings.TrimSuffix(file, ".lua")]
	if file == m.file {
		text = strings.Replace(text, m.old, m.new, 1)
	}
	return text
}

// TestMutantTexts checks that each mutant still changes its file at one place, and that
// each script has a mutant. It is fast, for use while a script is edited.
func TestMutantTexts(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte(m.old)); n != 1 || m.old == m.new {
			t.Errorf("%s: %s holds its old text %d times, want once", m.fault, m.file, n)
		}
	}
	for _, s := range mutable {
		if !slices.ContainsFunc(mutants, func(m mutant) bool { return m.file == s.Name+".lua" }) {
			t.Errorf("%s.lua has no mutant", s.Name)
		}
	}
}

// TestMutants runs each mutant's tests in a process whose scripts have the fault. Tests
// that pass there miss a check.
func TestMutants(t *testing.T) {
	if os.Getenv(chosen) != "" {
		t.Skip("this is a mutant")
	}
	TestMutantTexts(t)
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	faults, patterns := map[string]bool{}, map[string]bool{}
	for _, m := range mutants {
		if faults[m.fault] {
			t.Errorf("two mutants are called %q", m.fault)
		}
		faults[m.fault], patterns[m.by] = true, true
		// A script that does not compile would be found by any test.
		for _, s := range mutable {
			if err := client.ScriptLoad(t.Context(), m.of(s)).Err(); err != nil {
				t.Errorf("%s: %s.lua: %v", m.fault, s.Name, err)
			}
		}
	}
	if len(mutants) < 40 {
		t.Errorf("there are %d mutants, want at least 40", len(mutants))
	}
	if t.Failed() {
		return
	}
	for pattern := range patterns {
		if output, err := runTests(t, "", pattern); err != nil || !bytes.Contains(output, []byte("--- PASS: ")) {
			t.Fatalf("without a mutant, %s: %v\n%s", pattern, err, output)
		}
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.fault, " ", "_"), func(t *testing.T) {
			t.Parallel()
			output, err := runTests(t, m.fault, m.by)
			var ended *exec.ExitError
			switch {
			case err == nil:
				t.Errorf("%s survives %s", m.file, m.by)
			case !errors.As(err, &ended) || !failedByAnswer(output):
				t.Errorf("%s found nothing but that the script does not run: %v\n%s", m.by, err, output)
			}
		})
	}
}

// failedByAnswer tells whether a test failed because of a script's answer, and not because the
// script did not run.
func failedByAnswer(output []byte) bool {
	for line := range bytes.Lines(output) {
		if testLine.Match(line) && !broken.Match(line) {
			return bytes.Contains(output, []byte("--- FAIL: "))
		}
	}
	return false
}

var (
	testLine = regexp.MustCompile(`_test\.go:\d+: `)
	broken   = regexp.MustCompile(`ERR user_script:\d+:|Error compiling script`)
)

// runTests runs the tests of a pattern in a process of their own, with a mutant if one is
// named.
func runTests(t *testing.T, fault, pattern string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	binary, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(
		ctx,
		binary,
		"-test.run",
		pattern,
		"-test.v",
		"-test.failfast",
		"-test.timeout",
		"100s",
	)
	command.Env = append(os.Environ(), chosen+"="+fault)
	return command.CombinedOutput()
}
