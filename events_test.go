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
			{"nobody is logged in", visit(""), []event{{"request_refused", "search", "no_identity", 0}}},
			{"the token gets stale", func() { h.elapse(23 * time.Hour) }, nil},
			{"a stale token", visit("ann"), []event{{"hit", "search", "ok", 0}, {"refresh", "search", "ok", s}}},
			{"a renewal", func() { h.renew("ann", h.get("ann").Body) }, []event{
				{"hit", "search", "ok", 0}, {"renew", "search", "ok", s},
			}},
			{"a renewal with a token of the cache", func() { h.renew("ann", "ann 1") }, nil},
			{"a renewal without a token in the cache", func() { h.renew("gus", "") }, []event{{"fetch", "search", "ok", s}}},
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
		heldBack    bool // for all users
	}{
		{"401", "ERROR", api(401), refused + ": Coveo answered 401 Unauthorized", true},
		{"403", "ERROR", api(403), refused + ": Coveo answered 403 Forbidden", false},
		{"429", "WARN", api(429), unavailable + ": Coveo answered 429 Too Many Requests", true},
		{"500", "WARN", api(500), unavailable + ": Coveo answered 500 Internal Server Error", false},
		{"unreachable", "WARN", errUnreachable, unavailable + ": unreachable", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.fail(tt.err)
				h.configure(searchtoken.Config{Route: searchtoken.Route{Name: "search"}})
				h.get("ann")
				failed := `level=` + tt.level + ` msg="searchtoken: fetching a token failed" event=fetch route=search` +
					` error="searchtoken: ` + tt.text + `"`
				if tt.level == "ERROR" {
					failed += ` hint="is the API key one of the Authenticated search template, and of this organization?"`
				}
				want := []string{failed}
				if tt.heldBack {
					want = append(want, `level=`+tt.level+` msg="searchtoken: calls of Coveo are held back"`+
						` error="searchtoken: `+tt.text+`"`)
				}
				check(h, "log", want, h.log.take())
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
		{"panic", func(h *harness) searchtoken.Config {
			h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
				if n%2 == 0 {
					panic("boom") // not often enough to hold back calls
				}
				return tokenFor(n, p), nil
			}
			return searchtoken.Config{}
		}, map[string]int{
			`level=ERROR msg="searchtoken: panic while fetching a token"`: 10,
			`level=WARN msg="searchtoken: fetching a token failed"`:       10,
		}},
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

// TestLogLinesSayHowManyWereLeftOut has many requests fail, each with another
// text. The routes and the steps are the subjects of the log.
func TestLogLinesSayHowManyWereLeftOut(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{
			Identify: func(r *http.Request) (searchtoken.Identity, error) {
				switch err := errors.New("no " + r.Host); r.Header.Get("Fails") {
				case "session_store":
					return searchtoken.Identity{}, fmt.Errorf("%w: %w", searchtoken.ErrSession, err)
				case "identify":
					return searchtoken.Identity{}, err
				}
				return searchtoken.Email("ann"), nil
			},
			Route: searchtoken.Route{Prepare: func(r *http.Request, _ *searchtoken.TokenParams) error {
				return errors.New("no " + r.Host)
			}},
		})
		help, err := h.middleware.With(func(r *searchtoken.Route) { r.Name = "help" })
		if err != nil {
			h.Fatal(err)
		}
		line := func(step, route, host, rest string) string {
			prefix := ""
			switch step {
			case "session_store":
				prefix = "searchtoken: the session store failed: "
			case "prepare":
				prefix = "searchtoken: Prepare: "
			}
			return fmt.Sprintf(`level=ERROR msg="searchtoken: request without a token" step=%s route=%s error="%sno host%s"%s`,
				step, route, prefix, host, rest)
		}
		var first, later []string
		const hosts = 2000
		for _, step := range []string{"identify", "session_store", "prepare"} {
			for route, m := range map[string]*searchtoken.Middleware{`""`: h.middleware, "help": help} {
				for i := range hosts {
					r := request("")
					r.Host = fmt.Sprint("host", i)
					r.Header.Set("Fails", step)
					get(m, r)
				}
				first = append(first, line(step, route, "0", ""))
				check(h, "lines about the first requests", []string{first[len(first)-1]}, h.log.take())
				h.elapse(time.Minute)
				r := request("")
				r.Host = "host1"
				r.Header.Set("Fails", step)
				get(m, r)
				later = append(later, line(step, route, "1", fmt.Sprint(" suppressed=", hosts-1)))
				check(h, "lines a minute later", []string{later[len(later)-1]}, h.log.take())
			}
		}
	})
}

