package flight_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/flight"
)

// group is a Group whose calls take a second, and return their number and key.
type group struct {
	*flight.Group[string, string, string, string]
	began time.Time

	mu   sync.Mutex
	runs []string // each call's result, and when it began
	most int      // calls at a time
	now  int
}

// bubble runs test in a synctest bubble, with another Group each time. It fails
// if a goroutine of the Group never ends.
func bubble(t *testing.T, limit int, test func(g *group)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		test(&group{Group: flight.New[string, string, string, string](limit), began: time.Now()})
		time.Sleep(time.Minute) // for the calls in flight
	})
}

// run returns a start that returns a call which lasts for a second, or until
// its context is done.
func (g *group) run(key string) func() (flight.Func[string], error) {
	return func() (flight.Func[string], error) {
		return func(ctx context.Context, detached func() bool) string {
			g.mu.Lock()
			value := fmt.Sprint(key, len(g.runs)+1)
			g.runs = append(g.runs, fmt.Sprint(value, " at ", time.Since(g.began)))
			g.now++
			g.most = max(g.most, g.now)
			g.mu.Unlock()
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				value += " canceled"
			}
			if detached() {
				value += " detached"
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			g.now--
			return value
		}, nil
	}
}

// calls returns the calls that began.
func (g *group) calls() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs
}

// ownerOf returns the owner of a key: "ann" of "ann/1", and "a" of "a".
func ownerOf(key string) string {
	owner, _, _ := strings.Cut(key, "/")
	return owner
}

// wait is Wait for a visitor with this much patience. "ann/x@2" is the key
// "ann/x" in the epoch "2".
func (g *group) wait(key string, patience time.Duration) result {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	key, epoch, _ := strings.Cut(key, "@")
	value, leader, err := g.Wait(ctx, ownerOf(key), key, epoch, g.run(key))
	return result{Value: value, Leader: leader, Waited: time.Since(began), Err: err}
}

type result struct {
	Value  string
	Leader bool
	Waited time.Duration
	Err    error
}

// compareErrors compares errors as errors.Is does.
var compareErrors = cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) || errors.Is(b, a) })

const (
	ms      = time.Millisecond
	forever = time.Hour
)

