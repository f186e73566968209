package searchtokentest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const aliceJSON = `{"name":"alice@example.com","provider":"Email Security Provider"}`

func TestTokenCall(t *testing.T) {
	many := map[string][]string{}
	for i := range 101 {
		many[fmt.Sprint("f", i)] = []string{"*"}
	}
	manyJSON, _ := json.Marshal(many)

	for _, tc := range []struct {
		name    string
		body    string
		status  int
		message string // a part of it
	}{
		{"least", `{"userIds":[` + aliceJSON + `]}`, 200, ""},
		{"type", `{"userIds":[{"name":"a","provider":"p","type":"VirtualGroup"}]}`, 200, ""},
		{"shortest life", `{"userIds":[` + aliceJSON + `],"validFor":900000}`, 200, ""},
		{"longest life", `{"userIds":[` + aliceJSON + `],"validFor":86400000}`, 200, ""},
		{"dictionary keys", `{"userIds":[` + aliceJSON + `],"allowedDictionaryFieldKeys":{"price":["*"]}}`, 200, ""},
		{"profiles", `{"userIds":[` + aliceJSON + `],"canSeeUserProfileOf":["bob"]}`, 200, ""},
		{"no user", `{}`, 400, "userIds is required."},
		{"empty users", `{"userIds":[]}`, 400, "userIds is required."},
		{"users of another type", `{"userIds":"alice"}`, 400, "array"},
		{"no name", `{"userIds":[{"provider":"p"}]}`, 400, "userIds[0].name"},
		{"no provider", `{"userIds":[` + aliceJSON + `,{"name":"a"}]}`, 400, "userIds[1].provider"},
		{"unknown type", `{"userIds":[{"name":"a","provider":"p","type":"user"}]}`, 400, "userIds[0].type"},
		{"life too short", `{"userIds":[` + aliceJSON + `],"validFor":899999}`, 400, "validFor"},
		{"life too long", `{"userIds":[` + aliceJSON + `],"validFor":86400001}`, 400, "validFor"},
		{"life zero", `{"userIds":[` + aliceJSON + `],"validFor":0}`, 400, "validFor"},
		{"life a string", `{"userIds":[` + aliceJSON + `],"validFor":"900000"}`, 400, "validFor"},
		{
			"both dictionaries",
			`{"userIds":[` + aliceJSON + `],"dictionaryFieldContext":{"a":"b"},"allowedDictionaryFieldKeys":{"a":["*"]}}`,
			400, "exclude each other",
		},
		{"dictionary key", `{"userIds":[` + aliceJSON + `],"allowedDictionaryFieldKeys":{"a":["b"]}}`, 400, "allowedDictionaryFieldKeys.a"},
		{"many dictionary keys", `{"userIds":[` + aliceJSON + `],"allowedDictionaryFieldKeys":` + string(manyJSON) + `}`, 400, "100"},
		{"two faults", `{"validFor":1}`, 400, "userIds is required. validFor"},
		{"unknown property", `{"userIds":[` + aliceJSON + `],"expiration":1}`, 400, `"expiration"`},
		{"property in another case", `{"userIds":[` + aliceJSON + `],"searchhub":"h"}`, 400, `"searchhub"`},
		{"unknown property of a user", `{"userIds":[{"name":"a","provider":"p","password":"x"}]}`, 400, "password"},
		{"not JSON", `userIds=alice`, 400, "Invalid JSON"},
		{"two values", `{"userIds":[` + aliceJSON + `]}{}`, 400, "Invalid JSON"},
		{"empty", ``, 400, "Invalid JSON"},
		{"null", `null`, 400, "Invalid JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{})
			resp, b := askToken(t, p, tc.body)
			if resp.StatusCode != tc.status {
				t.Fatalf("got status %d, want %d: %s", resp.StatusCode, tc.status, b)
			}
			if resp.Header.Get("X-Request-ID") == "" {
				t.Error("no X-Request-ID")
			}
			if tc.status != 200 {
				var got apiError
				decode(t, b, &got)
				if got.StatusCode != tc.status || got.Type == "" || !strings.Contains(got.Message, tc.message) {
					t.Errorf("got %+v, want status %d and %q", got, tc.status, tc.message)
				}
			}
		})
	}
}

