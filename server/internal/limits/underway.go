package limits

import (
	"context"
	"sync/atomic"

	"github.com/donation-dedupe/noted/server/internal/contract"
	"github.com/donation-dedupe/noted/server/internal/metrics"
)

// UnderWay bounds how many calls are under way. Beyond the bound each call would wait for
// all before it, until answers come after their callers have given up.
type UnderWay struct {
	limit int64
	count atomic.Int64
}

// NewUnderWay makes the bound.
func NewUnderWay(limit int, m *metrics.Metrics) *UnderWay {
	u := &UnderWay{limit: int64(limit)}
	m.GaugeFunc("noted_calls_under_way", func() float64 { return float64(u.count.Load()) })
	return u
}

// Begin takes a place, which End gives back, or refuses if there is none.
func (u *UnderWay) Begin() error {
	if u.count.Add(1) > u.limit {
		u.count.Add(-1)
		return contract.Refuse(contract.ErrOverloaded)
	}
	return nil
}

// End gives a place back.
func (u *UnderWay) End() { u.count.Add(-1) }

// Listings bound how many pages are gathered at a time. Each page has a connection to the
// store for itself, and there are few connections. Pages can wait; donations must not.
type Listings struct {
	wanted UnderWay
	places chan struct{}
}

// NewListings makes the bound.
func NewListings() *Listings {
	return &Listings{wanted: UnderWay{limit: 64}, places: make(chan struct{}, 4)}
}

// Begin waits for a place, which End gives back, or refuses if too many pages wait
// already.
func (l *Listings) Begin(ctx context.Context) error {
	if err := l.wanted.Begin(); err != nil {
		return err
	}
	select {
	case l.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		l.wanted.End()
		return contract.Refuse(ctx.Err())
	}
}

// End gives a place back.
func (l *Listings) End() {
	<-l.places
	l.wanted.End()
}
