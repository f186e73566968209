package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
)

// event is an Event without its Err, which is checked to agree with the
// Outcome.
type event struct {
	Kind    searchtoken.EventKind
	Route   string
	Outcome searchtoken.Outcome
	Elapsed time.Duration
}

func takeEvents(h *harness) (list []event) {
	h.Helper()
	for _, e := range h.events.takeAll() {
		if (e.Err == nil) != (e.Outcome == searchtoken.OutcomeOK || e.Outcome == searchtoken.OutcomeForgotten) {
			h.Errorf("%s: outcome %q with the error %v", e.Kind, e.Outcome, e.Err)
		}
		list = append(list, event{e.Kind, e.Route, e.Outcome, e.Elapsed})
	}
	return list
}

func TestEventsSayWhatHappened(t *testing.T) {
	bubble(t, func(h *harness) {
		const s, ms = time.Second, time.Millisecond
		h.issuer.slow(s)
		h.configure(searchtoken.Config{Cache: h.cache, Route: searchtoken.Route{Name: "search"}})
		visit := func(user string) func() { return func() { h.get(user) } }
		for _, step := range []struct {
			name string
			do   func()
			want []event
		}{
			{"a miss", visit("ann"), []event{{"fetch", "search", "ok", s}, {"miss", "search", "ok", s}}},
			{"a hit", visit("ann"), []event{{"hit", "search", "ok", 0}}},
			{"a Forget", func() { h.forget("bob") }, []event{{"forget", "", "ok", 0}}},
			{"a Forget during a fetch", func() {
				h.background(visit("bob"))
				h.forget("bob")
			}, []event{{"forget", "", "ok", 0}, {"fetch", "search", "forgotten", s}, {"miss", "search", "ok", s}}},
			{"a Forget of another instance during a fetch", func() {
				h.background(visit("bob"))
				h.instance().forget("bob")
			}, []event{{"fetch", "search", "forgotten", s}, {"miss", "search", "ok", s}}},
			{"nobody is logged in", visit(""), nil},
			{"the token gets stale", func() { h.elapse(23 * time.Hour) }, nil},
			{"a stale token", visit("ann"), []event{{"hit", "search", "ok", 0}, {"refresh", "search", "ok", s}}},
			{"a renewal", func() { h.renew("ann", h.get("ann").Body) }, []event{
				{"hit", "search", "ok", 0}, {"renew", "search", "ok", s}, {"miss", "search", "ok", s},
			}},
			{"a visitor who leaves", func() { h.visit("cyd", 100*ms) }, []event{
				{"miss", "search", "canceled", 100 * ms}, {"fetch", "search", "ok", s},
			}},
			{"Set fails", func() { h.cache.fail(errDown, "Set"); h.get("dan"); h.cache.set = nil }, []event{
				{"cache_error", "", "error", 0}, {"fetch", "search", "ok", s}, {"miss", "search", "ok", s},
			}},
			{"Forget fails", func() {
				h.cache.fail(errDown, "Forget")
				h.middleware.Forget(h.Context(), searchtoken.Email("dan"))
				h.cache.forget = nil
			}, []event{{"cache_error", "", "error", 0}, {"forget", "", "error", 0}}},
			{"Coveo refuses", func() { h.issuer.fail(&searchtoken.APIError{StatusCode: 403}); h.get("eve") }, []event{
				{"fetch", "search", "refused", s}, {"miss", "search", "refused", s},
			}},
			{"Coveo fails", func() { h.issuer.fail(errUnreachable); h.get("fay") }, []event{
				{"fetch", "search", "unavailable", s}, {"miss", "search", "unavailable", s},
			}},
		} {
			step.do()
			h.elapse(2 * s)
			check(h, step.name, step.want, takeEvents(h))
		}
	})
}

