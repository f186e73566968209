package searchtoken_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
)

// TestFreshnessDecidesWhatARequestGets asks once at the beginning, and once
// later.
func TestFreshnessDecidesWhatARequestGets(t *testing.T) {
	type state struct {
		Token  string
		Waited time.Duration
		Calls  int
	}
	const m, h = time.Minute, time.Hour
	var (
		fresh   = state{"ann 1", 0, 1}
		stale   = state{"ann 1", 0, 2} // refreshed in the background
		expired = state{"ann 2", time.Millisecond, 2}

		route  searchtoken.Route // of the default margins
		short  = searchtoken.Route{Params: searchtoken.TokenParams{ValidFor: 15 * m}}
		early  = searchtoken.Route{RefreshBefore: 10 * h}
		late   = searchtoken.Route{RefreshBefore: 3 * m, MinRemaining: m}
		strict = searchtoken.Route{MinRemaining: 6 * h}
		both   = searchtoken.Route{MinRemaining: 6 * h, RefreshBefore: 18 * h}
	)
	for _, tt := range []struct {
		name  string
		route searchtoken.Route
		life  time.Duration // that the Issuer grants; 0: what is asked for
		after time.Duration
		want  state
	}{
		// Stale from 2 min + (24 h - 2 min)/10 = 145.8 min before the expiry,
		// less up to a tenth of 143.8 min.
		{"default, at once", route, 0, 0, fresh},
		{"default, before RefreshBefore", route, 0, 24*h - 146*m, fresh},
		{"default, after RefreshBefore", route, 0, 24*h - 131*m, stale},
		{"default, before MinRemaining", route, 0, 24*h - 2*m - 1, stale},
		{"default, at MinRemaining", route, 0, 24*h - 2*m, expired},
		{"default, after the expiry", route, 0, 25 * h, expired},
		// At least 5 min before the expiry.
		{"short, before RefreshBefore", short, 0, 10*m - 1, fresh},
		{"short, after RefreshBefore", short, 0, 10*m + 18*time.Second, stale},
		{"short, at MinRemaining", short, 0, 13 * m, expired},
		{"RefreshBefore, before", early, 0, 14*h - 1, fresh},
		{"RefreshBefore, after", early, 0, 15 * h, stale},
		{"under 5 minutes, before RefreshBefore", late, 0, 24*h - 3*m - 1, fresh},
		{"under 5 minutes, before MinRemaining", late, 0, 24*h - m - 1, stale},
		{"under 5 minutes, at MinRemaining", late, 0, 24*h - m, expired},
		{"MinRemaining, before", strict, 0, 18*h - 1, stale},
		{"MinRemaining, at", strict, 0, 18 * h, expired},
		// The margins are at most a half and three quarters of the life.
		{"clamped, before RefreshBefore", both, h, 15*m - 1, fresh},
		{"clamped, after RefreshBefore", both, h, 17*m + 30*time.Second, stale},
		{"clamped, before MinRemaining", both, h, 30*m - 1, stale},
		{"clamped, at MinRemaining", both, h, 30 * m, expired},
		{"clamped to seconds, before RefreshBefore", route, 4 * time.Second, time.Second - 1, fresh},
		{"clamped to seconds, at MinRemaining", route, 4 * time.Second, 2 * time.Second, expired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					token := tokenFor(n, p)
					if tt.life > 0 {
						token.Expiry = token.Issued.Add(tt.life)
					}
					if n > 1 {
						time.Sleep(time.Millisecond)
					}
					return token, nil
				}
				h.configure(searchtoken.Config{Route: tt.route})
				h.get("ann")
				h.elapse(tt.after)
				second := h.visit("ann", time.Minute)
				h.elapse(time.Millisecond)
				check(h, "the second request", tt.want, state{second.Token, second.Waited, h.issuer.count()})
			})
		})
	}
}

