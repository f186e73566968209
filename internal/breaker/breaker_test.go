package breaker_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/breaker"
)

const (
	s  = time.Second
	ms = time.Millisecond
	m  = time.Minute

	// first is later than the first delay, its jitter included. second and
	// third are the same for the delays after that.
	first, second, third = 1101 * ms, 2201 * ms, 4401 * ms
	// tooEarly is earlier than the first delay.
	tooEarly = 899 * ms
)

var (
	errDown    = errors.New("down")
	errRefused = errors.New("refused")
	errBlocked = errors.New("blocked")

	ok      = breaker.Outcome{}
	down    = breaker.Outcome{Result: breaker.Failed, Err: errDown}
	refused = breaker.Outcome{Result: breaker.Refused, Err: errRefused}
	blocked = breaker.Outcome{Result: breaker.Blocked, Err: errBlocked}
)

// after returns o with a RetryAfter.
func after(d time.Duration, o breaker.Outcome) breaker.Outcome {
	o.RetryAfter = d
	return o
}

// ownerOf returns the owner of a key: "ann" of "ann/1", and "a" of "a".
func ownerOf(key string) string {
	owner, _, _ := strings.Cut(key, "/")
	return owner
}

// TestBreakerAllowsCalls makes calls, some of which overlap. Each row says
// which ones the breaker allows.
func TestBreakerAllowsCalls(t *testing.T) {
	type call struct {
		at      time.Duration
		key     string
		takes   time.Duration
		outcome breaker.Outcome
		held    error // by which error the call is held back; nil: it is made
	}
	for _, tt := range []struct {
		name  string
		calls []call
	}{
		{"a refusal holds back its key alone", []call{
			{0, "ann", 0, refused, nil}, {0, "ann", 0, ok, errRefused}, {0, "bob", 0, ok, nil},
			{tooEarly, "ann", 0, ok, errRefused}, {first, "ann", 0, ok, nil},
		}},
		{"refusals of any number of keys hold back nobody else", []call{
			{0, "a", 0, refused, nil}, {0, "b", 0, refused, nil}, {0, "c", 0, refused, nil}, {0, "d", 0, refused, nil},
			{0, "e", 0, ok, nil},
		}},
		{"one failure holds back its key alone", []call{
			{0, "ann", 0, down, nil}, {tooEarly, "ann", 0, ok, errDown}, {tooEarly, "bob", 0, ok, nil},
		}},
		{"the delay of a key doubles", []call{
			{0, "ann", 0, refused, nil}, {first, "ann", 0, refused, nil}, {first + 2*tooEarly, "ann", 0, ok, errRefused},
			{first + second, "ann", 0, refused, nil}, {first + second + 4*tooEarly, "ann", 0, ok, errRefused},
			{first + second + third, "ann", 0, ok, nil},
		}},
		{"a success begins the delay of a key again", []call{
			{0, "ann", 0, refused, nil}, {first, "ann", 0, refused, nil}, {first + second, "ann", 0, ok, nil},
			{first + second, "ann", 0, refused, nil}, {first + second + tooEarly, "ann", 0, ok, errRefused},
			{first + second + first, "ann", 0, ok, nil},
		}},
		{"three failures in a row hold back all keys", []call{
			{0, "a", 0, down, nil}, {0, "b", 0, down, nil}, {0, "c", 0, down, nil},
			{0, "d", 0, ok, errDown}, {tooEarly, "d", 0, ok, errDown}, {first, "d", 0, ok, nil},
		}},
		{"the failures in a row of one owner hold back nobody else", []call{
			{0, "ann", 0, down, nil}, {first, "ann", 0, down, nil}, {first + second, "ann", 0, down, nil},
			{first + second, "bob", 0, ok, nil},
		}},
		{"the failures in a row of two owners hold back nobody else", []call{
			{0, "ann/1", 0, down, nil}, {0, "ann/2", 0, down, nil}, {0, "ann/3", 0, down, nil}, {0, "bob/1", 0, down, nil},
			{0, "bob/2", 0, down, nil}, {0, "cat", 0, ok, nil},
		}},
		{"the third owner of failures in a row opens the breaker", []call{
			{0, "ann/1", 0, down, nil}, {0, "ann/2", 0, down, nil}, {0, "bob", 0, down, nil}, {0, "ann/3", 0, down, nil},
			{0, "cat", 0, down, nil}, {0, "dan", 0, ok, errDown},
		}},
		{"owners without failures get the probe if they ask", []call{
			{0, "ann", 0, blocked, nil}, {500 * ms, "bob", 0, ok, errBlocked}, {first, "ann/2", 0, ok, errBlocked},
			{first + 3*s, "ann/2", 0, ok, errBlocked}, {first + 4*s, "bob", 0, ok, nil}, {first + 4*s, "ann/2", 0, ok, nil},
		}},
		{"a probe is kept for 5 seconds", []call{
			{0, "ann", 0, blocked, nil}, {500 * ms, "bob", 0, ok, errBlocked}, {4*s + first, "ann/2", 0, ok, errBlocked},
			{5*s + first, "ann/2", 0, ok, nil},
		}},
		{"no probe is kept if nobody else asks", []call{
			{0, "ann", 0, blocked, nil}, {500 * ms, "ann/2", 0, ok, errBlocked}, {first, "ann/2", 0, ok, nil},
		}},
		{"a probe is kept after each probe that fails", []call{
			{0, "ann", 0, blocked, nil}, {first, "ann", 0, down, nil}, {first + 1*s, "bob", 0, ok, errDown},
			{first + second, "ann/2", 0, ok, errDown}, {first + second, "bob", 0, ok, nil},
		}},
		{"owners who go on failing after a recovery do not count", []call{
			{0, "a/1", 0, down, nil}, {0, "b/1", 0, down, nil}, {0, "c/1", 0, down, nil}, {first, "good", 0, ok, nil},
			{2 * s, "a/2", 0, down, nil}, {2 * s, "b/2", 0, down, nil}, {2 * s, "c/2", 0, down, nil}, {2 * s, "dan", 0, ok, nil},
			{3 * s, "a/3", 0, down, nil}, {3 * s, "e", 0, down, nil}, {3 * s, "f", 0, down, nil}, {3 * s, "g", 0, ok, nil},
		}},
		{"they count again after a success", []call{
			{0, "a/1", 0, down, nil}, {0, "b/1", 0, down, nil}, {0, "c/1", 0, down, nil}, {first, "good", 0, ok, nil},
			{2 * s, "a/2", 0, down, nil}, {2 * s, "a/3", 0, ok, nil},
			{3 * s, "a/4", 0, down, nil}, {3 * s, "e", 0, down, nil}, {3 * s, "f", 0, down, nil}, {3 * s, "g", 0, ok, errDown},
		}},
		{"a failure of a call from before the recovery counts", []call{
			{0, "slow", 0, down, nil}, {0, "slow/2", 2 * s, down, nil}, {0, "b/1", 0, down, nil}, {0, "c/1", 0, down, nil}, {first, "good", 0, ok, nil},
			{2*s + 1, "e", 0, down, nil}, {2*s + 1, "f", 0, down, nil}, {2*s + 1, "g", 0, ok, errDown},
		}},
		{"they do not get the probe while others ask", []call{
			{0, "a/1", 0, down, nil}, {0, "b/1", 0, down, nil}, {0, "c/1", 0, down, nil}, {first, "good", 0, ok, nil},
			{2 * s, "a/2", 0, down, nil}, {3 * s, "x", 0, blocked, nil}, {3 * s, "y", 0, ok, errBlocked},
			{3*s + first, "a/3", 0, ok, errBlocked}, {3*s + first, "y", 0, ok, nil},
		}},
		{"a success ends the failures of its owner", []call{
			{0, "ann", 0, down, nil}, {1 * s, "ann/2", 0, ok, nil}, {1 * s, "bob", 0, blocked, nil}, {1*s + tooEarly, "cat", 0, ok, errBlocked},
			{1*s + first, "ann/2", 0, ok, nil},
		}},
		{"a success ends a row of failures", []call{
			{0, "a", 0, down, nil}, {0, "b", 0, down, nil}, {0, "c", 0, ok, nil}, {0, "d", 0, down, nil}, {0, "e", 0, down, nil},
			{0, "f", 0, ok, nil},
		}},
		{"a refusal ends a row of failures", []call{
			{0, "a", 0, down, nil}, {0, "b", 0, down, nil}, {0, "c", 0, refused, nil}, {0, "d", 0, down, nil},
			{0, "e", 0, down, nil}, {0, "f", 0, ok, nil},
		}},
		{"one limit holds back all keys", []call{
			{0, "ann", 0, blocked, nil}, {0, "bob", 0, ok, errBlocked}, {tooEarly, "bob", 0, ok, errBlocked},
			{first, "bob", 0, ok, nil},
		}},
		{"one probe at a time", []call{
			{0, "ann", 0, blocked, nil}, {first, "bob", 5 * s, ok, nil},
			{first + 1*s, "cat", 0, ok, errBlocked}, {first + 4*s, "bob", 0, ok, errBlocked},
			{first + 5*s + 1, "cat", 0, ok, nil}, {first + 5*s + 1, "bob", 0, ok, nil},
		}},
		{"the delay doubles after a probe that fails", []call{
			{0, "ann", 0, blocked, nil}, {first, "bob", 0, down, nil}, {first + 2*tooEarly, "cat", 0, ok, errDown},
			{first + second, "cat", 0, blocked, nil}, {first + second + 4*tooEarly, "dan", 0, ok, errBlocked},
			{first + second + third, "dan", 0, ok, nil},
		}},
		{"a probe that is refused shows that the upstream works", []call{
			{0, "ann", 0, blocked, nil}, {first, "bob", 0, refused, nil}, {first, "cat", 0, ok, nil},
			{first, "bob", 0, ok, errRefused},
		}},
		{"one probe at a time, even if the breaker closes and opens meanwhile", []call{
			{0, "slow", 2 * s, ok, nil}, {0, "ann", 0, blocked, nil}, {first, "probe", 20 * s, ok, nil},
			{3 * s, "good", 0, ok, nil}, {4 * s, "bob", 0, blocked, nil}, {4*s + first, "cat", 0, ok, errBlocked},
			{first + 20*s + 1, "cat", 0, ok, nil},
		}},
		{"a call from before the outage is not a probe", []call{
			{0, "slow", 3 * s, down, nil}, {0, "ann", 0, blocked, nil}, {first, "bob", 5 * s, ok, nil},
			{3*s + 1, "cat", 0, ok, errBlocked}, {4 * s, "cat", 0, ok, errBlocked},
		}},
		{"failures in flight raise the delay once", []call{
			{0, "a", s, down, nil}, {0, "b", s, down, nil}, {0, "c", s, down, nil}, {0, "d", s, down, nil}, {0, "e", s, down, nil},
			{0, "f", s, down, nil}, {s + tooEarly, "g", 0, ok, errDown}, {s + first, "g", 0, ok, nil},
		}},
		{"a limit in flight after a recovery holds back again", []call{
			{0, "slow", 5 * s, blocked, nil}, {0, "ann", 0, blocked, nil}, {first, "bob", 0, ok, nil}, {4 * s, "bob", 0, ok, nil},
			{5*s + 1, "bob", 0, ok, errBlocked}, {5*s + first, "bob", 0, ok, nil},
		}},
		{"a success in flight closes the breaker", []call{
			{0, "slow", 500 * ms, ok, nil}, {0, "ann", 0, blocked, nil}, {400 * ms, "bob", 0, ok, errBlocked},
			{501 * ms, "bob", 0, ok, nil},
		}},
		{"a success in flight does not end a RetryAfter", []call{
			{0, "slow", 2 * s, ok, nil}, {0, "ann", 0, after(m, blocked), nil}, {3 * s, "bob", 0, ok, errBlocked},
			{m - 1, "bob", 0, ok, errBlocked}, {m, "bob", 0, ok, nil},
		}},
		{"a RetryAfter of a key is kept to the nanosecond", []call{
			{0, "ann", 0, after(m, down), nil}, {m - 1, "ann", 0, ok, errDown}, {m, "ann", 0, ok, nil},
		}},
		{"a RetryAfter that is shorter than the delay changes nothing", []call{
			{0, "ann", 0, after(1, down), nil}, {tooEarly, "ann", 0, ok, errDown}, {first, "ann", 0, ok, nil},
		}},
		{"a RetryAfter of one failure holds back its key alone", []call{
			{0, "ann", 0, after(m, down), nil}, {0, "bob", 0, ok, nil}, {2 * s, "ann", 0, ok, errDown},
		}},
		{"a RetryAfter counts when the row is full", []call{
			{0, "a", 0, after(m, down), nil}, {0, "b", 0, down, nil}, {0, "c", 0, down, nil},
			{m - 1, "d", 0, ok, errDown}, {m, "d", 0, ok, nil},
		}},
		{"a RetryAfter that held back nobody ends with a success", []call{
			{0, "ann", 0, after(5*m, down), nil}, {0, "bob", 0, ok, nil},
			{m, "a", 0, down, nil}, {m, "b", 0, down, nil}, {m, "c", 0, down, nil}, {m + first, "bob", 0, ok, nil},
		}},
		{"the later of two RetryAfters counts, it comes first", []call{
			{0, "long", 1 * s, after(m, blocked), nil}, {0, "short", 2 * s, after(s, blocked), nil},
			{0, "good", 5 * s, ok, nil}, {6 * s, "bob", 0, ok, errBlocked}, {s + m, "bob", 0, ok, nil},
		}},
		{"the later of two RetryAfters counts, it comes last", []call{
			{0, "long", 2 * s, after(m, blocked), nil}, {0, "short", 1 * s, after(s, blocked), nil},
			{m, "bob", 0, ok, errBlocked}, {2*s + m, "bob", 0, ok, nil},
		}},
		{"a recovery holds for all keys that the upstream failed", []call{
			{0, "ann", 0, down, nil}, {first, "ann", 0, down, nil}, {first + second, "ann", 0, down, nil},
			{first + second, "cat", 0, down, nil}, {first + second, "dan", 0, down, nil},
			{first + second + first, "bob", 0, ok, nil}, {first + second + first, "ann", 0, ok, nil},
		}},
		{"without an outage, the success of another key changes no delay", []call{
			{0, "ann", 0, down, nil}, {first, "ann", 0, down, nil}, {first + tooEarly, "bob", 0, ok, nil},
			{first + tooEarly, "ann", 0, ok, errDown}, {first + second, "ann", 0, ok, nil},
		}},
		{"delays begin again after a recovery", []call{
			{0, "ann", 0, down, nil}, {first, "ann", 0, down, nil}, {first + second, "ann", 0, down, nil},
			{first + second, "cat", 0, down, nil}, {first + second, "dan", 0, down, nil},
			{first + second + first, "bob", 0, ok, nil}, {first + second + first, "ann", 0, down, nil},
			{first + second + first + tooEarly, "ann", 0, ok, errDown}, {first + second + 2*first, "ann", 0, ok, nil},
		}},
		{"the upstream's delay begins again after a recovery", []call{
			{0, "ann", 0, blocked, nil}, {first, "bob", 0, blocked, nil}, {first + second, "bob", 0, ok, nil},
			{first + second, "cat", 0, blocked, nil}, {first + second + first, "bob", 0, ok, nil},
		}},
		{"a refusal outlives a recovery", []call{
			{0, "ann", 0, after(m, refused), nil}, {0, "bob", 0, blocked, nil}, {first, "bob", 0, ok, nil},
			{first, "ann", 0, ok, errRefused},
		}},
		{"a limit of a key does not outlive a recovery", []call{
			{0, "ann", 2 * s, blocked, nil}, {0, "bob", 2*s + 1, ok, nil}, {2*s + 2, "ann", 0, ok, nil},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b breaker.Breaker[string, string]
				began := time.Now()
				got, want := make([]string, len(tt.calls)), make([]string, len(tt.calls))
				var wg sync.WaitGroup
				for i, c := range tt.calls {
					want[i] = fmt.Sprintf("%s at %v: %v", c.key, c.at, c.held)
					time.Sleep(c.at - time.Since(began))
					synctest.Wait() // for what ends at this moment
					checked := b.Check(ownerOf(c.key), c.key)
					call, err := b.Begin(ownerOf(c.key), c.key)
					if !errors.Is(checked, errors.Unwrap(err)) {
						t.Errorf("%s at %v: Check() = %v, Begin() = %v", c.key, c.at, checked, err)
					}
					got[i] = fmt.Sprintf("%s at %v: %v", c.key, c.at, errors.Unwrap(err))
					if err != nil {
						continue
					}
					wg.Go(func() {
						defer b.End(call)
						time.Sleep(c.takes)
						b.Report(call, c.outcome)
					})
					if c.takes == 0 {
						synctest.Wait()
					}
				}
				wg.Wait()
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("which error holds back each call (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// makeCall makes a call of key, if b allows it.
func makeCall(b *breaker.Breaker[string, string], key string, o breaker.Outcome) error {
	call, err := b.Begin(key, key)
	if err != nil {
		return err
	}
	defer b.End(call)
	b.Report(call, o)
	return nil
}

// TestReportSaysWhenTheUpstreamIsHeldBack makes calls one after the other.
func TestReportSaysWhenTheUpstreamIsHeldBack(t *testing.T) {
	type change = breaker.Change
	type step struct {
		at      time.Duration
		key     string
		outcome breaker.Outcome
		want    change
		open    time.Duration // until when the upstream is held back afterwards, to the second; 0: it is not
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"a refusal", []step{{0, "ann", refused, change{}, 0}}},
		{"a failure of one owner", []step{{0, "ann/1", down, change{}, 0}, {0, "ann/2", down, change{}, 0}}},
		{"failures of three owners", []step{
			{0, "ann", down, change{}, 0}, {0, "bob", down, change{}, 0}, {0, "cat", down, change{Opened: true}, s},
			{2 * s, "dan", ok, change{Closed: true, OpenFor: 2 * s}, 0}, {2 * s, "eve", ok, change{}, 0},
		}},
		{"a probe that fails, and one that is refused", []step{
			{0, "ann", blocked, change{Opened: true}, s}, {2 * s, "bob", blocked, change{}, 4 * s},
			{5 * s, "cat", refused, change{Closed: true, OpenFor: 5 * s}, 0},
		}},
		{"a RetryAfter", []step{
			{0, "ann", after(m, blocked), change{Opened: true}, m}, {m, "bob", ok, change{Closed: true, OpenFor: m}, 0},
		}},
		{"a second outage", []step{
			{0, "ann", blocked, change{Opened: true}, s}, {2 * s, "bob", ok, change{Closed: true, OpenFor: 2 * s}, 0},
			{4 * s, "cat", blocked, change{Opened: true}, 5 * s}, {8 * s, "bob", ok, change{Closed: true, OpenFor: 4 * s}, 0},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b breaker.Breaker[string, string]
				began := time.Now()
				for _, step := range tt.steps {
					time.Sleep(step.at - time.Since(began))
					call, err := b.Begin(ownerOf(step.key), step.key)
					if err != nil {
						t.Fatalf("%s at %v: %v", step.key, step.at, err)
					}
					got := b.Report(call, step.outcome)
					b.End(call)
					until, open := b.Upstream()
					if diff := cmp.Diff(step.want, got); diff != "" {
						t.Errorf("%s at %v (-want +got):\n%s", step.key, step.at, diff)
					}
					var want time.Time
					if step.open > 0 {
						want = began.Add(step.open)
					}
					if open != (step.open > 0) || until.Round(s) != want {
						t.Errorf("%s at %v: Upstream() = %v, %v, want %v", step.key, step.at, until, open, want)
					}
				}
			})
		})
	}
}

// heldFor returns for how long b holds back key.
func heldFor(b *breaker.Breaker[string, string], key string) time.Duration {
	var open *breaker.Open
	if !errors.As(b.Check(key, key), &open) {
		return 0
	}
	return open.RetryAfter
}

func TestDelaysDoubleToAMinuteWithAJitterOfATenth(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome breaker.Outcome
		asking  string // who is held back
	}{
		{"of a key", refused, "ann"},
		{"of the upstream", blocked, "bob"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const breakers = 100
				list := make([]breaker.Breaker[string, string], breakers)
				want := s
				for try := range 80 { // more than there are bits in a time.Duration
					least, most := 24*time.Hour, time.Duration(0)
					for i := range list {
						owner := fmt.Sprint("ann", try) // without failures, so no probe is kept for others
						call, err := list[i].Begin(owner, "ann")
						if err != nil {
							t.Fatalf("try %d: %v", try, err)
						}
						list[i].Report(call, tt.outcome)
						list[i].End(call)
						held := heldFor(&list[i], tt.asking)
						least, most = min(least, held), max(most, held)
					}
					// No Open of the upstream says less than a second.
					low, high := want*9/10, want*11/10
					if tt.asking == "bob" && want == s {
						low = s
					}
					if least < low || most > high {
						t.Errorf("after failure %d the delays are %v to %v, want within %v to %v", try+1, least, most, low, high)
					}
					if most-least < want/20 {
						t.Errorf("after failure %d all delays are %v to %v: no jitter", try+1, least, most)
					}
					time.Sleep(high)
					want = min(2*want, m)
				}
			})
		})
	}
}