// TestMissOutcomes has requests that get no token, each for another reason.
func TestMissOutcomes(t *testing.T) {
	for _, tt := range []struct {
		want searchtoken.Outcome
		do   func(h *harness)
	}{
		{searchtoken.OutcomeHeldBack, func(h *harness) {
			h.issuer.fail(errUnreachable)
			h.get("ann")
			h.get("ann")
		}},
		{searchtoken.OutcomeLimited, func(h *harness) {
			for range 4 {
				h.renew("ann", h.get("ann").Body)
				h.elapse(time.Second) // so that the tokens differ
			}
		}},
		{searchtoken.OutcomeNoIdentity, func(h *harness) {
			h.cache.slowGet(time.Second)
			left := time.Millisecond
			h.configure(searchtoken.Config{Cache: h.cache, Identify: endingSessions(&left)})
			h.get("")
		}},
		{searchtoken.OutcomeError, func(h *harness) {
			h.configure(searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
				return searchtoken.Email("\xff"), nil
			}})
			h.get("")
		}},
		{searchtoken.OutcomeCanceled, func(h *harness) {
			h.visit("ann", 0)
		}},
		{searchtoken.OutcomeRefused, func(h *harness) {
			h.issuer.fail(&searchtoken.APIError{StatusCode: 403})
			h.get("ann")
		}},
		{searchtoken.OutcomeUnavailable, func(h *harness) {
			h.issuer.answer = func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) { panic("boom") }
			h.get("ann")
		}},
	} {
		t.Run(string(tt.want), func(t *testing.T) {
			bubble(t, func(h *harness) {
				tt.do(h)
				var misses []searchtoken.Outcome
				for _, e := range takeEvents(h) {
					if e.Kind == searchtoken.EventMiss {
						misses = append(misses, e.Outcome)
					}
				}
				if len(misses) == 0 {
					h.Fatal("no miss")
				}
				check(h, "outcome of the last miss", tt.want, misses[len(misses)-1])
			})
		})
	}
}

func TestObserveGetsTheRequestsContext(t *testing.T) {
	type contextKey struct{}
	bubble(t, func(h *harness) {
		var kinds []string
		h.configure(searchtoken.Config{Observe: func(ctx context.Context, e searchtoken.Event) {
			kinds = append(kinds, fmt.Sprint(e.Kind, " of ", ctx.Value(contextKey{})))
		}})
		ctx := context.WithValue(h.Context(), contextKey{}, "r")
		h.serve(request("ann").WithContext(ctx))
		h.serve(request("ann").WithContext(ctx))
		if err := h.middleware.Forget(ctx, searchtoken.Email("ann")); err != nil {
			h.Error(err)
		}
		check(h, "events", []string{"fetch of r", "miss of r", "hit of r", "forget of r"}, kinds)
	})
}

func TestAVisitorWhoLeavesIsNoCacheError(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.get = func(ctx context.Context, _ searchtoken.Key) (searchtoken.Token, uint64, error) {
			return searchtoken.Token{}, 0, ctx.Err()
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		ctx, cancel := context.WithCancel(h.Context())
		cancel()
		h.serve(request("ann").WithContext(ctx))
		check(h, "events", []string{"miss 503"}, h.events.take())
		check(h, "log lines", nil, h.log.take())
	})
}

// TestALookThatTimesOutIsACacheError has a Get that is slower than a request's
// deadline.
func TestALookThatTimesOutIsACacheError(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.slowGet(time.Hour)
		h.configure(searchtoken.Config{Cache: h.cache})
		h.visit("ann", time.Second)
		check(h, "events", []string{"cache_error 500", "miss 503"}, h.events.take())
	})
}

// TestLogLevels has one failure of each kind. An ERROR needs an operator.
func TestLogLevels(t *testing.T) {
	api := func(status int) error { return &searchtoken.APIError{StatusCode: status} }
	const refused, unavailable = "Coveo refuses the token request", "no search token available"
	for _, tt := range []struct {
		name, level string
		err         error
		text        string
	}{
		{"401", "ERROR", api(401), refused + ": Coveo answered 401 Unauthorized"},
		{"403", "ERROR", api(403), refused + ": Coveo answered 403 Forbidden"},
		{"429", "WARN", api(429), unavailable + ": Coveo answered 429 Too Many Requests"},
		{"500", "WARN", api(500), unavailable + ": Coveo answered 500 Internal Server Error"},
		{"unreachable", "WARN", errUnreachable, unavailable + ": unreachable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.fail(tt.err)
				h.configure(searchtoken.Config{Route: searchtoken.Route{Name: "search"}})
				h.get("ann")
				want := `level=` + tt.level + ` msg="searchtoken: fetching a token failed" event=fetch route=search` +
					` error="searchtoken: ` + tt.text + `"`
				if tt.level == "ERROR" {
					want += ` hint="is it a key of the Authenticated search template, and of this organization?"`
				}
				check(h, "log", []string{want}, h.log.take())
			})
		})
	}
}

