package process

import (
	"testing"
	"time"
)

// The pause between two tries doubles, up to its bound.
func TestPauseAfter(t *testing.T) {
	for tries, want := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 9: 256 * time.Second, 10: 512 * time.Second,
		11: 10 * time.Minute, 1 << 40: 10 * time.Minute,
	} {
		if got := pauseAfter(tries); got != want {
			t.Errorf("after %d tries: %v, want %v", tries, got, want)
		}
	}
}