func TestOpenSaysWhyAndForHowLong(t *testing.T) {
	type open struct {
		Err        error
		RetryAfter time.Duration
	}
	for _, tt := range []struct {
		name   string
		before func(b *breaker.Breaker[string, string])
		want   open
	}{
		{"a key", func(b *breaker.Breaker[string, string]) { makeCall(b, "ann", after(m, refused)) }, open{errRefused, m}},
		{"a key, later", func(b *breaker.Breaker[string, string]) {
			makeCall(b, "ann", after(m, refused))
			time.Sleep(m - 1)
		}, open{errRefused, 1}},
		{"the upstream", func(b *breaker.Breaker[string, string]) { makeCall(b, "bob", after(m, blocked)) }, open{errBlocked, m}},
		{"the upstream, not less than a second", func(b *breaker.Breaker[string, string]) {
			makeCall(b, "bob", after(m, blocked))
			time.Sleep(m - 1)
		}, open{errBlocked, s}},
		{"while a probe is in flight", func(b *breaker.Breaker[string, string]) {
			makeCall(b, "bob", after(m, blocked))
			time.Sleep(2 * m)
			if _, err := b.Begin("bob", "bob"); err != nil {
				panic(err)
			}
		}, open{errBlocked, s}},
		{"the upstream comes before the key", func(b *breaker.Breaker[string, string]) {
			makeCall(b, "ann", after(5*m, refused))
			makeCall(b, "bob", after(m, blocked))
		}, open{errBlocked, m}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b breaker.Breaker[string, string]
				tt.before(&b)
				_, begun := b.Begin("ann", "ann")
				for method, err := range map[string]error{"Check": b.Check("ann", "ann"), "Begin": begun} {
					var got *breaker.Open
					if !errors.As(err, &got) || !errors.Is(err, tt.want.Err) {
						t.Fatalf("%s() = %v, want an *Open of %v", method, err, tt.want.Err)
					}
					if diff := cmp.Diff(tt.want, open{got.Err, got.RetryAfter}, compareErrors); diff != "" {
						t.Errorf("%s (-want +got):\n%s", method, diff)
					}
					if text, want := got.Error(), "breaker: open: "+tt.want.Err.Error(); text != want {
						t.Errorf("Error() = %q, want %q", text, want)
					}
				}
			})
		})
	}
}

func TestEndAllowsTheNextProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker[string, string]
		early, err := b.Begin("early", "early")
		if err != nil {
			t.Fatal(err)
		}
		makeCall(&b, "ann", blocked)
		time.Sleep(first)
		for i := range 3 {
			probe, err := b.Begin("probe", "probe")
			if err != nil {
				t.Fatalf("probe %d: %v", i, err)
			}
			b.End(early) // from before the outage, so not a probe
			early = breaker.Call[string, string]{}
			if b.Check("other", "other") == nil {
				t.Errorf("a second probe is allowed during probe %d", i)
			}
			b.End(probe) // canceled: without a Report
		}
	})
}

func TestHoldDelaysAKeyWithoutTheUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker[string, string]
		makeCall(&b, "a", down)
		makeCall(&b, "b", down)
		b.Hold("ann", errRefused)
		for range 5 {
			b.Hold("bob", errRefused)
		}
		if err := b.Check("ann", "ann"); !errors.Is(err, errRefused) {
			t.Errorf("Check() = %v, want %v", err, errRefused)
		}
		if held := heldFor(&b, "bob"); held < 14*s || held > 18*s {
			t.Errorf("the key of five failures is held back for %v, want about 16 s", held)
		}
		makeCall(&b, "c", down) // the third in a row: Hold is no answer of the upstream
		if err := b.Check("d", "d"); !errors.Is(err, errDown) {
			t.Errorf("Check() = %v, want %v", err, errDown)
		}
		time.Sleep(first)
		makeCall(&b, "d", ok)
		if err := b.Check("bob", "bob"); !errors.Is(err, errRefused) {
			t.Errorf("Check() after a recovery = %v, want %v", err, errRefused)
		}
	})
}