// TestOneLogLinePerSubjectAndMinute has another user ask, and another one
// forgotten, in each second of ten minutes.
func TestOneLogLinePerSubjectAndMinute(t *testing.T) {
	refuse := func(status int) func(h *harness) searchtoken.Config {
		return func(h *harness) searchtoken.Config {
			h.issuer.answer = func(_ context.Context, n int, _ searchtoken.TokenParams) (searchtoken.Token, error) {
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: status, RequestID: fmt.Sprint(n)}
			}
			return searchtoken.Config{}
		}
	}
	for _, tt := range []struct {
		name      string
		configure func(h *harness) searchtoken.Config
		want      map[string]int // lines by level and message
	}{
		{"no privilege", refuse(403), map[string]int{`level=ERROR msg="searchtoken: fetching a token failed"`: 10}},
		{"Cache", func(h *harness) searchtoken.Config {
			h.cache.fail(errDown, "Get", "Forget")
			return searchtoken.Config{Cache: h.cache}
		}, map[string]int{`level=WARN msg="searchtoken: cache operation failed"`: 20}}, // 10 for each method
		{"session store", func(*harness) searchtoken.Config {
			return searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
				return searchtoken.Identity{}, fmt.Errorf("%w: %w", searchtoken.ErrSession, errDown)
			}}
		}, map[string]int{`level=ERROR msg="searchtoken: request without a token"`: 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(tt.configure(h))
				for i := range 600 {
					user := fmt.Sprint("user", i)
					h.get(user)
					h.middleware.Forget(h.Context(), searchtoken.Email(user))
					h.elapse(time.Second)
				}
				got := map[string]int{}
				for _, line := range h.log.take() {
					message, _, _ := strings.Cut(line, `" `)
					got[message+`"`]++
				}
				check(h, "log lines", tt.want, got)
			})
		})
	}
}

// TestAWrongKeyIsLoggedOncePerProbe has another user ask in each second of ten
// minutes. All of them together cause one probe a minute.
func TestAWrongKeyIsLoggedOncePerProbe(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&searchtoken.APIError{StatusCode: 401})
		for i := range 600 {
			h.get(fmt.Sprint("user", i))
			h.elapse(time.Second)
		}
		if n := len(h.log.take()); n < 5 || n > 10 {
			h.Errorf("%d log lines in ten minutes, want about one a minute", n)
		}
	})
}

func TestEachStatusOfCoveoIsASubjectOfTheLog(t *testing.T) {
	bubble(t, func(h *harness) {
		var lines []int
		for i, status := range []int{403, 400, 403, 500} {
			h.issuer.fail(&searchtoken.APIError{StatusCode: status})
			h.get(fmt.Sprint("user", i))
			lines = append(lines, len(h.log.take()))
		}
		check(h, "lines about 403, 400, 403, 500", []int{1, 1, 0, 1}, lines)
	})
}

// TestSubjectsOfTheLogAreBounded has the application fail with another text
// each time. What was logged first is logged again within the minute, because
// it is remembered of 4096 subjects only.
func TestSubjectsOfTheLogAreBounded(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Identify: func(r *http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, errors.New("no " + r.Header.Get("User"))
		}})
		const subjects = 5000
		var lines []int
		for range 2 {
			for i := range subjects {
				h.get(fmt.Sprint(i))
			}
			lines = append(lines, len(h.log.take()))
		}
		if lines[0] != subjects || lines[1] < subjects-4096 || lines[1] == subjects {
			h.Errorf("%v lines about %d subjects, want all, then some of them again", lines, subjects)
		}
	})
}

// panicHandler is a slog.Handler that panics.
type panicHandler struct{ slog.Handler }

// Enabled implements slog.Handler.
func (panicHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (panicHandler) Handle(context.Context, slog.Record) error { panic("the log is full") }

func TestLoggerMayPanicAboutAPanic(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.answer = func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) { panic("boom") }
		h.configure(searchtoken.Config{Logger: slog.New(panicHandler{})})
		check(h, "status", 503, h.getOrPanic("ann"))
	})
}
