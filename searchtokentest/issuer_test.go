package searchtokentest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTokensExpire(t *testing.T) {
	for _, tc := range []struct {
		name   string
		life   time.Duration // for SetTokenLife
		after  time.Duration
		status int
	}{
		{"default, before", 0, 24*time.Hour - time.Second, 200},
		{"default, at", 0, 24 * time.Hour, 419},
		{"set, before", time.Minute, 59 * time.Second, 200},
		{"set, at", time.Minute, time.Minute, 419},
		{"fraction of a second", 1900 * time.Millisecond, time.Second, 419},
		{"negative", -time.Second, 0, 419},
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

func TestRejectedTokensAreRefusedUntilAcceptAll(t *testing.T) {
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
	p.RejectNew() // a second call changes nothing
	check("issued before RejectNew", third, 200)
	check("issued after RejectNew", fourth, 419)

	p.AcceptAll()
	for i, token := range []string{first, second, third, fourth, p.IssueToken(user(alice))} {
		check(fmt.Sprint("accepted again ", i), token, 200)
	}
}

func TestForeignTokensAreInvalid(t *testing.T) {
	p := New(Config{})
	valid := p.IssueToken(user(alice))
	parts := strings.Split(valid, ".")
	admin := base64.RawURLEncoding.EncodeToString([]byte(`{"v8":true,"exp":99999999999}`))
	for name, token := range map[string]string{
		"none":                     "",
		"garbage":                  "garbage",
		"dots":                     "..",
		"another platform":         New(Config{}).IssueToken(user(alice)),
		"changed claims":           parts[0] + "." + admin + "." + parts[2],
		"no signature":             parts[0] + "." + parts[1] + ".",
		"API key":                  DefaultAPIKey,
		"signature is not base64":  parts[0] + "." + parts[1] + ".!",
		"signed, but not base64":   "!." + p.tokens.signature("!"),
		"signed, but not JSON":     "x." + p.tokens.signature("x"),
		"signed, but not a token":  "." + p.tokens.signature(""),
		"signature of other claim": admin + "." + p.tokens.signature(parts[0]+"."+admin),
	} {
		t.Run(name, func(t *testing.T) {
			if got := searchStatus(t, p, token); got != http.StatusUnauthorized {
				t.Errorf("got status %d, want 401", got)
			}
		})
	}
}

func TestPlatformsWithOneSecretAcceptEachOthersTokens(t *testing.T) {
	for _, tc := range []struct {
		name             string
		secretA, secretB string
		statusB          int // of a token of a, at b
		rejectedB        int // of the same token, after b.Reject
	}{
		{"same secret", "secret", "secret", 200, 419},
		{"different secrets", "secret", "another", 401, 401},
		{"one random secret", "secret", "", 401, 401},
		{"two random secrets", "", "", 401, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			secret := []byte(tc.secretA)
			a, b := New(Config{Secret: secret}), New(Config{Secret: []byte(tc.secretB)})
			clear(secret) // New copies it
			token := a.IssueToken(user(alice))
			b.RejectAll() // both concern tokens of b only
			b.RejectNew()
			check := func(name string, p *Platform, want int) {
				t.Helper()
				if got := searchStatus(t, p, token); got != want {
					t.Errorf("%s: got status %d, want %d", name, got, want)
				}
			}
			check("a", a, 200)
			check("b", b, tc.statusB)
			b.Reject(token)
			check("b after Reject", b, tc.rejectedB)
			check("a after Reject by b", a, 200)
		})
	}
}

// If a token had a second valid spelling, Reject would miss it.
func TestTokensHaveOneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=\r\n"
	p := New(Config{})
	token := p.IssueToken(user(alice))
	p.Reject(token)
	for i := range len(token) + 1 {
		for _, c := range alphabet {
			others := []string{token[:i] + string(c) + token[i:]}
			if i < len(token) {
				others = append(others, token[:i]+string(c)+token[i+1:])
			}
			for _, other := range others {
				if _, err := p.tokens.verify(other); other != token && !errors.Is(err, errInvalidToken) {
					t.Fatalf("%q at %d of %d: got error %v, want %v", c, i, len(token), err, errInvalidToken)
				}
			}
		}
	}
}
