package searchtoken_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// grantCase is a token request that differs from all other cases in one part.
type grantCase struct {
	name     string
	org      string
	platform string
	id       searchtoken.Identity
	params   searchtoken.TokenParams
	prepare  func(*http.Request, *searchtoken.TokenParams) error
}

// differentGrants are token requests that must never share a token.
func differentGrants() []grantCase {
	type (
		params = searchtoken.TokenParams
		userID = searchtoken.UserID
	)
	const email = searchtoken.EmailSecurityProvider
	ids := func(ids ...userID) searchtoken.Identity { return searchtoken.Identity{UserIDs: ids} }
	ann := searchtoken.Email("ann")
	withName, withGroups, withJoinedGroups := ann, ann, ann
	withName.DisplayName = "Ann"
	withGroups.Groups = []string{"a", "b"}
	withJoinedGroups.Groups = []string{"ab"}
	prepare := func(change func(*params)) func(*http.Request, *params) error {
		return func(_ *http.Request, p *params) error {
			change(p)
			return nil
		}
	}
	return []grantCase{
		{name: "ann", id: ann},
		{name: "bob", id: searchtoken.Email("bob")},
		{name: "organization", org: "acme2", id: ann},
		{name: "endpoint", platform: "https://platform-eu.cloud.coveo.com", id: ann},
		{name: "provider", id: ids(userID{Name: "ann", Provider: "Other"})},
		{name: "type", id: ids(userID{Name: "ann", Provider: email, Type: searchtoken.UserTypeGroup})},
		{name: "two identities", id: ids(userID{Name: "ann", Provider: "P"}, userID{Name: "bob", Provider: "P"})},
		{name: "two identities reversed", id: ids(userID{Name: "bob", Provider: "P"}, userID{Name: "ann", Provider: "P"})},
		{name: "two identities joined", id: ids(userID{Name: "annP", Provider: "bobP"})},
		{name: "display name", id: withName},
		{name: "groups", id: withGroups},
		{name: "groups joined", id: withJoinedGroups},
		{name: "hub", id: ann, params: params{SearchHub: "x"}},
		{name: "pipeline", id: ann, params: params{Pipeline: "x"}},
		{name: "filter", id: ann, params: params{Filter: "x"}},
		{name: "life", id: ann, params: params{ValidFor: time.Hour}},
		{name: "profiles", id: ann, params: params{CanSeeUserProfileOf: []string{"a", "b"}}},
		{name: "one profile", id: ann, params: params{CanSeeUserProfileOf: []string{"a"}}},
		{name: "one group", id: ann, params: params{UserGroups: []string{"b"}}},
		{name: "empty group", id: ann, params: params{UserGroups: []string{""}}},
		{name: "catalog", id: ann, params: params{Commerce: &searchtoken.CommerceParams{CatalogID: "a"}}},
		{name: "commerce filter", id: ann, params: params{Commerce: &searchtoken.CommerceParams{Filter: "a"}}},
		{name: "commerce operation", id: ann, params: params{Commerce: &searchtoken.CommerceParams{Operation: "a"}}},
		{name: "dictionary", id: ann, params: params{DictionaryFieldContext: map[string]string{"a": "b"}}},
		{name: "dictionary, other key", id: ann, params: params{DictionaryFieldContext: map[string]string{"a": "c"}}},
		{name: "dictionary, two fields", id: ann, params: params{
			DictionaryFieldContext: map[string]string{"a": "b", "c": "d"},
		}},
		{name: "allowed keys", id: ann, params: params{AllowedDictionaryFieldKeys: map[string][]string{"a": {"*"}}}},
		{name: "prepared filter", id: ann, prepare: prepare(func(p *params) { p.Filter = "y" })},
		{name: "prepared user", id: ann, prepare: prepare(func(p *params) {
			p.UserIDs = searchtoken.Email("carol").UserIDs
		})},
		{name: "other prepared user", id: ann, prepare: prepare(func(p *params) {
			p.UserIDs = searchtoken.Email("dave").UserIDs
		})},
	}
}

