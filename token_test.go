package searchtoken_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// secret is the value of a token, and apiKey has the form of Coveo's API keys.
const (
	secret = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
	apiKey = "xx0f6a2b1c-7d3e-4f58-9a61-3c2b1d0e9f87"
)

func TestTokenHidesItsValue(t *testing.T) {
	token := searchtoken.Token{Value: secret, Expiry: time.Unix(1800000000, 0)}
	page := &searchtoken.Page{Token: token}
	logged := func(handler func(io.Writer, *slog.HandlerOptions) slog.Handler) func(any) string {
		return func(v any) string {
			var b bytes.Buffer
			slog.New(handler(&b, nil)).Info("a", "b", v)
			return b.String()
		}
	}
	show := map[string]func(any) string{
		"text log": logged(func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) }),
		"JSON log": logged(func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) }),
		"JSON": func(v any) string {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		},
		"template": func(v any) string {
			var b strings.Builder
			if err := template.Must(template.New("").Parse(`{{.}}<script>{{.}}</script>`)).Execute(&b, v); err != nil {
				t.Fatal(err)
			}
			return b.String()
		},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %v"} {
		show[verb] = func(v any) string { return fmt.Sprintf(verb, v) }
	}
	for name, show := range show {
		for _, v := range []any{token, &token, *page, page, []searchtoken.Token{token}, map[string]any{"t": token}} {
			t.Run(fmt.Sprintf("%s of %T", name, v), func(t *testing.T) {
				got := show(v)
				if got == "" {
					t.Error("nothing is shown")
				}
				for _, part := range append(strings.Split(secret, "."), fmt.Sprintf("%x", secret)) {
					if strings.Contains(got, part) {
						t.Errorf("%s shows the token", got)
					}
				}
			})
		}
	}
}

