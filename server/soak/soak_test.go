// Package soak_test holds the soak: PayPal's messages, receivers that crash, Noteds that
// are killed, Redises that fail over, for as long as it is told. Every answer that any
// receiver was given is checked against the contract, and so are the books at the end.
//
//	make soak                  ten minutes of it
//	make soak SOAK=8h
//	SOAK_SEED=… make soak      begins with the round of that seed; a failure says which
//
//	payments ─▶ messages ─▶ receivers ─▶ proxies ─▶ two Noteds ─▶ Redis, or sentinels and three, or a cluster of six
//	                            │
//	                            ▼
//	                     books and history
//
// In some rounds the two are in the middle of an upgrade: each is of another release, or
// of the same, as the dice have it.
//
// # Design
//
// It goes by rounds, each with a store, payments and a history of its own, so that a
// history stays short enough to be searched, and a failure is found while its logs are
// still there. All that a round does follows from its seed; at which moment it happens
// does not.
//
// The receivers speak the contract as it stands, not through a client library: each
// single answer is to be seen, and a receiver must be able to crash anywhere. They and
// everything else are real: processes of noted, redis-server, redis-sentinel, sockets.
// The clocks are real too, so holds are short; windows and retention are tested where the
// clock can be moved, in server/internal/store.
//
// No round loses notes on purpose. A Redis that is alone writes all to its disk before it
// answers; in a fleet an answer waits for every replica, and who is killed comes back
// with what it had. So nothing may be lost, and nobody may notice a loss where none was.
package soak_test

import (
	"cmp"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// A round takes so long, without what it takes to begin and to end; one of make test a
// fifth of it.
const roundTakes = 30 * time.Second

func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("a soak takes a minute")
	}
	rounds, length := len(stores), roundTakes/5
	if told := os.Getenv("SOAK"); told != "" {
		all, err := time.ParseDuration(told)
		if err != nil || all <= 0 {
			t.Fatalf("SOAK=%q is no time such as 10m or 8h", told)
		}
		rounds = int((all + roundTakes - 1) / roundTakes)
		length = all / time.Duration(rounds)
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SOAK_SEED"), strconv.FormatUint(rand.Uint64()>>16, 10)), 10, 64)
	if err != nil {
		t.Fatalf("SOAK_SEED=%q is no number", os.Getenv("SOAK_SEED"))
	}
	var total sums
	for round := range rounds {
		seed := seed + uint64(round)
		kind := stores[seed%uint64(len(stores))]
		ok := t.Run(kind.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("to repeat the choices of this round: SOAK_SEED=%d SOAK=%v make soak", seed, length)
				}
			})
			total.add(newStorm(t, seed, kind, length).run())
		})
		if !ok {
			return
		}
	}
	t.Logf("%d rounds from SOAK_SEED=%d: %v", rounds, seed, total)
}
