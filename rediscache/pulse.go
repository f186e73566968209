package rediscache

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	// maxSilence is how long a process answers from its memory after Redis has
	// answered it. The package documentation promises this bound.
	maxSilence = 2 * time.Second

	pulseInterval = maxSilence / 4
	pulseTimeout  = maxSilence / 2
)

// pulse is what a process learns when it asks the nodes of Redis for the time.
// It does not change.
type pulse struct {
	// asked is when this process began to ask, in the latest round in which all
	// nodes answered. Redis answers in order, so what it invalidated before is
	// no longer in the memory of this process.
	asked time.Time

	// The clock of each node is ahead of this machine's clock by a duration
	// between these two. A round trip lies between them.
	minAhead, maxAhead time.Duration
}

// takePulse asks all nodes. It returns an error if none of them answers. If
// only some do, asked remains that of the last pulse.
func takePulse(ctx context.Context, client rueidis.Client, last pulse) (pulse, error) {
	ctx, cancel := context.WithTimeout(ctx, pulseTimeout)
	defer cancel()
	p := pulse{asked: time.Now(), minAhead: math.MaxInt64, maxAhead: math.MinInt64}
	nodes := client.Nodes()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards p and errs
		errs []error
	)
	for _, node := range nodes {
		wg.Go(func() {
			asked := time.Now()
			clock, err := node.Do(ctx, node.B().Time().Build()).AsIntSlice() // seconds, microseconds
			answered := time.Now()
			mu.Lock()
			defer mu.Unlock()
			if err == nil && len(clock) != 2 {
				err = errors.New("the answer to TIME is malformed")
			}
			if err != nil {
				errs = append(errs, err)
				return
			}
			at := time.Unix(clock[0], clock[1]*int64(time.Microsecond))
			p.minAhead = min(p.minAhead, at.Sub(answered))
			p.maxAhead = max(p.maxAhead, at.Sub(asked))
		})
	}
	wg.Wait()
	if len(errs) == len(nodes) {
		return last, errors.Join(errs...)
	}
	if len(errs) > 0 {
		p.asked = last.asked
	}
	return p, nil
}

// isCurrent reports whether this process may answer from its memory.
func (p *pulse) isCurrent(now time.Time) bool {
	// The monotonic clock stops while the machine is suspended. The wall clock
	// does not, but may be set back.
	return now.Sub(p.asked) <= maxSilence && now.Round(0).Sub(p.asked.Round(0)) <= maxSilence
}

// toRedis converts a time to Unix milliseconds by the clock of Redis, and
// toLocal converts it back. Neither result is later than the exact one.
func (p *pulse) toRedis(t time.Time) int64 { return t.Add(p.minAhead).UnixMilli() }

func (p *pulse) toLocal(ms int64) time.Time { return time.UnixMilli(ms).Add(-p.maxAhead) }