func TestRefreshesAreSpreadOut(t *testing.T) {
	bubble(t, func(h *harness) {
		const users = 100
		round := func() {
			for i := range users {
				h.get(fmt.Sprint("user", i))
			}
			h.elapse(time.Minute)
		}
		round() // all tokens are issued at once
		h.elapse(21 * time.Hour)
		h.issuer.take()
		minutes, most, all := 0, 0, 0
		for range 90 {
			round()
			refreshed := len(h.issuer.take())
			all += refreshed
			most = max(most, refreshed)
			if refreshed > 0 {
				minutes++
			}
		}
		if all != users || minutes < 12 || most > users/4 {
			h.Errorf("%d of %d users were refreshed within %d minutes, up to %d in one of them", all, users, minutes,
				most)
		}
	})
}

// endingSessions identifies ann. Her session ends *left later; 0: at a time
// that is not known.
func endingSessions(left *time.Duration) searchtoken.IdentityFunc {
	return func(*http.Request) (searchtoken.Identity, error) {
		id := searchtoken.Email("ann")
		if *left != 0 {
			id.Expires = time.Now().Add(*left)
		}
		return id, nil
	}
}

func TestTokenFitsTheSession(t *testing.T) {
	const m, h = time.Minute, time.Hour
	type got struct {
		Status    int
		Token     string
		Remaining time.Duration
	}
	token := func(name string, remaining time.Duration) got { return got{200, name, remaining} }
	for _, tt := range []struct {
		name string
		left []time.Duration // until the end of each request's session; 0: not known
		want []got
	}{
		{"not known", []time.Duration{0}, []got{token("ann 1", 24*h)}},
		{"longer than a token", []time.Duration{48 * h}, []got{token("ann 1", 24*h)}},
		{
			name: "cut to the session", left: []time.Duration{100*m + 1500*time.Microsecond},
			want: []got{token("ann 1", 100*m+time.Millisecond)},
		},
		{"at least 15 minutes", []time.Duration{m}, []got{token("ann 1", 15*m)}},
		{
			name: "the token of a longer session", left: []time.Duration{0, 100 * m},
			want: []got{token("ann 1", 24*h), token("ann 2", 100*m)},
		},
		{"15 minutes longer", []time.Duration{110 * m, 95 * m}, []got{token("ann 1", 110*m), token("ann 1", 110*m)}},
		{"16 minutes longer", []time.Duration{111 * m, 95 * m}, []got{token("ann 1", 111*m), token("ann 2", 95*m)}},
		{
			"the shorter token serves all", []time.Duration{0, 100 * m, 0},
			[]got{token("ann 1", 24*h), token("ann 2", 100*m), token("ann 2", 100*m)},
		},
		{"the session has ended", []time.Duration{100 * m, -1}, []got{token("ann 1", 100*m), {Status: 401}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				var left time.Duration
				h.configure(searchtoken.Config{Identify: endingSessions(&left)})
				var all []got
				for _, left = range tt.left {
					page, status := pageOf(h.middleware, request(""))
					g := got{Status: status}
					if status == http.StatusOK {
						g = token(nameOf(page.Token.Value), time.Until(page.Token.Expiry))
					}
					all = append(all, g)
				}
				check(h, "requests", tt.want, all)
			})
		})
	}
}

// TestNoTokenOutlivesItsSession has many sessions of one user ask at once. The
// one that ends last always starts the fetch, whose token is of no use to the
// others.
func TestNoTokenOutlivesItsSession(t *testing.T) {
	type sessionKey struct{}
	bubble(t, func(h *harness) {
		h.issuer.slow(time.Second)
		h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			if !inFetch(ctx) {
				time.Sleep(time.Duration(ctx.Value(sessionKey{}).(int)) * time.Millisecond)
			}
			return h.memory.Get(ctx, key)
		}
		h.configure(searchtoken.Config{Cache: h.cache, Identify: func(r *http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			id.Expires = time.Now().Add(time.Duration(40-r.Context().Value(sessionKey{}).(int)) * 20 * time.Minute)
			return id, nil
		}})
		h.together(40, func(i int) {
			page, status := pageOf(h.middleware,
				request("").WithContext(context.WithValue(h.Context(), sessionKey{}, i)))
			if status != 200 || page.Token.Value == "" {
				h.Errorf("session %d: status %d", i, status)
			}
			if latest := page.Identity.Expires.Add(15 * time.Minute); page.Token.Expiry.After(latest) {
				h.Errorf("the token outlives session %d by %v", i, page.Token.Expiry.Sub(page.Identity.Expires))
			}
		})
		check(h, "calls", 40, h.issuer.count())
	})
}

