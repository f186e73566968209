package searchtokentest

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestIssueTokenSetsDefaults(t *testing.T) {
	const (
		now = 946684800 // midnight of 2000-01-01 UTC, when the time of a bubble begins
		day = 24 * 60 * 60
	)
	for _, tc := range []struct {
		name   string
		claims Claims
		want   Claims
	}{
		{"zero", Claims{}, Claims{IssuedAt: now, ExpiresAt: now + day}},
		{"issued earlier", Claims{IssuedAt: now - 60}, Claims{IssuedAt: now - 60, ExpiresAt: now - 60 + day}},
		{"expires earlier", Claims{ExpiresAt: now + 5}, Claims{IssuedAt: now, ExpiresAt: now + 5}},
		{
			"platform's own claims",
			Claims{V8: false, TokenID: "x", Organization: "globex", Roles: []string{"admin"}, Issuer: "me"},
			Claims{IssuedAt: now, ExpiresAt: now + day},
		},
		{
			"type of a user",
			Claims{UserIDs: []UserID{{Name: alice}, {Name: "staff", Type: "Group"}}},
			Claims{
				UserIDs:  []UserID{{Name: alice, Type: "User"}, {Name: "staff", Type: "Group"}},
				IssuedAt: now, ExpiresAt: now + day,
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Config{})
				got, err := p.tokens.verify(p.IssueToken(tc.claims))
				if err != nil {
					t.Fatal(err)
				}
				if got.TokenID == "" || got.TokenID == tc.claims.TokenID {
					t.Errorf("got TokenID %q, want the platform's own", got.TokenID)
				}
				want := tc.want
				want.V8, want.Organization, want.Issuer = true, "acme", "SearchApi"
				want.Roles = []string{"queryExecutor"}
				if diff := cmp.Diff(want, *got, cmpopts.IgnoreFields(Claims{}, "TokenID")); diff != "" {
					t.Errorf("claims (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestIssueTokenLeavesItsArgumentAlone(t *testing.T) {
	claims := user(alice)
	p := New(Config{})
	p.IssueToken(claims)
	if diff := cmp.Diff(user(alice), claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if got := p.Count(); got != 0 {
		t.Errorf("got %d requests, want 0", got)
	}
}