func TestTheTableOfKeysIsBounded(t *testing.T) {
	key := func(i int) string { return fmt.Sprint("key", i) }
	held := func(b *breaker.Breaker[string, string], n int) (count int) {
		for i := range n {
			if b.Check(key(i), key(i)) != nil {
				count++
			}
		}
		return count
	}
	for _, tt := range []struct {
		name string
		fill func(b *breaker.Breaker[string, string], n int)
	}{
		{"refused calls", func(b *breaker.Breaker[string, string], n int) {
			for i := range n {
				makeCall(b, key(i), refused)
			}
		}},
		{"failed calls", func(b *breaker.Breaker[string, string], n int) {
			for i := range n {
				makeCall(b, key(i), down)
				makeCall(b, "good", ok)
			}
		}},
		{"Hold", func(b *breaker.Breaker[string, string], n int) {
			for i := range n {
				b.Hold(key(i), errRefused)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var full, over breaker.Breaker[string, string]
				tt.fill(&full, breaker.MaxKeys)
				if got := held(&full, breaker.MaxKeys); got != breaker.MaxKeys {
					t.Errorf("%d of %d keys are held back", got, breaker.MaxKeys)
				}
				const keys = breaker.MaxKeys * 3 / 2
				tt.fill(&over, keys)
				if got := held(&over, keys); got > breaker.MaxKeys || got < breaker.MaxKeys/2 {
					t.Errorf("%d keys are held back, want at most %d, and at least half of them", got, breaker.MaxKeys)
				}
			})
		})
	}
}