func TestSessionMayEndDuringTheLook(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.slowGet(time.Second)
		var left time.Duration
		h.configure(searchtoken.Config{Cache: h.cache, Identify: endingSessions(&left)})
		var statuses, calls []int
		for _, left = range []time.Duration{500 * time.Millisecond, time.Second, 8 * time.Hour} {
			statuses = append(statuses, h.get("").Status)
			calls = append(calls, h.issuer.count())
		}
		check(h, "statuses of two sessions that end, and of another one", []int{401, 401, 200}, statuses)
		check(h, "calls", []int{0, 0, 1}, calls)
	})
}

// TestIssuerMayLeaveOutTimes has an Issuer that leaves out times, or gets them
// wrong.
func TestIssuerMayLeaveOutTimes(t *testing.T) {
	const skew = 17 * time.Hour // of the platform's clock
	jwtOf := func(iat, exp time.Time) string { return jwt(map[string]any{"iat": iat.Unix(), "exp": exp.Unix()}) }
	jwtFor := func(now time.Time, life time.Duration) string { return jwtOf(now.Add(skew), now.Add(skew+life)) }
	// A JWT of 24 hours that expired so long ago.
	expired := func(now time.Time, ago time.Duration) string { return jwtOf(now.Add(-ago-24*time.Hour), now.Add(-ago)) }
	for _, tt := range []struct {
		name      string
		token     func(now time.Time) searchtoken.Token
		remaining time.Duration // 0: an error
	}{
		{"value alone", func(time.Time) searchtoken.Token { return searchtoken.Token{Value: "t"} }, time.Hour},
		{"JWT alone", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: jwtFor(now, 30*time.Minute)}
		}, 30 * time.Minute},
		{"JWT that expired an hour ago", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: expired(now, time.Hour)}
		}, time.Hour},
		{"JWT that expired over an hour ago", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: expired(now, time.Hour+time.Second)}
		}, 0},
		{"JWT without iat that expired over an hour ago", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: jwt(map[string]any{"exp": now.Unix() - 3601}), Expiry: now.Add(time.Hour)}
		}, 0},
		{"JWT that expired over an hour ago, but not by its Expiry", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: expired(now, 2*time.Hour), Expiry: now.Add(time.Hour)}
		}, 0},
		{"JWT that expired over an hour ago, issued in the future", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: expired(now, 2*time.Hour), Issued: now.Add(time.Hour)}
		}, 0},
		{"JWT that expired over an hour ago, just issued", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: expired(now, 2*time.Hour), Issued: now}
		}, time.Hour},
		{"JWT of an earlier time", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: jwtFor(now, 30*time.Minute), Issued: now.Add(-10 * time.Minute)}
		}, 20 * time.Minute},
		{"Expiry counts, not the JWT", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: jwtFor(now, 30*time.Minute), Expiry: now.Add(40 * time.Minute)}
		}, 40 * time.Minute},
		{"longer than asked for", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Expiry: now.Add(24 * time.Hour)}
		}, time.Hour},
		{"issued earlier", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Issued: now.Add(-10 * time.Minute), Expiry: now.Add(24 * time.Hour)}
		}, 50 * time.Minute},
		{"issued in the future", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Issued: now.Add(time.Hour), Expiry: now.Add(24 * time.Hour)}
		}, time.Hour},
		{"expired", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Issued: now.Add(-time.Minute), Expiry: now}
		}, 0},
		{"empty", func(now time.Time) searchtoken.Token { return searchtoken.Token{Expiry: now.Add(time.Hour)} }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
					return tt.token(time.Now()), nil
				}
				h.configure(searchtoken.Config{Route: searchtoken.Route{
					Params: searchtoken.TokenParams{ValidFor: time.Hour},
				}})
				status, remaining := 502, time.Duration(0)
				if tt.remaining > 0 {
					status, remaining = 200, tt.remaining
				}
				page, got := pageOf(h.middleware, request("ann"))
				check(h, "status", status, got)
				if got == 200 {
					check(h, "remaining", remaining, time.Until(page.Token.Expiry))
				}
				h.get("ann")
				check(h, "calls for two requests", 1, h.issuer.count())
			})
		})
	}
}