func TestTokenSaysWhenItExpires(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token searchtoken.Token
		want  string
	}{
		{"no token", searchtoken.Token{}, "search token (none)"},
		{
			"token of another time zone",
			searchtoken.Token{Value: secret, Expiry: time.Unix(1800000000, 0).In(time.FixedZone("", 3600))},
			"search token (redacted) until 2027-01-15T08:00:00Z",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := tt.token.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			want := []string{tt.want, tt.want, tt.want, tt.want}
			got := []string{tt.token.String(), fmt.Sprintf("%#v", tt.token), tt.token.LogValue().String(), string(text)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("String, GoString, LogValue and MarshalText (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenAuthenticatesRequests(t *testing.T) {
	for _, tt := range []struct {
		name      string
		token     searchtoken.Token
		wantAuth  string
		wantQuery string
	}{
		{"token", searchtoken.Token{Value: "a.b-c+/="}, "Bearer a.b-c+/=", "access_token=a.b-c%2B%2F%3D&q=x"},
		{"no token", searchtoken.Token{}, "", "q=x&access_token=old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/?q=x&access_token=old", nil)
			tt.token.SetAuthHeader(r)
			tt.token.AddToQuery(r.URL)
			if diff := cmp.Diff(tt.wantAuth, r.Header.Get("Authorization")); diff != "" {
				t.Errorf("Authorization (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.wantQuery, r.URL.RawQuery); diff != "" {
				t.Errorf("query (-want +got):\n%s", diff)
			}
		})
	}
}

// faultsOf returns the fields that a configuration error names, one for each
// line. A line that names several fields has them as one, separated by commas.
func faultsOf(t *testing.T, err error) (fields []string) {
	t.Helper()
	if err == nil {
		return nil
	}
	text, ok := strings.CutPrefix(err.Error(), "searchtoken: ")
	if !ok || strings.Contains(text, "searchtoken: ") {
		t.Errorf("%q does not have \"searchtoken: \" once, at its start", err)
	}
	for line := range strings.SplitSeq(text, "\n") {
		field, remedy, _ := strings.Cut(line, ": ")
		if remedy == "" {
			t.Errorf("%q does not say what is wrong with %s", err, field)
		}
		fields = append(fields, field)
	}
	return fields
}

func TestValidateNamesEveryFault(t *testing.T) {
	const email = "jsmith@example.com"
	type (
		params = searchtoken.TokenParams
		userID = searchtoken.UserID
		keys   = map[string][]string
	)
	const allowed = "AllowedDictionaryFieldKeys"
	fields := func(n int) keys {
		m := keys{}
		for i := range n {
			m[fmt.Sprint("field", i)] = []string{"*"}
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		params params // UserIDs is the user of email unless noUser is set
		noUser bool
		want   []string
	}{
		{name: "least"},
		{name: "every type", params: params{UserIDs: []userID{
			{Name: "a", Provider: "p"},
			{Name: "a", Provider: "p", Type: searchtoken.UserTypeUser},
			{Name: "a", Provider: "p", Type: searchtoken.UserTypeGroup},
			{Name: "a", Provider: "p", Type: searchtoken.UserTypeVirtualGroup},
			{Name: "a", Provider: "p", Type: searchtoken.UserTypeUnknown},
		}}},
		{name: "shortest life", params: params{ValidFor: 15 * time.Minute}},
		{name: "longest life", params: params{ValidFor: 24 * time.Hour}},
		{name: "100 fields", params: params{AllowedDictionaryFieldKeys: fields(100)}},
		{name: "empty lists", params: params{
			UserGroups: []string{}, DictionaryFieldContext: map[string]string{}, AllowedDictionaryFieldKeys: fields(1),
		}},

		{name: "no user", noUser: true, want: []string{"UserIDs"}},
		{name: "no name", params: params{UserIDs: []userID{{Provider: "p"}}}, want: []string{"UserIDs[0].Name"}},
		{name: "blank name", params: params{UserIDs: []userID{{Name: " ", Provider: "p"}}},
			want: []string{"UserIDs[0].Name"}},
		{
			name:   "control character in a name",
			params: params{UserIDs: []userID{{Name: "a\x00", Provider: "p"}}}, want: []string{"UserIDs[0].Name"},
		},
		{
			name:   "control character in a provider",
			params: params{UserIDs: []userID{{Name: "a", Provider: "p\n"}}}, want: []string{"UserIDs[0].Provider"},
		},
		{name: "control character in the display name", params: params{UserDisplayName: "a\u0085"}, want: []string{"UserDisplayName"}},
		{
			name:   "no provider",
			params: params{UserIDs: append(searchtoken.Email(email).UserIDs, userID{Name: email})},
			want:   []string{"UserIDs[1].Provider"},
		},
		{
			name:   "type that Coveo does not know",
			params: params{UserIDs: []userID{{Name: email, Provider: "p", Type: "user"}}},
			want:   []string{"UserIDs[0].Type"},
		},
		{
			name:   "invalid UTF-8 in the second of two elements",
			params: params{UserGroups: []string{"a", "\xff"}, CanSeeUserProfileOf: []string{"a", "\xff"}},
			want:   []string{"UserGroups", "CanSeeUserProfileOf"},
		},
		{name: "too short a life", params: params{ValidFor: 15*time.Minute - 1}, want: []string{"ValidFor"}},
		{name: "too long a life", params: params{ValidFor: 24*time.Hour + 1}, want: []string{"ValidFor"}},
		{name: "negative life", params: params{ValidFor: -time.Hour}, want: []string{"ValidFor"}},
		{
			name: "both dictionaries",
			params: params{
				DictionaryFieldContext: map[string]string{"price": "a"}, AllowedDictionaryFieldKeys: fields(1),
			},
			want: []string{"DictionaryFieldContext, AllowedDictionaryFieldKeys"},
		},
		{name: "101 fields", params: params{AllowedDictionaryFieldKeys: fields(101)}, want: []string{allowed}},
		{name: "another key", params: params{AllowedDictionaryFieldKeys: keys{"a": {"vip"}}}, want: []string{allowed}},
		{name: "no keys", params: params{AllowedDictionaryFieldKeys: keys{"a": {}}}, want: []string{allowed}},
		{name: "two keys", params: params{AllowedDictionaryFieldKeys: keys{"a": {"*", "*"}}}, want: []string{allowed}},
		{
			name: "all at once",
			params: params{
				UserIDs:  []userID{{Name: email, Type: email}},
				ValidFor: time.Second, AllowedDictionaryFieldKeys: keys{email: {email}},
			},
			want: []string{"UserIDs[0].Provider", "UserIDs[0].Type", "ValidFor", "AllowedDictionaryFieldKeys"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.params.UserIDs == nil && !tt.noUser {
				tt.params.UserIDs = searchtoken.Email(email).UserIDs
			}
			err := tt.params.Validate()
			if diff := cmp.Diff(tt.want, faultsOf(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if err != nil && strings.Contains(err.Error(), email) {
				t.Errorf("Validate() = %q, which shows an email address", err)
			}
		})
	}
}

func TestExpiryFollowsTheClaims(t *testing.T) {
	const skew = 17 * time.Hour // of the platform's clock
	claims := func(claims map[string]any) func(time.Time) string {
		return func(time.Time) string { return jwt(claims) }
	}
	hour := func(platform time.Time) string {
		return jwt(map[string]any{"iat": platform.Unix(), "exp": platform.Add(time.Hour).Unix()})
	}
	value := func(value string) func(time.Time) string { return func(time.Time) string { return value } }
	for _, tt := range []struct {
		name     string
		validFor time.Duration
		token    func(platform time.Time) string
		want     time.Duration // from the moment before the call
	}{
		{"JWT", 0, hour, time.Hour},
		{"fractions of seconds", 0, func(platform time.Time) string {
			iat := float64(platform.Unix())
			return jwt(map[string]any{"iat": iat + 0.25, "exp": iat + 3600.75})
		}, time.Hour},
		{"longer than requested", 20 * time.Minute, hour, 20 * time.Minute},
		{"absurdly long", 0, claims(map[string]any{"iat": 1, "exp": 1e12}), 24 * time.Hour},
		{"exp beyond all dates", 0, claims(map[string]any{"iat": 1, "exp": 1e300}), 24 * time.Hour},
		{"negative exp", 0, claims(map[string]any{"iat": 1000, "exp": -5}), 24 * time.Hour},
		{"negative iat", time.Hour, claims(map[string]any{"iat": -1e9, "exp": 2e9}), time.Hour},
		{"expired when issued", 0, func(platform time.Time) string {
			return jwt(map[string]any{"iat": platform.Unix() + 1000, "exp": platform.Unix()})
		}, 0},
		{"no iat, early exp", 0, func(platform time.Time) string {
			return jwt(map[string]any{"exp": platform.Add(time.Hour - skew - 2*time.Second).Unix()})
		}, time.Hour},
		{"no iat, late exp", time.Hour, func(platform time.Time) string {
			return jwt(map[string]any{"exp": platform.Unix()})
		}, time.Hour},
		{"no claims", 30 * time.Minute, claims(nil), 30 * time.Minute},
		{"claims of other types", 0, claims(map[string]any{"iat": "1", "exp": true}), 24 * time.Hour},
		{"two parts", 0, value("a.eyJpYXQiOjEsImV4cCI6NjB9IA"), 24 * time.Hour},
		{"not a JWT", 0, value("opaque"), 24 * time.Hour},
		{"not base64", 0, value("a._.c"), 24 * time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, func(*http.Request) (*http.Response, error) {
					time.Sleep(2 * time.Second)
					body, err := json.Marshal(map[string]string{"token": tt.token(time.Now().Add(skew))})
					return respond(200, string(body), nil), err
				})
				params := jsmith
				params.ValidFor = tt.validFor
				requested := time.Now()
				token, err := client.Issue(t.Context(), params)
				if err != nil {
					t.Fatal(err)
				}
				type times struct{ Issued, Expiry time.Duration } // since the call began
				got := times{token.Issued.Sub(requested), token.Expiry.Sub(requested)}
				if diff := cmp.Diff(times{0, tt.want}, got); diff != "" {
					t.Errorf("times (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestTokensAgeByTheDateOfTheAnswer has a platform whose clock differs from
// this machine's.
func TestTokensAgeByTheDateOfTheAnswer(t *testing.T) {
	const h = time.Hour
	type times struct{ Issued, Expiry time.Duration } // since the call began
	for _, tt := range []struct {
		name     string
		skew     time.Duration // of the platform's clock
		age      time.Duration // of the token, when the answer is sent
		life     time.Duration // exp - iat
		date     string        // instead of the platform's
		validFor time.Duration
		want     *times // nil: refused
	}{
		{name: "fresh", life: h, want: &times{0, h}},
		{name: "old", age: 40 * time.Minute, life: h, want: &times{-40 * time.Minute, 20 * time.Minute}},
		{name: "expired", age: 25 * h, life: 24 * h, want: &times{-25 * h, -h}},
		{name: "old, platform behind", skew: -20 * h, age: 10 * h, life: 24 * h, want: &times{-10 * h, 14 * h}},
		{name: "old, platform ahead", skew: 20 * h, age: 10 * h, life: 24 * h, want: &times{-10 * h, 14 * h}},
		{name: "fresh, platform behind by a month", skew: -720 * h, life: h, want: &times{0, h}},
		{name: "issued after the answer", age: -h, life: h, want: &times{0, h}},
		{
			name: "old, shorter than asked for", age: 10 * time.Minute, life: 24 * h, validFor: h,
			want: &times{-10 * time.Minute, 50 * time.Minute},
		},

		{name: "no date", date: "none", life: h, want: &times{0, h}},
		{name: "malformed date", date: "today", life: h, want: &times{0, h}},
		{name: "no date, expired an hour ago", date: "none", age: 2 * h, life: h, want: &times{0, h}},
		{name: "no date, expired over an hour ago", date: "none", age: 25*h + 2*time.Second, life: 24 * h},
		{name: "malformed date, expired over an hour ago", date: "today", age: 26 * h, life: 24 * h},
		{name: "no date, platform behind by over an hour", date: "none", skew: -3 * h, life: h},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, func(*http.Request) (*http.Response, error) {
					platform := time.Now().Add(tt.skew)
					iat := platform.Add(-tt.age)
					header := http.Header{"Date": {platform.UTC().Format(http.TimeFormat)}}
					switch tt.date {
					case "":
					case "none":
						header.Del("Date")
					default:
						header.Set("Date", tt.date)
					}
					value := jwt(map[string]any{"iat": iat.Unix(), "exp": iat.Add(tt.life).Unix()})
					return respond(200, fmt.Sprintf(`{"token":%q}`, value), header), nil
				})
				params := jsmith
				params.ValidFor = tt.validFor
				requested := time.Now()
				token, err := client.Issue(t.Context(), params)
				var got *times
				if err == nil {
					got = &times{token.Issued.Sub(requested), token.Expiry.Sub(requested)}
				} else if !strings.Contains(err.Error(), "check this clock and the platform's clock") {
					t.Error(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("times (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestExpiredTokenOfCoveoIsRefused has an answer whose token has expired by the
// platform's clock.
func TestExpiredTokenOfCoveoIsRefused(t *testing.T) {
	bubble(t, func(h *harness) {
		upstream := roundTripper(func(*http.Request) (*http.Response, error) {
			now := time.Now()
			value := jwt(map[string]any{"iat": now.Add(-25 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix()})
			header := http.Header{"Date": {now.UTC().Format(http.TimeFormat)}}
			return respond(200, fmt.Sprintf(`{"token":%q}`, value), header), nil
		})
		h.configure(searchtoken.Config{APIKey: apiKey, HTTPClient: &http.Client{Transport: upstream}})
		check(h, "status", 502, h.get("ann").Status)
	})
}