func TestKeysWhoseDelayEndsFirstAreForgotten(t *testing.T) {
	const half = breaker.MaxKeys / 2
	key := func(i int) string { return fmt.Sprint("key", i) }
	for _, tt := range []struct {
		name       string
		delay      func(i int) time.Duration
		wait       time.Duration
		lost, kept int // a key that is forgotten, and one that is not
	}{
		{"the first keys", func(i int) time.Duration { return m + time.Duration(i)*s }, 0, 0, breaker.MaxKeys - 1},
		{"the last keys", func(i int) time.Duration { return 3*time.Hour - time.Duration(i)*s }, 0, breaker.MaxKeys - 1, 0},
		{"those whose delay has ended", func(i int) time.Duration {
			if i < half {
				return 2 * m
			}
			return m
		}, m, half, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b breaker.Breaker[string, string]
				for i := range breaker.MaxKeys {
					makeCall(&b, key(i), after(tt.delay(i), refused))
				}
				time.Sleep(tt.wait)
				makeCall(&b, "one more", after(m, refused))
				if b.Check(key(tt.lost), key(tt.lost)) != nil {
					t.Error("the key whose delay ends first is still held back")
				}
				for _, key := range []string{key(tt.kept), "one more"} {
					if b.Check(key, key) == nil {
						t.Errorf("%s is not held back", key)
					}
				}
			})
		})
	}
}

