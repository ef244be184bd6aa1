package server_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// faults are the faults that a service like this one meets, their outcomes, and the tests
// that cause them. Each test can be run by its name:
//
//	go test -race -run '^TestFrozen$' ./server/internal/store
//
// TestSoak (make soak) causes many of them at once, in random order.
var faults = []struct{ fault, then, tests string }{
	// The store goes away.
	{
		"Redis is down at the start",
		"the service starts, says NOT_SERVING, answers UNAVAILABLE without a dial a call, and is ready by itself",
		"server.TestStartWithoutRedis server.TestStoreThatComesLate",
	},
	{
		"Redis dies before it is asked",
		"STORE_UNAVAILABLE: nothing was noted",
		"server.TestRedisDiesBeforeItIsAsked server.TestStoreAway",
	},
	{
		"a reply is lost",
		"never sent twice by itself; OUTCOME_UNKNOWN; the same request id is FIRST again",
		"store.TestReplyLost store.TestLinearizable",
	},
	{
		"a reply is lost, and another request id asks",
		"HELD until the hold runs out, then FIRST; without a hold DUPLICATE",
		"server.TestReplyLostAndAskedAnew",
	},
	{
		"the caller's time is over before the script runs",
		"it does nothing",
		"store.TestFrozen store.TestReplyTooLate server.TestDeadlineFloor",
	},
	{
		"Redis is frozen",
		"all are answered at their deadline, then at once by the breaker",
		"server.TestBreaker server.TestBreakerKeepsCallersFromADeadStore store.TestFrozen",
	},
	{
		"Redis is slow",
		"deadlines hold, and calls beyond the limit are refused before they wait",
		"server.TestSlowRedis server.TestOverload",
	},
	{
		"Redis has forgotten its scripts",
		"sent once more with the source, counted, the verdict unaffected",
		"store.TestUnknownScript",
	},
	{"the same, with -replicas", "replicas are waited for again, on the same connection", "store.TestNotReplicated"},
	{
		"the primary has become a replica",
		"nothing was run; UNAVAILABLE until the right one is found",
		"store.TestRefusingRedis",
	},
	{
		"sentinels take another primary",
		"errors for seconds, no wrong verdict, back by itself",
		"store.TestSentinelFailovers",
	},
	{
		"a primary is cut off by a partition",
		"nothing answered is lost with -replicas; without, it is counted and noticed",
		"store.TestSentinelFailovers store.TestSentinelLoss store.TestClusterFailovers",
	},
	{
		"too few replicas",
		"DURABILITY_NOT_REACHED, never FIRST; the same request id waits again",
		"store.TestNotReplicated store.TestReplicated server.TestDurabilityNotReached",
	},
	{
		"Redis misses its replicas (NOREPLICAS)",
		"new ones UNAVAILABLE, known ones answered",
		"store.TestRefusingRedis server.TestBreakerLeavesARefusingStoreAlone",
	},
	{
		"a shard of a cluster is lost",
		"its keys, or by default all, UNAVAILABLE in time; the operator hears which node",
		"store.TestShardLost server.TestShardLost",
	},
	{
		"slots move",
		"each call is run once, and replicas are waited for where it was",
		"store.TestSlotMoves store.TestClusterFailovers",
	},
	{
		"Redis is loading",
		"UNAVAILABLE, not ready; a loss is noticed before a call is answered",
		"store.TestRefusingRedis store.TestLossWhileLoading",
	},
	{"Redis is busy with another program's script", "UNAVAILABLE at once", "store.TestRefusingRedis"},
	{
		"Redis is full",
		"new ones STORE_FULL, known ones answered, holders settle",
		"store.TestFull server.TestStoreFull store.TestBeatWhenFull",
	},
	{
		"Redis may evict",
		"the service does not start, or is not ready",
		"server.TestEvictingStoreIsRefused server.TestEvictingStoreThatComesLate server.TestEvictionWhileRunning",
	},
	{
		"Redis takes no more clients",
		"UNAVAILABLE, and the pool stays bounded",
		"store.TestMaxClients store.TestPoolIsBounded",
	},
	{
		"every connection is in use",
		"POOL_EXHAUSTED soon, counted, and no sign that the store is dead",
		"store.TestPoolExhausted server.TestPoolExhausted health.TestNoConnectionIsNoNews",
	},
	// The store forgets.
	{
		"Redis has lost its data",
		"noticed by the mark, told in log, metric and health, refused where asked",
		"store.TestLoss store.TestLossOfAClusterPart server.TestEveryLossIsNoticed server.TestLossIsReported " +
			"server.TestLossIsRefused",
	},
	{
		"Redis cannot write to its disk",
		"new ones UNAVAILABLE, known ones answered, the log says so",
		"store.TestDiskFull store.TestSnapshotFails server.TestDiskFull",
	},
	{
		"power fails",
		"everysec loses the notes that the disk has not confirmed, and that is noticed; always loses nothing",
		"store.TestPowerLost",
	},
	{
		"Redis's clock jumps forward",
		"holds and notes end early; noticed; no caller in time is refused",
		"store.TestClockSetForwardOnRedis store.TestClockJumpsUnderLoad server.TestClockOfRedisJumps " +
			"server.TestClockJumps",
	},
	{
		"Redis's clock jumps back",
		"holds last longer, nothing is FIRST twice, names stay unique",
		"store.TestClockSetBackOnRedis store.TestLateAfterClockSetBack",
	},
	{
		"the clocks are apart, or drift",
		"deadlines hold by Redis's clock, and are never late",
		"store.TestClocksApart store/wire.TestClockIsNeverLate store/wire.TestClockThatWasSet",
	},
	{
		"a wrong password, or too few rights",
		"not ready, with the remedy; callers learn nothing; no storm of attempts",
		"server.TestWrongPassword server.TestMissingRight server.TestLeastRights cmd/noted.TestPasswordStaysOut",
	},
	{
		"Redis's certificate is bad",
		"not ready, and it is named; a CA of one's own works",
		"server.TestCertificateOfTheStore",
	},
	{
		"another program uses the same Redis",
		"foreign keys untouched, foreign values an error and never a verdict, all other callers answered",
		"store.TestForeignKeys store.TestForeignValues server.TestForeignSeries server.TestLeastRights",
	},
	// What callers send.
	{
		"too long an id",
		"INVALID_ARGUMENT that names each field",
		"contract.TestLimitsOfANote contract.TestLimitsOfTheOtherCalls",
	},
	{
		"too large a message",
		"refused by the transport, before it is read or unpacked whole",
		"server.TestTransportLimits server.TestBadPeers server.TestGzipBomb",
	},
	{
		"control characters, ends of lines, escapes",
		"INVALID_ARGUMENT; the log writes them out",
		"contract.TestLimitsOfANote contract.TestRefusalsDoNotEcho cmd/noted.TestLogCannotBeForged",
	},
	{"NUL", "INVALID_ARGUMENT, and keys cannot be cut", "contract.TestLimitsOfANote store.FuzzKeys"},
	{"no UTF-8", "INTERNAL by the codec, and not logged", "server.TestTransportLimits"},
	{"look-alikes, and case", "nothing is folded; letters of other alphabets are INVALID_ARGUMENT", "server.TestIDsAreNotFolded"},
	{
		"separators within ids",
		"no two series share a key",
		"store.FuzzKeys store.FuzzMessage store.FuzzTransaction store.FuzzReceipt",
	},
	{
		"the same message with another payload",
		"DUPLICATE with the differences, counted",
		"server.TestSameMessageOtherPayload",
	},
	{"fields of a newer client", "ignored", "server.TestUnknownFields"},
	{
		"garbage, a false mark of compression",
		"INTERNAL, the connection lives",
		"server.TestBadPeers server.FuzzWire server.FuzzNote",
	},
	{
		"huge metadata",
		"refused, others are served",
		"server.TestBadPeers server.TestTransportLimits server.TestStrangeMetadata",
	},
	{"connections on which nothing comes", "closed", "server.TestSilentConnections"},
	{
		"requests that never come",
		"ended by the server's own deadline",
		"server.TestRequestThatNeverComes server.TestSlowBody",
	},
	{
		"readers that do not read",
		"not read from either; little is kept for them; cut off",
		"server.TestSlowReader server.TestUnreadPages server.TestUnreadPageGrowsOld server.TestUnreadStreams " +
			"server.TestPeerThatTakesNothing server.TestCableIsPulled",
	},
	{"ping floods", "GOAWAY", "server.TestBadPeers"},
	{"stream floods, rapid resets", "REFUSED_STREAM, memory bounded", "server.TestBadPeers"},
	{"connection floods", "closed at once beyond the limits", "server.TestConnectionLimits server.TestIdleConnections"},
	{"HTTP/1.1 on the gRPC port", "closed", "server.TestBadPeers"},
	// Who calls.
	{
		"no valid caller",
		"UNAUTHENTICATED, in the same words and the same time for each wrong credential",
		"server.TestUnauthenticatedTellsNothing access.BenchmarkTokens",
	},
	{"another's ledger", "LEDGER_DENIED, an audit line, no verdict", "server.TestRights server.TestAudit"},
	{
		"probing another's ids",
		"denied before the store is asked",
		"server.TestRightsBeforeTheStore server.TestRightsOnAStream",
	},
	{"bad client certificates", "no handshake, counted", "server.TestMutualTLS"},
	{
		"certificates that change or end",
		"taken up without a restart, warned of",
		"server.TestCertificateIsReloaded access.TestCertificateThatEndsSoon",
	},
	{"broken new files", "the old ones stay", "server.TestCertificateIsReloaded server.TestCallersAreReloaded"},
	{"a method without rights", "denied to all", "access.TestEveryMethodHasItsRights"},
	// The service itself.
	{"a panic in a call", "INTERNAL without a word, the stack in the log, counted", "server.TestPanicTellsNothing"},
	{
		"a panic in a goroutine of ours",
		"it ends one call and not the process",
		"store.TestPanicWhileSending server.TestOwnGoroutines",
	},
	{"secrets", "in no log, metric or error", "cmd/noted.TestCanaries"},
	{
		"names that callers make up",
		"a bounded number of labels",
		"metrics.TestLabelsAreBounded server.TestUnknownMethods",
	},
	{
		"floods of refusals",
		"the log tells the first of a kind and how many more",
		"server.TestFloodsOfRefusals server.TestRateOfGuesses server.TestDeniedAreSlowedDown",
	},
	{
		"retries after an outage",
		"told when to come, spread, budgeted",
		"server.TestBreakerKeepsCallersFromADeadStore contract.TestJitterSpreads client.TestBudgetEndsRetries",
	},
	{"a hundred ask for one donation", "one FIRST", "store.TestHundredCallers"},
	{
		"asked to stop under load",
		"NOT_SERVING, calls under way finish, bounded, exit 0",
		"server.TestDrain server.TestDrainIsBounded server.TestDrainAtTheDoor server.TestStreamWhileDraining",
	},
	{"SIGKILL between script and reply", "as a reply that is lost", "cmd/noted.TestKilledBeforeTheReply"},
	{
		"two releases side by side",
		"they agree over one Redis, and read each other's notes",
		"soak.TestTwoReleases soak.TestTwoReleasesUnderLoad store.TestSideBySide store.TestFirstRelease " +
			"store.TestNewerRelease",
	},
	{
		"little memory",
		"bounded by each limit, and told at the start",
		"server.TestMemoryIsBounded cmd/noted.TestMemoryLimit server.TestIdleConnections",
	},
	{
		"no descriptors left",
		"others live on, the log says what to do, served again afterwards",
		"cmd/noted.TestDescriptorsRunOut cmd/noted.TestDescriptorsAreFew",
	},
	{
		"the edge of a window",
		"decided by one look at Redis's clock, to the millisecond",
		"store.TestEdges store.TestKeyAndNoteEnd",
	},
	{
		"a forger comes first",
		"only granted callers may note; the gateway verifies first",
		"server.TestRights gateway.TestRefusals",
	},
	{
		"a receipt in shadow is settled, released or extended while another holds the donation",
		"nothing changes, and the note is the answer: at each server, and after shadow",
		"store.TestReceiptInShadow server.TestLifeInShadow server.TestShadowBesideAndAfter",
	},
	{
		"a ledger is left in shadow",
		"every answer is FIRST; log, health and a metric say so",
		"server.TestShadowEverywhere",
	},
	{"two keys of one hash", "there is none: keys hold the ids", "store.FuzzKeys"},
	{
		"a trial's store in production",
		"it says that it is a trial, and refuses settings of production",
		"cmd/noted.TestTrialSaysSo cmd/noted.TestTrialIsNoProduction",
	},
}