// TestRefusedRequestsAreEvents has requests that fail before a token is looked
// for. None of them is a hit or a miss.
func TestRefusedRequestsAreEvents(t *testing.T) {
	identify := func(id searchtoken.Identity, err error) searchtoken.IdentityFunc {
		return func(*http.Request) (searchtoken.Identity, error) { return id, err }
	}
	badName := searchtoken.Email("\xff")
	bad := searchtoken.Email("ann")
	bad.DisplayName = "\xff"
	for _, tt := range []struct {
		name     string
		identify searchtoken.IdentityFunc
		prepare  error
		leaves   bool
		want     searchtoken.Outcome
	}{
		{"nobody is logged in", identify(searchtoken.Identity{}, searchtoken.ErrNoIdentity), nil, false, "no_identity"},
		{"Identify fails", identify(searchtoken.Identity{}, errDown), nil, false, "error"},
		{"the session store fails", identify(searchtoken.Identity{}, searchtoken.ErrSession), nil, false, "error"},
		{"the identity has a bad name", identify(badName, nil), nil, false, "error"},
		{"the identity has a bad display name", identify(bad, nil), nil, false, "error"},
		{"Prepare fails", identify(searchtoken.Email("ann"), nil), errDown, false, "error"},
		{"Prepare finds nobody", identify(searchtoken.Email("ann"), nil), searchtoken.ErrNoIdentity, false, "no_identity"},
		{"the visitor leaves", identify(searchtoken.Identity{}, errDown), nil, true, "canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{Identify: tt.identify, Route: searchtoken.Route{
					Name:    "search",
					Prepare: func(*http.Request, *searchtoken.TokenParams) error { return tt.prepare },
				}})
				ctx, cancel := context.WithCancel(h.Context())
				if tt.leaves {
					cancel()
				}
				defer cancel()
				want := []event{{"request_refused", "search", tt.want, 0}}
				h.serve(request("").WithContext(ctx))
				check(h, "events of a page", want, takeEvents(h))
				renew(h.middleware, renewal("", "").WithContext(ctx))
				check(h, "events of a renewal", want, takeEvents(h))
				if lines := len(h.log.take()); (lines == 1) != (tt.want == "error") {
					h.Errorf("%d log lines", lines)
				}
			})
		})
	}
}

func TestASessionThatEndsDuringTheLookIsARefusedRequest(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.slowGet(time.Second)
		left := time.Millisecond
		h.configure(searchtoken.Config{Cache: h.cache, Identify: endingSessions(&left)})
		h.get("")
		check(h, "events", []event{{"request_refused", "", "no_identity", 0}}, takeEvents(h))
	})
}

// TestAnOutageIsReportedOnce has Coveo refuse the API key, and accept it again.
func TestAnOutageIsReportedOnce(t *testing.T) {
	const s = time.Second
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Route: searchtoken.Route{Name: "search"}})
		began := time.Now()
		heldFor := func() (bool, time.Duration) {
			stats := h.middleware.Stats()
			if !stats.HeldBack {
				check(h, "HeldBackUntil", time.Time{}, stats.HeldBackUntil)
				return false, 0
			}
			return true, stats.HeldBackUntil.Sub(began).Round(s)
		}
		for _, step := range []struct {
			name   string
			do     func()
			want   []event
			log    []string // messages
			held   bool
			heldTo time.Duration // since the start
		}{
			{"before", func() {}, nil, nil, false, 0},
			{"the refusal of one user", func() { h.issuer.fail(&searchtoken.APIError{StatusCode: 403}); h.get("zoe") }, []event{
				{"fetch", "search", "refused", 0}, {"miss", "search", "refused", 0},
			}, []string{"fetching a token failed"}, false, 0},
			{"the key is refused", func() { h.issuer.fail(&searchtoken.APIError{StatusCode: 401}); h.get("ann") }, []event{
				{"fetch", "search", "refused", 0}, {"held_back", "", "refused", 0}, {"miss", "search", "refused", 0},
			}, []string{"fetching a token failed", "calls of Coveo are held back"}, true, s},
			{"a call that is held back", func() { h.get("bob") }, []event{{"miss", "search", "held_back", 0}}, nil, true, s},
			{"a probe that fails", func() { h.elapse(2 * s); h.get("cyd") }, []event{
				{"fetch", "search", "refused", 0}, {"miss", "search", "refused", 0},
			}, nil, true, 4 * s},
			{"a probe that succeeds", func() { h.issuer.fail(nil); h.elapse(4 * s); h.get("dan") }, []event{
				{"fetch", "search", "ok", 0}, {"recovered", "", "ok", 6 * s}, {"miss", "search", "ok", 0},
			}, []string{"Coveo answers again"}, false, 0},
			{"the next call", func() { h.get("eve") }, []event{
				{"fetch", "search", "ok", 0}, {"miss", "search", "ok", 0},
			}, nil, false, 0},
		} {
			step.do()
			check(h, step.name, step.want, takeEvents(h))
			held, heldTo := heldFor()
			check(h, step.name+": held back", step.held, held)
			check(h, step.name+": held back until", step.heldTo, heldTo)
			var messages []string
			for _, line := range h.log.take() {
				_, message, _ := strings.Cut(line, `msg="searchtoken: `)
				message, _, _ = strings.Cut(message, `"`)
				messages = append(messages, message)
			}
			check(h, step.name+": log", step.log, messages)
		}
	})
}

func TestStatsCountFetchesAndTokens(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(time.Second)
		h.configure(searchtoken.Config{MaxInFlight: 2})
		check(h, "stats before", searchtoken.Stats{}, h.middleware.Stats())
		for _, user := range []string{"ann", "bob", "cyd", "dan", "eve", "eve"} {
			h.background(func() { h.get(user) })
		}
		check(h, "stats at first", searchtoken.Stats{InFlight: 2, Queued: 3}, h.middleware.Stats())
		h.elapse(time.Second)
		check(h, "stats later", searchtoken.Stats{InFlight: 2, Queued: 1, CachedTokens: 2}, h.middleware.Stats())
		h.wait()
		check(h, "stats at last", searchtoken.Stats{CachedTokens: 5}, h.middleware.Stats())
		h.configure(searchtoken.Config{Cache: h.cache})
		check(h, "stats with a Cache that cannot tell", searchtoken.Stats{CachedTokens: -1}, h.middleware.Stats())
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