func TestMakingRoomForgetsNoMoreThanAQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker[string, string]
		for i := range breaker.MaxKeys + 1 {
			b.Hold(fmt.Sprint("key", i), errRefused)
		}
		held := 0
		for i := range breaker.MaxKeys + 1 {
			if b.Check(fmt.Sprint("key", i), fmt.Sprint("key", i)) != nil {
				held++
			}
		}
		if want := breaker.MaxKeys/4*3 + 1; held != want {
			t.Errorf("%d keys are held back, want %d", held, want)
		}
	})
}

func TestConcurrentCallsHaveOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker[string, string]
		makeCall(&b, "ann", blocked)
		time.Sleep(first)
		var mu sync.Mutex
		var wg sync.WaitGroup
		inFlight, most, made := 0, 0, 0
		for i := range 1000 {
			wg.Go(func() {
				call, err := b.Begin(fmt.Sprint("key", i), fmt.Sprint("key", i))
				if err != nil {
					return
				}
				defer b.End(call)
				mu.Lock()
				inFlight++
				made++
				most = max(most, inFlight)
				mu.Unlock()
				time.Sleep(s)
				mu.Lock()
				defer mu.Unlock()
				inFlight--
				b.Report(call, ok)
			})
		}
		wg.Wait()
		if most != 1 || made != 1 {
			t.Errorf("%d calls, up to %d at a time, want one probe", made, most)
		}
	})
}

// compareErrors compares errors as errors.Is does.
var compareErrors = cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) || errors.Is(b, a) })