// TestTimesOfATokenFollowTheWallClock needs no bubble, where times have no
// monotonic reading. Such a reading stands still while a machine sleeps.
func TestTimesOfATokenFollowTheWallClock(t *testing.T) {
	page, _ := pageOf(newMiddleware(t, searchtoken.Config{}), request("ann"))
	for name, at := range map[string]time.Time{"Issued": page.Token.Issued, "Expiry": page.Token.Expiry} {
		if at.IsZero() || at != at.Round(0) {
			t.Errorf("%s: %v, want a wall clock reading alone", name, at)
		}
	}
}

func TestRefusalOfAnOldTokenMentionsBothClocks(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.answer = func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{Value: jwt(map[string]any{"iat": 1000, "exp": 2000})}, nil
		}
		h.get("ann")
		want := []string{`level=ERROR msg="searchtoken: fetching a token failed" event=fetch route="" ` +
			`error="searchtoken: Coveo refuses the token request: Coveo answered 200 OK: ` +
			`the token expired more than an hour ago by this machine's clock; check this clock and the platform's clock, and whether the issuer returns old tokens"`}
		check(h, "log", want, h.log.take())
	})
}

// TestTokenFromTheFutureIsExpired sets this machine's clock back: the cached
// token was then issued in the future.
func TestTokenFromTheFutureIsExpired(t *testing.T) {
	const minute = time.Minute
	for _, tt := range []struct {
		name       string
		back       time.Duration
		losesTimes bool // the Cache does not store Issued
		want       []string
	}{
		{"clock set back by a minute", minute, false, []string{"ann 1", "ann 1"}},
		{"clock set back by more", minute + 1, false, []string{"ann 2", "ann 2"}},
		{"clock set back by a day", 24 * time.Hour, false, []string{"ann 2", "ann 2"}},
		{"a minute, Issued is lost", minute, true, []string{"ann 1", "ann 1"}},
		{"more, Issued is lost", minute + 1, true, []string{"ann 2", "ann 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				// The clock of a bubble cannot be set: move the cached times
				// instead.
				h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
					token, epoch, err := h.memory.Get(ctx, key)
					if nameOf(token.Value) == "ann 1" {
						token.Issued, token.Expiry = token.Issued.Add(tt.back), token.Expiry.Add(tt.back)
					}
					if tt.losesTimes {
						token.Issued = time.Time{}
					}
					return token, epoch, err
				}
				h.configure(searchtoken.Config{Cache: h.cache, Route: searchtoken.Route{
					Params: searchtoken.TokenParams{ValidFor: time.Hour},
				}})
				h.get("ann")
				check(h, "tokens", tt.want, []string{h.get("ann").Body, h.get("ann").Body})
			})
		})
	}
}

// TestCacheMayLoseIssued has a Cache that does not store Token.Issued.
func TestCacheMayLoseIssued(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			token, epoch, err := h.memory.Get(ctx, key)
			token.Issued = time.Time{}
			return token, epoch, err
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		var calls []int
		for _, after := range []time.Duration{0, time.Hour, 22 * time.Hour} { // then it is stale, as with Issued
			h.elapse(after)
			for range 10 {
				h.get("ann")
				h.elapse(0)
			}
			calls = append(calls, h.issuer.count())
		}
		check(h, "calls", []int{1, 1, 2}, calls)
	})
}
