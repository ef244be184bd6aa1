// Package soak_test is the soak: PayPal's messages, receivers that crash, Noteds that are
// killed, and Redises that fail over, for a given time. It checks every answer to a
// receiver against the contract, and the books at the end.
//
//	make soak                  ten minutes
//	make soak SOAK=8h
//	SOAK_SEED=… make soak      begins with the round of that seed; a failure says which
//
//	payments ─▶ messages ─▶ receivers ─▶ proxies ─▶ two Noteds ─▶ Redis, or sentinels and three, or a cluster of six
//	                            │
//	                            ▼
//	                     books and history
//
// In some rounds the two Noteds are in the middle of an upgrade: their releases may
// differ, at random.
//
// # Design
//
// It runs in rounds, each with a store, payments and a history of its own. So a history
// stays short enough to search, and a failure is found while its logs still exist. The
// seed decides everything that a round does, but not the moment of each event.
//
// The receivers speak the contract itself, not through a client library: the soak must
// see every single answer, and a receiver must be able to crash anywhere. They and all
// other parts are real: processes of noted, redis-server, redis-sentinel, sockets. The
// clocks are real too, so holds are short. server/internal/store tests windows and
// retention, with a clock that can be moved.
//
// No round loses notes on purpose. A lone Redis writes everything to its disk before it
// answers. In a fleet an answer waits for every replica, and a killed Redis returns with
// its data. So no note may be lost, and no server may notice a loss.
package soak_test

import (
	"cmp"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// roundTakes is the length of a round's storm. In make test it is a fifth of that.
const roundTakes = 30 * time.Second

func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("a soak takes a minute")
	}
	rounds, length := len(stores), roundTakes/5
	if told := os.Getenv("SOAK"); told != "" {
		all, err := time.ParseDuration(told)
		if err != nil || all <= 0 {
			t.Fatalf("SOAK=%q is not a time such as 10m or 8h", told)
		}
		rounds = int((all + roundTakes - 1) / roundTakes)
		length = all / time.Duration(rounds)
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SOAK_SEED"), strconv.FormatUint(rand.Uint64()>>16, 10)), 10, 64)
	if err != nil {
		t.Fatalf("SOAK_SEED=%q is not a number", os.Getenv("SOAK_SEED"))
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