func TestTokenCallAccess(t *testing.T) {
	const path = "/rest/search/v2/token?organizationId=acme"
	for _, tc := range []struct {
		name, method, target, key, contentType string
		status                                 int
	}{
		{"good", "POST", path, "Bearer " + DefaultAPIKey, "application/json; charset=utf-8", 200},
		{"no organization", "POST", "/rest/search/v2/token", "Bearer " + DefaultAPIKey, "application/json", 200},
		{"other organization", "POST", "/rest/search/v2/token?organizationid=globex", "Bearer " + DefaultAPIKey, "application/json", 404},
		{"no key", "POST", path, "", "application/json", 401},
		{"wrong key", "POST", path, "Bearer " + DefaultAPIKey + "x", "application/json", 401},
		{"other scheme", "POST", path, "Basic " + DefaultAPIKey, "application/json", 401},
		{"form", "POST", path, "Bearer " + DefaultAPIKey, "application/x-www-form-urlencoded", 415},
		{"GET", "GET", path, "Bearer " + DefaultAPIKey, "application/json", 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, New(Config{}), tc.method, tc.target, `{"userIds":[`+aliceJSON+`]}`,
				"Authorization", tc.key, "Content-Type", tc.contentType)
			if resp.StatusCode != tc.status {
				t.Fatalf("got status %d, want %d: %s", resp.StatusCode, tc.status, b)
			}
			var got apiError
			if decode(t, b, &got); got.StatusCode != tc.status && tc.status != 200 {
				t.Errorf("got %+v, want status %d in it", got, tc.status)
			}
		})
	}
}

func TestTokenClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{ClockSkew: time.Hour})
		_, b := askToken(t, p, `{
			"userIds": [`+aliceJSON+`, {"name":"staff","provider":"Other","type":"Group"}],
			"searchHub": "hub", "pipeline": "line", "filter": "@source==Help",
			"userDisplayName": "Alice", "userGroups": ["staff"], "validFor": 1800000
		}`)
		var answer map[string]string
		decode(t, b, &answer)
		if len(answer) != 1 {
			t.Errorf("got %d properties, want the token only", len(answer))
		}
		parts := strings.Split(answer["token"], ".")
		if len(parts) != 3 {
			t.Fatalf("got %d parts, want those of a JWT", len(parts))
		}
		header, _ := base64.RawURLEncoding.DecodeString(parts[0])
		if got, want := string(header), `{"alg":"HS256"}`; got != want {
			t.Errorf("got header %s, want %s", got, want)
		}
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		var got map[string]any
		decode(t, payload, &got)
		if id, _ := got["tokenId"].(string); id == "" {
			t.Error("no tokenId")
		}
		delete(got, "tokenId")
		issued := float64(time.Now().Add(time.Hour).Unix())
		want := map[string]any{
			"v8": true, "organization": "acme", "iss": "SearchApi", "roles": []any{"queryExecutor"},
			"userIds": []any{
				map[string]any{"name": alice, "provider": EmailSecurityProvider, "type": "User"},
				map[string]any{"name": "staff", "provider": "Other", "type": "Group"},
			},
			"iat": issued, "exp": issued + 1800,
			"searchHub": "hub", "pipeline": "line", "filter": "@source==Help",
			"userDisplayName": "Alice", "userGroups": []any{"staff"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}
		recorded := p.Requests(KindToken)[0].Claims
		if recorded == nil || recorded.SearchHub != "hub" {
			t.Errorf("got %+v on record, want the claims of the issued token", recorded)
		}
	})
}

func TestTokenLife(t *testing.T) {
	for _, tc := range []struct {
		name   string
		life   time.Duration
		after  time.Duration
		status int
	}{
		{"default", 0, 24*time.Hour - time.Second, 200},
		{"default over", 0, 24 * time.Hour, 419},
		{"fixed", time.Minute, 59 * time.Second, 200},
		{"fixed over", time.Minute, time.Minute, 419},
		{"expired on arrival", -time.Second, 0, 419},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Config{})
				p.SetTokenLife(tc.life)
				token := p.IssueToken(user(alice))
				time.Sleep(tc.after)
				if got := searchStatus(t, p, token); got != tc.status {
					t.Errorf("got status %d, want %d", got, tc.status)
				}
			})
		})
	}
}