func TestWaitersShareOneCall(t *testing.T) {
	type waiter struct {
		at       time.Duration
		key      string
		patience time.Duration
	}
	left := context.DeadlineExceeded
	for _, tt := range []struct {
		name    string
		limit   int
		waiters []waiter
		want    []result
		runs    []string
	}{
		{
			name: "one call for all", limit: 9,
			waiters: []waiter{{0, "a", forever}, {0, "a", forever}, {400 * ms, "a", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"a1", false, 1000 * ms, nil}, {"a1", false, 600 * ms, nil}},
			runs:    []string{"a1 at 0s"},
		},
		{
			name: "another call after the end of the first", limit: 9,
			waiters: []waiter{{0, "a", forever}, {1001 * ms, "a", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"a2", true, 1000 * ms, nil}},
			runs:    []string{"a1 at 0s", "a2 at 1.001s"},
		},
		{
			name: "each key has its own call", limit: 9,
			waiters: []waiter{{0, "a", forever}, {1 * ms, "b", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"b2", true, 1000 * ms, nil}},
			runs:    []string{"a1 at 0s", "b2 at 1ms"},
		},
		{
			name: "the leader leaves first", limit: 9,
			waiters: []waiter{{0, "a", 100 * ms}, {1 * ms, "a", 200 * ms}, {2 * ms, "a", forever}},
			want:    []result{{"", true, 100 * ms, left}, {"", false, 200 * ms, left}, {"a1", false, 998 * ms, nil}},
			runs:    []string{"a1 at 0s"},
		},
		{
			name: "the call outlives all waiters", limit: 9,
			waiters: []waiter{{0, "a", 100 * ms}, {500 * ms, "a", forever}},
			want:    []result{{"", true, 100 * ms, left}, {"a1", false, 500 * ms, nil}},
			runs:    []string{"a1 at 0s"},
		},
		{
			name: "the others queue, first in first out", limit: 1,
			waiters: []waiter{{0, "a", forever}, {1 * ms, "b", forever}, {2 * ms, "c", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"b2", true, 1999 * ms, nil}, {"c3", true, 2998 * ms, nil}},
			runs:    []string{"a1 at 0s", "b2 at 1s", "c3 at 2s"},
		},
		{
			name: "a call in the queue is shared", limit: 1,
			waiters: []waiter{{0, "a", forever}, {1 * ms, "b", forever}, {2 * ms, "b", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"b2", true, 1999 * ms, nil}, {"b2", false, 1998 * ms, nil}},
			runs:    []string{"a1 at 0s", "b2 at 1s"},
		},
		{
			name: "a call in the queue is dropped if nobody waits", limit: 1,
			waiters: []waiter{{0, "a", forever}, {1 * ms, "b", 100 * ms}, {2 * ms, "c", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"", true, 100 * ms, left}, {"c2", true, 1998 * ms, nil}},
			runs:    []string{"a1 at 0s", "c2 at 1s"},
		},
		{
			name: "a call in the queue is kept for a second waiter", limit: 1,
			waiters: []waiter{{0, "a", forever}, {1 * ms, "b", 600 * ms}, {500 * ms, "b", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"", true, 600 * ms, left}, {"b2", false, 1500 * ms, nil}},
			runs:    []string{"a1 at 0s", "b2 at 1s"},
		},
		{
			name: "a dropped call loses its place", limit: 1,
			waiters: []waiter{{0, "a", forever}, {1 * ms, "b", 100 * ms}, {2 * ms, "c", forever}, {500 * ms, "b", forever}},
			want: []result{
				{"a1", true, 1000 * ms, nil}, {"", true, 100 * ms, left}, {"c2", true, 1998 * ms, nil}, {"b3", true, 2500 * ms, nil},
			},
			runs: []string{"a1 at 0s", "c2 at 1s", "b3 at 2s"},
		},
		{
			name: "an owner has at most a quarter of the limit", limit: 8,
			waiters: []waiter{{0, "ann/x", forever}, {1 * ms, "ann/y", forever}, {2 * ms, "ann/z", forever}, {3 * ms, "bob", forever}},
			want: []result{
				{"ann/x1", true, 1000 * ms, nil}, {"ann/y2", true, 1000 * ms, nil}, {"ann/z4", true, 1998 * ms, nil},
				{"bob3", true, 1000 * ms, nil},
			},
			runs: []string{"ann/x1 at 0s", "ann/y2 at 1ms", "bob3 at 3ms", "ann/z4 at 1s"},
		},
		{
			name: "an owner has at least one call", limit: 3,
			waiters: []waiter{{0, "ann/x", forever}, {1 * ms, "ann/y", forever}, {2 * ms, "bob", forever}},
			want:    []result{{"ann/x1", true, 1000 * ms, nil}, {"ann/y3", true, 1999 * ms, nil}, {"bob2", true, 1000 * ms, nil}},
			runs:    []string{"ann/x1 at 0s", "bob2 at 2ms", "ann/y3 at 1s"},
		},
		{
			name: "owners take turns", limit: 1,
			waiters: []waiter{{0, "ann/x", forever}, {1 * ms, "ann/y", forever}, {2 * ms, "ann/z", forever}, {3 * ms, "bob/x", forever}, {4 * ms, "bob/y", forever}},
			want: []result{
				{"ann/x1", true, 1000 * ms, nil}, {"ann/y3", true, 2999 * ms, nil}, {"ann/z5", true, 4998 * ms, nil},
				{"bob/x2", true, 1997 * ms, nil}, {"bob/y4", true, 3996 * ms, nil},
			},
			runs: []string{"ann/x1 at 0s", "bob/x2 at 1s", "ann/y3 at 2s", "bob/y4 at 3s", "ann/z5 at 4s"},
		},
		{
			name: "owners who have left miss their turn", limit: 1,
			waiters: []waiter{{0, "ann/x", forever}, {1 * ms, "bob", 100 * ms}, {2 * ms, "ann/y", forever}, {3 * ms, "cat", 200 * ms}, {4 * ms, "dan", forever}},
			want: []result{
				{"ann/x1", true, 1000 * ms, nil}, {"", true, 100 * ms, left}, {"ann/y3", true, 2998 * ms, nil},
				{"", true, 200 * ms, left}, {"dan2", true, 1996 * ms, nil},
			},
			runs: []string{"ann/x1 at 0s", "dan2 at 1s", "ann/y3 at 2s"},
		},
		{
			name: "a dropped call makes room for another of its key", limit: 1,
			waiters: []waiter{{0, "a", forever}, {1 * ms, "b", 100 * ms}, {1500 * ms, "b", forever}},
			want:    []result{{"a1", true, 1000 * ms, nil}, {"", true, 100 * ms, left}, {"b2", true, 1000 * ms, nil}},
			runs:    []string{"a1 at 0s", "b2 at 1.5s"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.limit, func(g *group) {
				got := make([]result, len(tt.waiters))
				var wg sync.WaitGroup
				for i, w := range tt.waiters {
					time.Sleep(w.at - time.Since(g.began))
					synctest.Wait()
					wg.Go(func() { got[i] = g.wait(w.key, w.patience) })
					synctest.Wait()
				}
				wg.Wait()
				if diff := cmp.Diff(tt.want, got, compareErrors); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.runs, g.calls()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestLimitBoundsConcurrentCalls(t *testing.T) {
	const keys = 100
	for _, tt := range []struct {
		name        string
		limit, most int
		took        time.Duration
	}{
		{"one", 1, 1, 100 * time.Second},
		{"some", 30, 30, 4 * time.Second},
		{"more than there are calls", 1000, keys, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.limit, func(g *group) {
				var wg sync.WaitGroup
				for i := range keys {
					wg.Go(func() {
						if got := g.wait(fmt.Sprint("key", i, "-"), forever); got.Err != nil {
							t.Errorf("Wait() = %+v", got)
						}
					})
				}
				wg.Wait()
				took, calls := time.Since(g.began), len(g.calls())
				if g.most != tt.most || calls != keys || took != tt.took {
					t.Errorf("%d calls, up to %d at a time, took %v; want %d, %d, %v", calls, g.most, took, keys, tt.most, tt.took)
				}
			})
		})
	}
}

func TestCountsTellWhatRunsAndWhatQueues(t *testing.T) {
	bubble(t, 4, func(g *group) {
		check := func(when string, running, queued int) {
			t.Helper()
			synctest.Wait()
			if r, q := g.Counts(); r != running || q != queued {
				t.Errorf("%s: Counts() = %d, %d, want %d, %d", when, r, q, running, queued)
			}
		}
		check("before", 0, 0)
		for _, key := range []string{"ann/1", "ann/2", "ann/2", "ann/3", "bob/1", "cyd/1", "dan/1", "eve/1"} {
			go g.wait(key, time.Hour)
			synctest.Wait()
		}
		check("at first", 4, 3) // ann has one slot of the four
		go g.wait("fay/1", 500*time.Millisecond)
		check("with a call that nobody waits for soon", 4, 4)
		time.Sleep(600 * time.Millisecond)
		check("without it", 4, 3)
		time.Sleep(time.Second)
		check("later", 2, 1)
		time.Sleep(time.Minute)
		check("at last", 0, 0)
	})
}

func TestBackgroundNeverQueues(t *testing.T) {
	for _, tt := range []struct {
		name    string
		limit   int
		before  func(g *group) // ends while its calls are in flight
		err     error          // of start
		started bool           // start is called
		runs    []string
	}{
		{name: "it starts a call", limit: 1, started: true, runs: []string{"a1 at 0s"}},
		{name: "start refuses", limit: 1, err: errors.New("not now"), started: true},
		{
			name: "a call of the key is in flight", limit: 2, runs: []string{"a1 at 0s"},
			before: func(g *group) { go g.wait("a", forever) },
		},
		{
			name: "no slot is free", limit: 1, runs: []string{"b1 at 0s"},
			before: func(g *group) { go g.wait("b", forever) },
		},
		{
			name: "the owner has no share left", limit: 7, runs: []string{"a/x1 at 0s"},
			before: func(g *group) { go g.wait("a/x", forever) },
		},
		{
			name: "after Shutdown", limit: 1,
			before: func(g *group) { _ = g.Shutdown(context.Background()) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.limit, func(g *group) {
				if tt.before != nil {
					tt.before(g)
					synctest.Wait()
				}
				started := false
				g.Background(context.Background(), "a", "a", "", func() (flight.Func[string], error) {
					started = true
					run, _ := g.run("a")()
					return run, tt.err
				})
				if started != tt.started {
					t.Errorf("start was called: %v, want %v", started, tt.started)
				}
				time.Sleep(time.Minute)
				if diff := cmp.Diff(tt.runs, g.calls()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestABackgroundCallIsSharedByWaiters(t *testing.T) {
	bubble(t, 1, func(g *group) {
		g.Background(context.Background(), "a", "a", "", g.run("a"))
		time.Sleep(500 * ms)
		if diff := cmp.Diff(result{"a1", false, 500 * ms, nil}, g.wait("a", forever)); diff != "" {
			t.Errorf("Wait() (-want +got):\n%s", diff)
		}
	})
}

func TestABackgroundCallThatLosesItsSlotIsDropped(t *testing.T) {
	bubble(t, 1, func(g *group) {
		g.Background(context.Background(), "a", "a", "", g.run("a")) // neither goroutine has taken the slot yet
		g.Background(context.Background(), "b", "b", "", g.run("b"))
		time.Sleep(time.Minute)
		if got := g.calls(); len(got) != 1 {
			t.Errorf("calls %v, want one of the two", got)
		}
	})
}

func TestShutdownEndsWhatNobodyWaitsFor(t *testing.T) {
	shutdown := func(t *testing.T, g *group, patience, want time.Duration, wantErr error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		began := time.Now()
		if err := g.Shutdown(ctx); !errors.Is(err, wantErr) {
			t.Errorf("Shutdown() = %v, want %v", err, wantErr)
		}
		if took := time.Since(began); took != want {
			t.Errorf("Shutdown took %v, want %v", took, want)
		}
	}
	background := func(g *group) {
		g.Background(context.Background(), "a", "a", "", g.run("a"))
		synctest.Wait()
	}
	wait := func(g *group, key string, patience time.Duration, want result) func(t *testing.T) {
		var got result
		var wg sync.WaitGroup
		wg.Go(func() { got = g.wait(key, patience) })
		synctest.Wait()
		return func(t *testing.T) {
			t.Helper()
			wg.Wait()
			if diff := cmp.Diff(want, got, compareErrors); diff != "" {
				t.Errorf("Wait() (-want +got):\n%s", diff)
			}
		}
	}
	left := context.DeadlineExceeded
	for _, tt := range []struct {
		name  string
		limit int
		test  func(t *testing.T, g *group)
		runs  []string
	}{
		{name: "nothing is in flight", limit: 1, test: func(t *testing.T, g *group) {
			shutdown(t, g, 0, 0, nil)
		}},
		{name: "a call is awaited", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			check := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			shutdown(t, g, forever, time.Second, nil)
			check(t)
		}},
		{name: "queued calls are awaited", limit: 1, runs: []string{"a1 at 0s", "b2 at 1s"}, test: func(t *testing.T, g *group) {
			checkA := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			checkB := wait(g, "b", forever, result{"b2", true, 2000 * ms, nil})
			shutdown(t, g, forever, 2*time.Second, nil)
			checkA(t)
			checkB(t)
		}},
		{name: "its context is done first", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			check := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			shutdown(t, g, 300*ms, 300*ms, left)
			shutdown(t, g, forever, 700*ms, nil)
			check(t)
		}},
		{name: "nobody waits", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			background(g)
			shutdown(t, g, forever, 0, nil)
		}},
		{name: "all waiters have left", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			wait(g, "a", 100*ms, result{"", true, 100 * ms, left})(t)
			shutdown(t, g, forever, 0, nil)
		}},
		{name: "the last waiter leaves", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			wait(g, "a", 100*ms, result{"", true, 100 * ms, left})
			wait(g, "a", 400*ms, result{"", false, 400 * ms, left})
			shutdown(t, g, forever, 400*ms, nil)
		}},
		{name: "the last waiter in the queue leaves", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			check := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			wait(g, "b", 400*ms, result{"", true, 400 * ms, left})
			shutdown(t, g, forever, 1000*ms, nil)
			check(t)
		}},
		{name: "a call that has just begun", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			g.Background(context.Background(), "a", "a", "", g.run("a"))
			shutdown(t, g, forever, 0, nil) // at once, before the call's goroutine runs
		}},
		{name: "a queued call that nobody waits for", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			check := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			wait(g, "b", 100*ms, result{"", true, 100 * ms, left})(t)
			synctest.Wait()
			shutdown(t, g, forever, 900*ms, nil)
			check(t)
		}},
		{name: "a canceled call that goes on", limit: 1, test: func(t *testing.T, g *group) {
			g.Background(context.Background(), "deaf", "deaf", "", func() (flight.Func[string], error) {
				return func(context.Context, func() bool) string { time.Sleep(time.Second); return "" }, nil
			})
			synctest.Wait()
			shutdown(t, g, 100*ms, 100*ms, left)
			shutdown(t, g, 100*ms, 100*ms, left)
			shutdown(t, g, forever, 800*ms, nil)
			shutdown(t, g, 0, 0, nil)
		}},
		{name: "nobody joins a canceled call", limit: 8, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			g.Background(context.Background(), "a", "a", "", func() (flight.Func[string], error) {
				return func(context.Context, func() bool) string { time.Sleep(500 * ms); return "canceled" }, nil
			})
			synctest.Wait()
			shutdown(t, g, 0, 0, left)
			check := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			time.Sleep(600 * ms) // the canceled call has ended, which removes nothing
			wait(g, "a", forever, result{"a1", false, 400 * ms, nil})(t)
			check(t)
		}},
		{name: "a detached call is awaited", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			check := wait(g, "a", forever, result{"a1 detached", true, 1000 * ms, nil})
			g.Detach("a")
			shutdown(t, g, forever, time.Second, nil)
			check(t)
		}},
		{name: "nobody waits for a detached call", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			background(g)
			g.Detach("a")
			shutdown(t, g, forever, 0, nil)
		}},
		{name: "a detached call in the queue", limit: 1, runs: []string{"a1 at 0s", "b2 at 1s"}, test: func(t *testing.T, g *group) {
			checkA := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			checkB := wait(g, "b", forever, result{"b2", true, 2000 * ms, nil})
			g.Detach("b")
			shutdown(t, g, forever, 2*time.Second, nil)
			checkA(t)
			checkB(t)
		}},
		{name: "the last waiter of a detached call in the queue leaves", limit: 1, runs: []string{"a1 at 0s"}, test: func(t *testing.T, g *group) {
			check := wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})
			wait(g, "b", 400*ms, result{"", true, 400 * ms, left})
			g.Detach("b")
			shutdown(t, g, forever, 1000*ms, nil)
			check(t)
		}},
		{name: "Wait goes on", limit: 1, runs: []string{"a1 at 0s", "a2 at 1s"}, test: func(t *testing.T, g *group) {
			shutdown(t, g, 0, 0, nil)
			wait(g, "a", forever, result{"a1", true, 1000 * ms, nil})(t)
			check := wait(g, "a", forever, result{"a2", true, 1000 * ms, nil})
			shutdown(t, g, forever, time.Second, nil)
			check(t)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.limit, func(g *group) {
				tt.test(t, g)
				if diff := cmp.Diff(tt.runs, g.calls()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestEpochsShareQueuedCallsOnly has a waiter join every 100 ms.
func TestEpochsShareQueuedCallsOnly(t *testing.T) {
	bubble(t, 1, func(g *group) {
		waiters := []struct {
			key  string
			want result
		}{
			{"a@1", result{"a1", true, 1000 * ms, nil}},
			{"a@1", result{"a1", false, 900 * ms, nil}},
			{"a@2", result{"a2", true, 1800 * ms, nil}},
			{"a@3", result{"a2", false, 1700 * ms, nil}},
			{"a@1", result{"a1", false, 600 * ms, nil}},
			{"a@2", result{"a2", false, 1500 * ms, nil}},
			{"a/other@3", result{"a/other3", true, 2400 * ms, nil}},
			{"a@4", result{"a2", false, 1300 * ms, nil}},
			{"a/other@4", result{"a/other3", false, 2200 * ms, nil}},
			{"a@4", result{"a2", false, 1100 * ms, nil}},
			// At 1 s, a2 begins in the epoch of the last waiter who joined it.
			{"a@4", result{"a2", false, 1000 * ms, nil}},
			{"a@4", result{"a2", false, 900 * ms, nil}},
			{"a@2", result{"a4", true, 2800 * ms, nil}},
			{"a@5", result{"a4", false, 2700 * ms, nil}},
		}
		got := make([]result, len(waiters))
		var wg sync.WaitGroup
		for i, w := range waiters {
			synctest.Wait()
			wg.Go(func() { got[i] = g.wait(w.key, forever) })
			time.Sleep(100 * ms)
		}
		wg.Wait()
		for i, w := range waiters {
			if diff := cmp.Diff(w.want, got[i], compareErrors); diff != "" {
				t.Errorf("waiter %d, for %s (-want +got):\n%s", i, w.key, diff)
			}
		}
	})
}

// TestDetachHidesRunningCallsFromLaterWaiters has ann's calls detached at
// 500 ms.
func TestDetachHidesRunningCallsFromLaterWaiters(t *testing.T) {
	type waiter struct {
		at       time.Duration
		key      string
		patience time.Duration
	}
	left := context.DeadlineExceeded
	for _, tt := range []struct {
		name    string
		limit   int
		waiters []waiter
		want    []result
		runs    []string
	}{
		{
			name: "a running call", limit: 8,
			waiters: []waiter{{0, "ann/x", forever}, {1 * ms, "ann/x", forever}, {600 * ms, "ann/x", forever}, {1200 * ms, "ann/x", forever}},
			want: []result{
				{"ann/x1 detached", true, 1000 * ms, nil}, {"ann/x1 detached", false, 999 * ms, nil},
				{"ann/x2", true, 1000 * ms, nil}, {"ann/x2", false, 400 * ms, nil}, // the end of the first call hides nothing
			},
			runs: []string{"ann/x1 at 0s", "ann/x2 at 600ms"},
		},
		{
			name: "all calls of the owner", limit: 16,
			waiters: []waiter{{0, "ann/x", forever}, {1 * ms, "ann/y", forever}, {600 * ms, "ann/x", forever}, {601 * ms, "ann/y", forever}},
			want: []result{
				{"ann/x1 detached", true, 1000 * ms, nil}, {"ann/y2 detached", true, 1000 * ms, nil},
				{"ann/x3", true, 1000 * ms, nil}, {"ann/y4", true, 1000 * ms, nil},
			},
			runs: []string{"ann/x1 at 0s", "ann/y2 at 1ms", "ann/x3 at 600ms", "ann/y4 at 601ms"},
		},
		{
			name: "no call of another owner", limit: 8,
			waiters: []waiter{{0, "bob/x", forever}, {600 * ms, "bob/x", forever}},
			want:    []result{{"bob/x1", true, 1000 * ms, nil}, {"bob/x1", false, 400 * ms, nil}},
			runs:    []string{"bob/x1 at 0s"},
		},
		{
			name: "a call in the queue", limit: 1,
			waiters: []waiter{{0, "bob/x", forever}, {1 * ms, "ann/x", forever}, {600 * ms, "ann/x", forever}},
			want: []result{
				{"bob/x1", true, 1000 * ms, nil}, {"ann/x2", true, 1999 * ms, nil}, {"ann/x2", false, 1400 * ms, nil},
			},
			runs: []string{"bob/x1 at 0s", "ann/x2 at 1s"},
		},
		{
			name: "a call in the queue whose leader leaves", limit: 1,
			waiters: []waiter{{0, "bob/x", forever}, {1 * ms, "ann/x", 700 * ms}, {600 * ms, "ann/x", forever}, {900 * ms, "ann/x", forever}},
			want: []result{
				{"bob/x1", true, 1000 * ms, nil}, {"", true, 700 * ms, left}, {"ann/x2", false, 1400 * ms, nil}, {"ann/x2", false, 1100 * ms, nil},
			},
			runs: []string{"bob/x1 at 0s", "ann/x2 at 1s"},
		},
		{
			name: "detached calls count for the share", limit: 4,
			waiters: []waiter{{0, "ann/x", forever}, {600 * ms, "ann/x", forever}, {601 * ms, "bob/x", forever}},
			want: []result{
				{"ann/x1 detached", true, 1000 * ms, nil}, {"ann/x3", true, 1400 * ms, nil}, {"bob/x2", true, 1000 * ms, nil},
			},
			runs: []string{"ann/x1 at 0s", "bob/x2 at 601ms", "ann/x3 at 1s"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.limit, func(g *group) {
				time.AfterFunc(500*ms, func() { g.Detach("ann") })
				got := make([]result, len(tt.waiters))
				var wg sync.WaitGroup
				for i, w := range tt.waiters {
					time.Sleep(w.at - time.Since(g.began))
					synctest.Wait()
					wg.Go(func() { got[i] = g.wait(w.key, w.patience) })
					synctest.Wait()
				}
				wg.Wait()
				if diff := cmp.Diff(tt.want, got, compareErrors); diff != "" {
					t.Errorf("results (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.runs, g.calls()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestACallHasTheLeadersValuesButNotItsDeadline(t *testing.T) {
	type contextKey struct{}
	bubble(t, 1, func(g *group) {
		type seen struct {
			Value       any
			HasDeadline bool
			Err         error
		}
		var got seen
		var inCall context.Context
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), contextKey{}, "the leader's"), 100*ms)
		defer cancel()
		_, _, err := g.Wait(ctx, "a", "a", "", func() (flight.Func[string], error) {
			return func(ctx context.Context, _ func() bool) string {
				inCall = ctx
				time.Sleep(time.Second) // the leader has left
				got.Value, got.Err = ctx.Value(contextKey{}), ctx.Err()
				_, got.HasDeadline = ctx.Deadline()
				return ""
			}, nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait() = %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff(seen{Value: "the leader's"}, got, compareErrors); diff != "" {
			t.Errorf("the call's context (-want +got):\n%s", diff)
		}
		if err := inCall.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("after the call its context has the error %v, want %v", err, context.Canceled)
		}
	})
}

func TestWaitReturnsTheCauseOfItsContext(t *testing.T) {
	bubble(t, 1, func(g *group) {
		cause := errors.New("the visitor left")
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(100*ms, func() { cancel(cause) })
		if _, leader, err := g.Wait(ctx, "a", "a", "", g.run("a")); !leader || err != cause {
			t.Errorf("Wait() = %v, %v, want true, %v", leader, err, cause)
		}
	})
}

// TestACallWithoutAResultEndsItsWait has start or the call end badly. The
// single slot and the key are free again afterwards.
func TestACallWithoutAResultEndsItsWait(t *testing.T) {
	refused := errors.New("not now")
	for _, tt := range []struct {
		name  string
		start func() (flight.Func[string], error)
		want  result
		panic bool
	}{
		{
			name:  "start refuses",
			start: func() (flight.Func[string], error) { return nil, refused },
			want:  result{Err: refused},
		},
		{name: "start panics", start: func() (flight.Func[string], error) { panic("boom") }, panic: true},
		{
			name: "the call ends its goroutine",
			start: func() (flight.Func[string], error) {
				return func(context.Context, func() bool) string {
					defer runtime.Goexit()
					return "half a result"
				}, nil
			},
			want: result{Leader: true, Err: flight.ErrAborted},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, 1, func(g *group) {
				var got result
				func() {
					defer func() {
						if v := recover(); (v != nil) != tt.panic {
							t.Errorf("panic: %v", v)
						}
					}()
					got.Value, got.Leader, got.Err = g.Wait(context.Background(), "a", "a", "", tt.start)
				}()
				if diff := cmp.Diff(tt.want, got, compareErrors); diff != "" {
					t.Errorf("Wait() (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(result{"a1", true, 1000 * ms, nil}, g.wait("a", forever)); diff != "" {
					t.Errorf("the next Wait() (-want +got):\n%s", diff)
				}
				if err := g.Shutdown(context.Background()); err != nil {
					t.Errorf("Shutdown() = %v", err)
				}
			})
		})
	}
}

func TestNewPanicsWithoutASlot(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("New(0) did not panic")
		}
	}()
	flight.New[string, string, string, string](0)
}
