package searchtoken_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
)

// The tests of this file have some users do their worst, and check what that
// costs the others.

// TestForgetCostsOthersNothing has 60 users visit for the first time while
// users are forgotten.
func TestForgetCostsOthersNothing(t *testing.T) {
	stranger := func(i int) string { return fmt.Sprint("stranger", i) }
	for _, tt := range []struct {
		name      string
		perSecond int
		forgotten func(i int) string
		logsIn    bool // the forgotten user visits before each Forget
	}{
		{"2,000 strangers a second", 2000, stranger, false},
		{"10,000 strangers a second", 10_000, stranger, false},
		{"one account, ten times a second", 10, func(int) string { return "mallory" }, true},
		{"one account, 10,000 times a second", 10_000, func(int) string { return "mallory" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(200 * time.Millisecond)
				visits, forgets := 60, 3*tt.perSecond
				h.background(func() {
					for i := range forgets {
						user := tt.forgotten(i)
						if tt.logsIn {
							h.running.Go(func() { h.get(user) })
						}
						h.forget(user)
						time.Sleep(time.Second / time.Duration(tt.perSecond))
					}
				})
				calls := map[string]int{}
				for i := range visits {
					user := fmt.Sprint("user", i)
					h.background(func() {
						for range 2 {
							if got := h.visit(user, time.Minute); got.Status != 200 || got.Waited > 200*time.Millisecond {
								h.Errorf("%s: %+v, want 200 at once", user, got)
							}
						}
					})
					h.elapse(45 * time.Millisecond)
				}
				h.wait()
				for _, user := range h.issuer.take() {
					calls[user]++
				}
				for i := range visits {
					check(h, "calls for a user", 1, calls[fmt.Sprint("user", i)])
				}
			})
		})
	}
}

// TestForgetOfAnonymousCostsNoPage has the anonymous user forgotten 1,000 times
// a second, so that no token is of use for another visitor.
func TestForgetOfAnonymousCostsNoPage(t *testing.T) {
	for _, tt := range []struct {
		visitsPerSecond int
		call            time.Duration // how long a call of Coveo takes
	}{
		{50, 200 * time.Millisecond}, {500, 200 * time.Millisecond}, {500, 5 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.visitsPerSecond, " visits a second, calls of ", tt.call), func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(tt.call)
				h.configure(searchtoken.Config{Identify: searchtoken.AnonymousIdentity})
				h.background(func() {
					for range 2000 {
						if err := h.middleware.Forget(h.Context(), searchtoken.Anonymous()); err != nil {
							h.Error(err)
						}
						time.Sleep(time.Millisecond)
					}
				})
				for range 2 * tt.visitsPerSecond {
					h.background(func() {
						// At worst, all calls that may run have just begun.
						if got := h.visit("", time.Minute); got.Status != 200 || got.Waited > 2*tt.call {
							h.Errorf("%+v, want 200 after two calls", got)
						}
					})
					h.elapse(time.Second / time.Duration(tt.visitsPerSecond))
				}
			})
		})
	}
}

// TestAQueuedFetchIsOfTheEpochInWhichItBegins has a request of ann start a
// fetch, which queues behind one for another route until ann is forgotten. A
// request that comes after the Forget joins it.
func TestAQueuedFetchIsOfTheEpochInWhichItBegins(t *testing.T) {
	refused := &searchtoken.APIError{StatusCode: 403}
	renew := func(h *harness) answer { return h.renew("ann", "ann 1") }
	page := func(h *harness) answer { return h.get("ann") }
	type result struct {
		First, Joined, Next int // statuses; the next request comes after all others
		Calls               int
	}
	for _, tt := range []struct {
		name    string
		request func(*harness) answer
		err     error // of the fetch
		want    result
	}{
		// Nothing is cached after the Forget, so no renewal is forced, and the
		// limit does not matter.
		{"renewal", renew, nil, result{200, 200, 200, 3}},
		{"refusal", page, refused, result{502, 502, 502, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					if n > 1 {
						time.Sleep(time.Second)
					}
					if n == 3 && tt.err != nil {
						return searchtoken.Token{}, tt.err
					}
					return tokenFor(n, p), nil
				}
				h.configure(searchtoken.Config{MaxInFlight: 4, Cache: struct {
					searchtoken.Cache
					limitFunc
				}{h.memory, func(time.Duration, int) (time.Duration, error) {
					return 20 * time.Second, nil
				}}})
				other, err := h.middleware.With(func(r *searchtoken.Route) { r.Params.SearchHub = "other" })
				if err != nil {
					h.Fatal(err)
				}
				h.get("ann")
				if tt.err != nil {
					h.forget("ann")
				}
				h.background(func() { get(other, request("ann")) })
				h.elapse(100 * time.Millisecond)
				var got result
				h.background(func() { got.First = tt.request(h).Status })
				h.elapse(100 * time.Millisecond)
				h.forget("ann")
				h.background(func() { got.Joined = tt.request(h).Status })
				h.elapse(2 * time.Second)
				got.Next, got.Calls = page(h).Status, h.issuer.count()
				check(h, "statuses and calls", tt.want, got)
			})
		})
	}
}

