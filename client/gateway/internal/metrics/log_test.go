package metrics

import (
	"testing"
	"time"
)

func TestLogLimit(t *testing.T) {
	var l limit
	now := time.Unix(1000, 0)
	for i := range 30 {
		if _, ok := l.allow(now); ok != (i < linesPerSecond) {
			t.Errorf("line %d: %v", i, ok)
		}
	}
	if dropped, ok := l.allow(now.Add(time.Second)); !ok || dropped != 20 {
		t.Errorf("the next second: %v, %d dropped, want 20", ok, dropped)
	}
}