// equalGrants are token requests with the grant of the case of differentGrants
// that they name, which they spell in another way.
func equalGrants() []grantCase {
	with := func(groups ...string) searchtoken.Identity {
		id := searchtoken.Email("ann")
		id.Groups = groups
		return id
	}
	profiles := func(users ...string) searchtoken.TokenParams {
		return searchtoken.TokenParams{CanSeeUserProfileOf: users}
	}
	prepared := func(_ *http.Request, p *searchtoken.TokenParams) error {
		p.UserGroups = []string{"b", "a", "b"}
		return nil
	}
	ann := searchtoken.Email("ann")
	return []grantCase{
		{name: "groups", id: with("b", "a")},
		{name: "groups", id: with("a", "b", "a")},
		{name: "groups", id: with("b", "b", "a", "a")},
		{name: "groups", id: ann, params: searchtoken.TokenParams{UserGroups: []string{"b", "a"}}},
		{name: "groups", id: ann, prepare: prepared},
		{name: "profiles", id: ann, params: profiles("b", "a")},
		{name: "profiles", id: ann, params: profiles("a", "b", "b")},
	}
}

func TestKeysLeaveTheOrderOfListsAlone(t *testing.T) {
	id := searchtoken.Email("ann")
	id.Groups = []string{"c", "a", "b", "a"}
	issuer := &issuer{}
	get(newMiddleware(t, searchtoken.Config{
		Issuer:   issuer,
		Identify: func(*http.Request) (searchtoken.Identity, error) { return id, nil },
	}), request(""))
	want := []string{"c", "a", "b", "a"}
	if diff := cmp.Diff([][]string{want, want}, [][]string{issuer.params()[0].UserGroups, id.Groups}); diff != "" {
		t.Errorf("groups that were sent, and the identity's (-want +got):\n%s", diff)
	}
}

func TestDifferentGrantsNeverShareATokenAndEqualOnesDo(t *testing.T) {
	cache, issuer := searchtoken.NewMemoryCache(0), &issuer{}
	token := func(c grantCase) string {
		return get(newMiddleware(t, searchtoken.Config{
			OrganizationID: c.org, PlatformURL: c.platform, Cache: cache, Issuer: issuer,
			Identify: func(*http.Request) (searchtoken.Identity, error) { return c.id, nil },
			Route:    searchtoken.Route{Params: c.params, Prepare: c.prepare},
		}), request("")).Body.String()
	}
	names := map[string]string{}
	for range 2 {
		for _, c := range differentGrants() {
			got := token(c)
			if name, ok := names[got]; ok && name != c.name {
				t.Errorf("%s gets the token of %s", c.name, name)
			}
			names[got] = c.name
		}
	}
	if got, want := issuer.count(), len(differentGrants()); got != want {
		t.Errorf("%d calls for %d grants, want one for each", got, want)
	}

	for _, c := range equalGrants() {
		if got := names[token(c)]; got != c.name {
			t.Errorf("a case gets the token of %q, want that of %q", got, c.name)
		}
	}
	untyped := searchtoken.Identity{UserIDs: []searchtoken.UserID{{Name: "ann", Provider: searchtoken.EmailSecurityProvider}}}
	ann := searchtoken.Email("ann")
	for _, c := range []grantCase{
		{name: "default type", id: untyped},
		{name: "default life, spelled out", id: ann, params: searchtoken.TokenParams{ValidFor: 24 * time.Hour}},
		{name: "empty lists", id: ann, params: searchtoken.TokenParams{
			UserGroups: []string{}, DictionaryFieldContext: map[string]string{},
		}},
		{name: "Prepare without changes", id: ann, prepare: func(*http.Request, *searchtoken.TokenParams) error {
			return nil
		}},
		{name: "type set by Prepare", id: untyped, prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
			p.UserIDs[0].Type = searchtoken.UserTypeUser
			return nil
		}},
	} {
		if got := names[token(c)]; got != "ann" {
			t.Errorf("%s: gets the token of %q, want that of ann", c.name, got)
		}
	}
}