// TestFaults checks that each named test is there, and that each code, reason and verdict
// of a fault's outcome stands in one of its tests or in a function that the test calls. It
// cannot check that a test asserts the rest: that is for the reader of the test.
func TestFaults(t *testing.T) {
	folders := map[string]string{
		"server":     ".",
		"store":      "internal/store",
		"store/wire": "internal/store/wire",
		"contract":   "internal/contract",
		"access":     "internal/access",
		"health":     "internal/health",
		"limits":     "internal/limits",
		"metrics":    "internal/metrics",
		"cmd/noted":  "cmd/noted",
		"soak":       "soak",
		"client":     "../client",
		"gateway":    "../client/gateway",
	}
	functions := map[string]map[string]string{} // room → name of a function → its text
	for name, folder := range folders {
		functions[name] = functionsOf(t, folder)
	}
	for _, f := range faults {
		var bodies strings.Builder
		for test := range strings.FieldsSeq(f.tests) {
			name, function, _ := strings.Cut(test, ".")
			if functions[name][function] == "" {
				t.Errorf("%s: there is no %s", f.fault, test)
			}
			bodies.WriteString(withCalled(functions[name], function))
		}
		text := squeezed(bodies.String())
		for _, word := range outcome.FindAllString(f.then, -1) {
			if !strings.Contains(text, squeezed(word)) {
				t.Errorf("%s: no test that it names says %s", f.fault, word)
			}
		}
	}
	if len(faults) != 74 {
		t.Errorf("%d faults, want 74", len(faults))
	}
}

// outcome matches a code, a reason or a verdict.
var outcome = regexp.MustCompile(`\b[A-Z]{4,}(?:_[A-Z]+)*\b`)

// squeezed writes STORE_FULL, storeFull and StoreFull alike.
func squeezed(text string) string {
	return strings.ToLower(strings.ReplaceAll(text, "_", ""))
}

// functionsOf are the texts of the functions and methods of a folder's tests, by name.
func functionsOf(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(folder + "/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", folder, err)
	}
	functions := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(content), "\nfunc ") {
			if name := functionName.FindStringSubmatch(part); name != nil {
				body, _, _ := strings.Cut(part, "\n}\n")
				functions[name[1]] += body
			}
		}
	}
	return functions
}

var (
	functionName = regexp.MustCompile(`^(?:\([^)]*\) )?(\w+)\(`)
	called       = regexp.MustCompile(`\w+`)
)

// withCalled is the text of a test and of the functions that its text names.
func withCalled(functions map[string]string, test string) string {
	text := functions[test]
	for _, name := range called.FindAllString(functions[test], -1) {
		if name != test && !strings.HasPrefix(name, "Test") {
			text += functions[name]
		}
	}
	return text
}