// TestAccountsThatFailHoldBackNobody has some accounts whose calls end in 500
// poll every 20 ms, and another user visit every second for ten minutes.
func TestAccountsThatFailHoldBackNobody(t *testing.T) {
	for _, accounts := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(accounts), func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.failBy(func(user string) error {
					if user[0] == 'm' {
						return &searchtoken.APIError{StatusCode: 500}
					}
					return nil
				})
				lost := 0
				for i := range 600 {
					for range 50 {
						for n := range accounts {
							h.get(fmt.Sprint("mallory", n))
						}
						h.elapse(20 * time.Millisecond)
					}
					if h.get(fmt.Sprint("user", i)).Status != 200 {
						lost++
					}
				}
				// Three users in a row look like an outage, which the first
				// probe ends. Until then, users are lost for some seconds.
				if most := accounts / 3 * 5; lost > most {
					h.Errorf("%d of 600 users got no token, want at most %d", lost, most)
				}
			})
		})
	}
}

func TestAWrongKeyIsAskedOncePerProbe(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&searchtoken.APIError{StatusCode: 401})
		for range 10 {
			for i := range 10_000 {
				if got := h.get(fmt.Sprint("user", i)); got.Status != 502 {
					h.Fatalf("%+v, want 502", got)
				}
			}
			h.elapse(20 * time.Second)
		}
		if calls := h.issuer.count(); calls > 10 {
			h.Errorf("%d calls for 10,000 users in 200 s, want only probes", calls)
		}
	})
}

// TestOneUserDoesNotFillMaxInFlight has a user ask for 1,000 grants while all
// of the user's calls hang.
func TestOneUserDoesNotFillMaxInFlight(t *testing.T) {
	for _, tt := range []struct {
		maxInFlight, calls int
		waited             time.Duration // by another user
	}{
		{1, 1, 10 * time.Second}, // the only call hangs until the end of its time
		{2, 1, 0}, {7, 1, 0}, {8, 2, 0}, {0, 16, 0},
	} {
		t.Run(fmt.Sprint(tt.maxInFlight), func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					if p.UserIDs[0].Name == "mallory" {
						<-ctx.Done()
						return searchtoken.Token{}, ctx.Err()
					}
					return tokenFor(n, p), nil
				}
				h.configure(searchtoken.Config{MaxInFlight: tt.maxInFlight, Route: searchtoken.Route{Prepare: byHost}})
				for i := range 1000 {
					h.running.Go(func() { h.onHost("mallory", fmt.Sprint("host", i), 15*time.Second) })
				}
				h.elapse(0)
				check(h, "calls of one user", tt.calls, h.issuer.count())
				check(h, "another user's wait", tt.waited, h.visit("ann", time.Minute).Waited)
			})
		})
	}
}

func TestAllGrantsOfAUserStayCached(t *testing.T) {
	for _, grants := range []int{65, 5000} {
		t.Run(fmt.Sprint(grants), func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{Route: searchtoken.Route{Prepare: byHost}})
				for range 5 {
					for i := range grants {
						h.onHost("ann", fmt.Sprint("host", i), time.Minute)
					}
				}
				check(h, "calls", grants, h.issuer.count())
			})
		})
	}
}

// byHost is a Prepare that sets a filter for each host.
func byHost(r *http.Request, p *searchtoken.TokenParams) error {
	p.Filter = "@site==" + r.Host
	return nil
}

// onHost is a visit of a host by user, who leaves after patience.
func (h *harness) onHost(user, host string, patience time.Duration) answer {
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	r := request(user).WithContext(ctx)
	r.Host = host
	return h.serve(r)
}
