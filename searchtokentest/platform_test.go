package searchtokentest

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestConfigSelectsOrganizationAndKey(t *testing.T) {
	for _, tc := range []struct {
		name              string
		cfg               Config
		organization, key string
		status            int
	}{
		{"defaults", Config{}, "acme", DefaultAPIKey, 200},
		{"default organization only", Config{}, "globex", DefaultAPIKey, 404},
		{"configured", Config{OrganizationID: "globex", APIKey: "key"}, "globex", "key", 200},
		{"default key no longer valid", Config{OrganizationID: "globex", APIKey: "key"}, "globex", DefaultAPIKey, 401},
		{"default organization no longer known", Config{OrganizationID: "globex", APIKey: "key"}, "acme", "key", 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(tc.cfg)
			target := "/rest/search/v2/token?organizationId=" + tc.organization
			resp, b := sendAs(t, p, tc.key, "POST", target, `{"userIds":[`+aliceJSON+`]}`)
			if resp.StatusCode != tc.status {
				t.Errorf("got status %d, want %d: %s", resp.StatusCode, tc.status, b)
			}
		})
	}
}

func TestEmptyDocumentsMakeAnEmptyIndex(t *testing.T) {
	for _, tc := range []struct {
		name      string
		documents []Document
		want      int
	}{
		{"nil", nil, 4},
		{"empty", []Document{}, 0},
		{"one", []Document{{Title: "A", URI: "1"}}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{Documents: tc.documents})
			status, response := search(t, p, p.IssueToken(user("anonymous")), "{}")
			if status != 200 || response.TotalCount != tc.want {
				t.Errorf("got status %d and %d documents, want 200 and %d", status, response.TotalCount, tc.want)
			}
		})
	}
}

func TestMaxRequestsDefaultsTo1000(t *testing.T) {
	for limit, want := range map[int]int{-1: 1000, 0: 1000, 1: 1, 5: 5} {
		if got := New(Config{MaxRequests: limit}).requests.max; got != want {
			t.Errorf("MaxRequests %d: got %d, want %d", limit, got, want)
		}
	}
}

func TestClockSkewMovesTheExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for skew, want := range map[time.Duration]int{-time.Minute: 200, 0: 200, time.Minute: 419} {
			p := New(Config{ClockSkew: skew})
			token := p.IssueToken(Claims{IssuedAt: time.Now().Unix(), ExpiresAt: time.Now().Unix() + 60})
			if got := searchStatus(t, p, token); got != want {
				t.Errorf("skew %v: got status %d, want %d", skew, got, want)
			}
		}
	})
}

func TestServeHTTPLimitsTheBody(t *testing.T) {
	for size, want := range map[int]int{maxBody: 400, maxBody + 1: 413} {
		p := New(Config{})
		if resp, _ := requestToken(t, p, strings.Repeat(" ", size)); resp.StatusCode != want {
			t.Errorf("%d bytes: got status %d, want %d", size, resp.StatusCode, want)
		}
		if got := p.Count(KindToken); got != 1 {
			t.Errorf("%d bytes: got %d requests on record, want 1", size, got)
		}
	}
}

func TestServeHTTPWorksWithARecorder(t *testing.T) {
	rec := httptest.NewRecorder()
	New(Config{}).ServeHTTP(rec, httptest.NewRequest("GET", "/rest/search/v2", nil))
	if rec.Code != 401 {
		t.Errorf("got status %d, want 401", rec.Code)
	}
	if rec.Header().Get("X-Request-ID") == "" {
		t.Error("got no X-Request-ID")
	}
}

// This test is for the race detector.
func TestMethodsAreSafeForConcurrentUse(t *testing.T) {
	p := New(Config{MaxRequests: 10})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				resp, b := requestToken(t, p, `{"userIds":[`+aliceJSON+`]}`)
				var issued struct{ Token string }
				if decode(t, b, &issued); resp.StatusCode == 200 {
					searchStatus(t, p, issued.Token)
				}
				switch i % 4 {
				case 0:
					p.Inject(Fault{Status: 503, Times: 1})
					p.Reject(issued.Token)
				case 1:
					p.Requests()
					p.RejectAll()
					p.RejectNew()
				case 2:
					p.SetTokenLife(-1)
					p.AcceptAll()
				case 3:
					p.ClearFaults()
					p.ResetRequests()
				}
			}
		})
	}
	wg.Wait()
}
