package searchtokentest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRequestsRemembersTheLastOnes(t *testing.T) {
	p := New(Config{MaxRequests: 3})
	token := p.IssueToken(user(alice))
	search(t, p, token, `{"q":"first"}`)
	search(t, p, token, `{"q":"second"}`)
	send(t, p, "POST", "/rest/search/v2/querySuggest", `{}`)
	send(t, p, "OPTIONS", "/rest/search/v2", "")

	const (
		searched  = "search: POST /rest/search/v2: 200"
		suggested = "suggest: POST /rest/search/v2/querySuggest: 401"
		preflight = "preflight: OPTIONS /rest/search/v2: 204"
	)
	for _, tc := range []struct {
		name  string
		kinds []Kind
		want  []string
		count int
	}{
		{"every kind", nil, []string{searched, suggested, preflight}, 4},
		{"one kind", []Kind{KindSearch}, []string{searched}, 2},
		{"two kinds", []Kind{KindPreflight, KindSuggest}, []string{suggested, preflight}, 2},
		{"a kind without requests", []Kind{KindIPX}, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, r := range p.Requests(tc.kinds...) {
				got = append(got, fmt.Sprint(r))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if got := p.Count(tc.kinds...); got != tc.count {
				t.Errorf("got count %d, want %d", got, tc.count)
			}
		})
	}

	p.ResetRequests()
	if got, count := p.Requests(), p.Count(); len(got) != 0 || count != 0 {
		t.Errorf("after ResetRequests: got %v and count %d, want none", got, count)
	}
}

func TestRequestHoldsWhatTheClientSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{ClockSkew: time.Hour})
		claims := user(alice)
		claims.SearchHub = "hub"
		token := p.IssueToken(claims)
		p.Reject(token)
		search(t, p, token, `{"q":"first"}`)
		p.AcceptAll()
		search(t, p, token, `{"q":"first"}`)

		want := Request{
			Kind: KindSearch, Time: time.Now(),
			Method: "POST", Host: "acme.org.coveo.com", Path: "/rest/search/v2",
			Query:  map[string][]string{"organizationId": {"acme"}},
			Header: http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}},
			Body:   []byte(`{"q":"first"}`),
		}
		want.Claims, _ = p.tokens.verify(token)
		rejected, accepted := want, want
		rejected.Status = 419
		accepted.Status, accepted.SearchHub = 200, "hub"
		if diff := cmp.Diff([]Request{rejected, accepted}, p.Requests(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestRequestHoldsTheBeginningOfALongBody(t *testing.T) {
	p := New(Config{})
	for _, size := range []int{maxRecordedBody - 1, maxRecordedBody, maxRecordedBody + 1} {
		send(t, p, "POST", "/", strings.Repeat("x", size))
	}
	var got []int
	for _, r := range p.Requests() {
		got = append(got, len(r.Body))
	}
	if diff := cmp.Diff([]int{maxRecordedBody - 1, maxRecordedBody, maxRecordedBody}, got); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
}

func TestFormattingARequestShowsNoSecret(t *testing.T) {
	p := New(Config{})
	token := p.IssueToken(user(alice))
	sendAs(t, p, token, "POST", "/rest/search/v2"+query("access_token", token), `{"token":"`+token+`"}`)
	list := p.Requests()
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, value := range []any{list, list[0], &list[0]} {
			if text := fmt.Sprintf(format, value); strings.Contains(text, token) || !strings.Contains(text, "search: POST") {
				t.Errorf("%s of a %T: got %s, want kind and method, and no token", format, value, text)
			}
		}
	}
}

func TestRequestsReturnsCopies(t *testing.T) {
	p := New(Config{})
	claims := user(alice)
	claims.UserGroups = []string{"staff"}
	search(t, p, p.IssueToken(claims), `{}`)
	snapshot := func() string {
		b, err := json.Marshal(p.Requests())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := snapshot()
	r := p.Requests()[0]
	r.Body[0] = 'x'
	r.Claims.UserIDs[0].Name, r.Claims.UserGroups[0], r.Claims.Roles[0] = bob, "guests", "admin"
	r.Header["Authorization"][0], r.Query["organizationId"][0] = "", "globex"
	r.Header.Set("X-Test", "")
	r.Query.Set("q", "")
	if diff := cmp.Diff(want, snapshot()); diff != "" {
		t.Errorf("a change to a copy reached the record (-want +got):\n%s", diff)
	}
}

func TestRequestHasNoStatusWhileInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		p.Inject(Fault{Delay: time.Minute})
		go p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		synctest.Wait()
		if got := p.Requests()[0].Status; got != 0 {
			t.Errorf("in progress: got status %d, want 0", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := p.Requests()[0].Status; got != 404 {
			t.Errorf("afterwards: got status %d, want 404", got)
		}
	})
}

func TestRequestSaysWhenTheClientLeft(t *testing.T) {
	hang := Fault{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		time.Sleep(time.Hour) // the handler may notice it late
	}}
	for _, tc := range []struct {
		name   string
		fault  Fault
		leave  func(*http.Response) // after a second; nil: the client reads the response
		status int
	}{
		{"complete response", Fault{Status: 503}, nil, 503},
		{"response without a body", Fault{Status: 204}, nil, 204},
		{"dropped connection", Fault{Drop: true}, nil, 0},
		{"client closes a response that hangs", hang, func(resp *http.Response) { resp.Body.Close() }, 200},
		{"client leaves before a response", Fault{Delay: 24 * time.Hour}, func(*http.Response) {}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Config{})
				p.Inject(tc.fault)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var want time.Time
				if tc.leave != nil {
					want = time.Now().Add(time.Second)
					time.AfterFunc(time.Second, cancel)
				}
				r, err := http.NewRequestWithContext(ctx, "GET", endpoint+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp, err := p.RoundTrip(r); err == nil {
					if tc.leave != nil {
						time.Sleep(time.Second)
						tc.leave(resp)
					} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Error(err)
					}
					resp.Body.Close()
				}
				time.Sleep(48 * time.Hour)
				got := p.Requests()[0]
				if !got.Left.Equal(want) || got.Status != tc.status {
					t.Errorf("left at %v with status %d, want %v and %d", got.Left, got.Status, want, tc.status)
				}
			})
		})
	}
}

func TestRequestSaysThatTheClientOfAServerLeft(t *testing.T) {
	s := NewServer(Config{})
	defer s.Close()
	s.Inject(Fault{Times: 1, Delay: 1 << 62})
	conn := dial(t, s)
	write(t, conn, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
	for s.Count() == 0 {
		runtime.Gosched()
	}
	conn.Close()
	for s.Requests()[0].Left.IsZero() { // ends when the server has noticed
		runtime.Gosched()
	}
	resp, err := http.Get(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := s.Requests()[1].Left; !got.IsZero() {
		t.Errorf("the client of a complete response left at %v, want zero", got)
	}
}

func TestRequestUser(t *testing.T) {
	p := New(Config{})
	for _, token := range []string{p.IssueToken(user(alice)), p.IssueToken(Claims{}), "a.b.c", ""} {
		send(t, p, "GET", "/", "", "Authorization", "Bearer "+token)
	}
	var got []string
	for _, r := range p.Requests() {
		got = append(got, r.User())
	}
	if diff := cmp.Diff([]string{alice, "", "", ""}, got); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}