func TestReject(t *testing.T) {
	p := New(Config{})
	check := func(name, token string, want int) {
		t.Helper()
		if got := searchStatus(t, p, token); got != want {
			t.Errorf("%s: got status %d, want %d", name, got, want)
		}
	}
	first, second := p.IssueToken(user(alice)), p.IssueToken(user(alice))
	p.Reject(first)
	check("rejected", first, 419)
	check("not rejected", second, 200)

	p.RejectAll()
	third := p.IssueToken(user(alice))
	check("issued before RejectAll", second, 419)
	check("issued after RejectAll", third, 200)

	p.RejectNew()
	fourth := p.IssueToken(user(alice))
	p.RejectNew() // does not move the mark
	check("issued before RejectNew", third, 200)
	check("issued after RejectNew", fourth, 419)

	p.AcceptAll()
	for i, token := range []string{first, second, third, fourth} {
		check(fmt.Sprint("accepted again ", i), token, 200)
	}
}

func TestForeignTokens(t *testing.T) {
	p := New(Config{})
	good := p.IssueToken(user(alice))
	parts := strings.Split(good, ".")
	admin := base64.RawURLEncoding.EncodeToString([]byte(`{"v8":true,"exp":99999999999}`))
	for name, token := range map[string]string{
		"none":             "",
		"garbage":          "garbage",
		"dots":             "..",
		"other platform":   New(Config{}).IssueToken(user(alice)),
		"changed claims":   parts[0] + "." + admin + "." + parts[2],
		"no signature":     parts[0] + "." + parts[1] + ".",
		"API key":          DefaultAPIKey,
		"signature no b64": parts[0] + "." + parts[1] + ".!",
	} {
		t.Run(name, func(t *testing.T) {
			if got := searchStatus(t, p, token); got != http.StatusUnauthorized {
				t.Errorf("got status %d, want 401", got)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	for _, tc := range []struct {
		name   string
		a, b   string
		status int
	}{
		{"the same", "secret", "secret", 200},
		{"different", "secret", "another", 401},
		{"one has none", "secret", "", 401},
		{"none", "", "", 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			secret := []byte(tc.a)
			a, b := New(Config{Secret: secret}), New(Config{Secret: []byte(tc.b)})
			clear(secret) // it is copied
			token := a.IssueToken(user(alice))
			b.RejectAll()
			b.RejectNew() // of its own, not of others
			for name, p := range map[string]struct {
				*Platform
				want int
			}{"its own": {a, 200}, "the other": {b, tc.status}} {
				if got := searchStatus(t, p.Platform, token); got != p.want {
					t.Errorf("%s platform: got status %d, want %d", name, got, p.want)
				}
			}
			b.Reject(token)
			if got := searchStatus(t, b, token); tc.status == 200 && got != 419 {
				t.Errorf("rejected by the other: got status %d, want 419", got)
			}
		})
	}
}

// No other spelling of a token is good, so that none gets around Reject.
func TestTokenSpellings(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=\r\n"
	p := New(Config{})
	good := p.IssueToken(user(alice))
	p.Reject(good)
	for i := range len(good) + 1 {
		for _, c := range alphabet {
			others := []string{good[:i] + string(c) + good[i:]}
			if i < len(good) {
				others = append(others, good[:i]+string(c)+good[i+1:])
			}
			for _, other := range others {
				if _, err := p.tokens.verify(other, p.now()); other != good && !errors.Is(err, errInvalidToken) {
					t.Fatalf("%q at %d of %d: got %v, want %v", c, i, len(good), err, errInvalidToken)
				}
			}
		}
	}
}

func TestExpiredTokenAnswer(t *testing.T) {
	p := New(Config{})
	token := p.IssueToken(user(alice))
	p.RejectAll()
	resp, b := send(t, p, "GET", "/rest/search/v2?access_token="+token, "")
	var got, want any
	decode(t, b, &got)
	decode(t, []byte(`{"message":"Expired token","statusCode":419,"type":"ExpiredTokenException"}`), &want)
	if diff := cmp.Diff(want, got); diff != "" || resp.StatusCode != 419 {
		t.Errorf("status %d (-want +got):\n%s", resp.StatusCode, diff)
	}
}
