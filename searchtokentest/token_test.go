package searchtokentest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTokenCallRefusesWhatCoveoDocumentsAsWrong(t *testing.T) {
	keys := map[string][]string{}
	for i := range 100 {
		keys[fmt.Sprint("f", i)] = []string{"*"}
	}
	maxKeys, _ := json.Marshal(keys)
	keys["one more"] = []string{"*"}
	tooManyKeys, _ := json.Marshal(keys)

	// body returns a body for alice with one more property.
	body := func(property string) string { return `{"userIds":[` + aliceJSON + `],` + property + `}` }
	for _, tc := range []struct {
		name    string
		body    string
		status  int
		message string // part of it
	}{
		{"user only", `{"userIds":[` + aliceJSON + `]}`, 200, ""},
		{"type", `{"userIds":[{"name":"a","provider":"p","type":"VirtualGroup"}]}`, 200, ""},
		{"shortest life", body(`"validFor":900000`), 200, ""},
		{"longest life", body(`"validFor":86400000`), 200, ""},
		{"dictionary context", body(`"dictionaryFieldContext":{"a":"b"}`), 200, ""},
		{"dictionary keys", body(`"allowedDictionaryFieldKeys":{"price":["*"]}`), 200, ""},
		{"most dictionary keys", body(`"allowedDictionaryFieldKeys":` + string(maxKeys)), 200, ""},
		{"profiles", body(`"canSeeUserProfileOf":["bob"]`), 200, ""},
		{"no user", `{}`, 400, "userIds is required."},
		{"empty users", `{"userIds":[]}`, 400, "userIds is required."},
		{"users are not a list", `{"userIds":"alice"}`, 400, "userIds must be an array of objects."},
		{"no name", `{"userIds":[{"provider":"p"}]}`, 400, "userIds[0].name is required."},
		{"no provider", `{"userIds":[` + aliceJSON + `,{"name":"a"}]}`, 400, "userIds[1].provider is required."},
		{"unknown type", `{"userIds":[{"name":"a","provider":"p","type":"user"}]}`, 400, "userIds[0].type must be one of"},
		{"life too short", body(`"validFor":899999`), 400, "validFor must be between 900000 and 86400000."},
		{"life too long", body(`"validFor":86400001`), 400, "validFor must be between"},
		{"life zero", body(`"validFor":0`), 400, "validFor must be between"},
		{"life is a string", body(`"validFor":"900000"`), 400, "validFor must not be a JSON string."},
		{
			"both dictionaries", body(`"dictionaryFieldContext":{"a":"b"},"allowedDictionaryFieldKeys":{"a":["*"]}`),
			400, "exclude each other",
		},
		{"dictionary key", body(`"allowedDictionaryFieldKeys":{"a":["b"]}`), 400, `allowedDictionaryFieldKeys.a must be ["*"].`},
		{"too many dictionary keys", body(`"allowedDictionaryFieldKeys":` + string(tooManyKeys)), 400, "more than 100"},
		{"two problems", `{"validFor":1}`, 400, "userIds is required. validFor"},
		{"unknown property", body(`"expiration":1`), 400, `Unknown property "expiration".`},
		{"property in another case", body(`"searchhub":"h"`), 400, `Unknown property "searchhub".`},
		{
			"unknown property of a user", `{"userIds":[{"name":"a","provider":"p","password":"x"}]}`,
			400, `Unknown property "userIds[0].password".`,
		},
		{"not JSON", `userIds=alice`, 400, "Invalid JSON"},
		{"two values", `{"userIds":[` + aliceJSON + `]}{}`, 400, "Invalid JSON"},
		{"empty", ``, 400, "Invalid JSON"},
		{"null", `null`, 400, "Invalid JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := requestToken(t, New(Config{}), tc.body)
			if resp.StatusCode != tc.status {
				t.Fatalf("got status %d, want %d: %s", resp.StatusCode, tc.status, b)
			}
			if tc.status == 200 {
				return
			}
			var got apiError
			decode(t, b, &got)
			if got.StatusCode != tc.status || got.Type != "InvalidRequestException" || !strings.Contains(got.Message, tc.message) {
				t.Errorf("got %+v, want status %d and %q", got, tc.status, tc.message)
			}
		})
	}
}

func TestTokenCallNeedsPOSTKeyOrganizationAndJSON(t *testing.T) {
	const (
		target   = "/rest/search/v2/token?organizationId=acme"
		valid    = "Bearer " + DefaultAPIKey
		jsonType = "application/json"
	)
	for _, tc := range []struct {
		name, method, target, key, contentType string
		status                                 int
	}{
		{"valid", "POST", target, valid, "application/json; charset=utf-8", 200},
		{"no organization", "POST", "/rest/search/v2/token", valid, jsonType, 200},
		{"another organization", "POST", "/rest/search/v2/token?organizationid=globex", valid, jsonType, 404},
		{"no key", "POST", target, "", jsonType, 401},
		{"wrong key", "POST", target, valid + "x", jsonType, 401},
		{"another scheme", "POST", target, "Basic " + DefaultAPIKey, jsonType, 401},
		{"key in the URL", "POST", target + "&access_token=" + DefaultAPIKey, "", jsonType, 401},
		{"form", "POST", target, valid, "application/x-www-form-urlencoded", 415},
		{"no content type", "POST", target, valid, "", 415},
		{"GET", "GET", target, valid, jsonType, 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{})
			resp, b := send(t, p, tc.method, tc.target, `{"userIds":[`+aliceJSON+`]}`,
				"Authorization", tc.key, "Content-Type", tc.contentType)
			if resp.StatusCode != tc.status {
				t.Fatalf("got status %d, want %d: %s", resp.StatusCode, tc.status, b)
			}
			var got struct {
				StatusCode int
				Token      string
			}
			decode(t, b, &got)
			if (got.Token != "") != (tc.status == 200) || tc.status != 200 && got.StatusCode != tc.status {
				t.Errorf("got %s, want a token or the error status %d", b, tc.status)
			}
			if claims := p.Requests()[0].Claims; (claims != nil) != (tc.status == 200) {
				t.Errorf("got claims %+v on record, want those of the issued token, if any", claims)
			}
		})
	}
}

func TestIssuedTokenHasTheRequestedClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{ClockSkew: time.Hour})
		_, b := requestToken(t, p, `{
			"userIds": [`+aliceJSON+`, {"name":"staff","provider":"Other","type":"Group"}],
			"searchHub": "hub", "pipeline": "line", "filter": "@source==Help",
			"userDisplayName": "Alice", "userGroups": ["staff"], "validFor": 1800000
		}`)
		var response map[string]string
		decode(t, b, &response)
		if len(response) != 1 {
			t.Errorf("got %d properties, want the token only", len(response))
		}
		parts := strings.Split(response["token"], ".")
		if len(parts) != 3 {
			t.Fatalf("got a token with %d parts, want the 3 of a JWT", len(parts))
		}
		header, _ := base64.RawURLEncoding.DecodeString(parts[0])
		if got, want := string(header), `{"alg":"HS256"}`; got != want {
			t.Errorf("got header %s, want %s", got, want)
		}
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		var got map[string]any
		decode(t, payload, &got)
		if id, _ := got["tokenId"].(string); id == "" {
			t.Error("got no tokenId")
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
		verified, err := p.tokens.verify(response["token"])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(verified, p.Requests(KindToken)[0].Claims); diff != "" {
			t.Errorf("claims on record (-want +got):\n%s", diff)
		}
	})
}
