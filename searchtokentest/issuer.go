package searchtokentest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	errInvalidToken = errors.New("searchtokentest: the token was not issued by this platform")
	errExpiredToken = errors.New("searchtokentest: the token has expired or was rejected")
)

// jwtHeader names the algorithm and nothing else, as the header of Coveo's
// tokens does.
var jwtHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`))

// issuer signs, verifies and rejects search tokens. It is safe for concurrent
// use.
type issuer struct {
	organization string
	skew         time.Duration // how far the platform's clock is ahead of time.Now
	secret       []byte
	idPrefix     string // the TokenID of a token is this prefix and the token's number

	mu           sync.Mutex // guards the fields below
	issued       int64      // the number of the last token issued
	lifetime     time.Duration
	rejected     map[string]struct{}
	rejectedTo   int64 // the number of the last token that RejectAll rejects
	rejectedFrom int64 // the number of the first token that RejectNew rejects; 0: none
}

func newIssuer(organization string, secret []byte, skew time.Duration) *issuer {
	if len(secret) == 0 {
		secret = make([]byte, sha256.Size)
		_, _ = rand.Read(secret) // never fails
	}
	return &issuer{
		organization: organization,
		skew:         skew,
		secret:       slices.Clone(secret),
		idPrefix:     newID() + "-",
		rejected:     make(map[string]struct{}),
	}
}

// now is the time of the platform's clock.
func (i *issuer) now() time.Time { return time.Now().Add(i.skew) }

// issue signs a token with the claims in c, and returns it with its complete
// claims. lifetime applies if neither c nor SetTokenLife says when the token
// expires.
func (i *issuer) issue(c Claims, lifetime time.Duration) (string, *Claims) {
	i.mu.Lock()
	i.issued++
	number := i.issued
	if i.lifetime != 0 {
		lifetime = i.lifetime
	}
	i.mu.Unlock()

	c = c.clone()
	c.V8 = true
	c.TokenID = i.idPrefix + strconv.FormatInt(number, 10)
	c.Organization = i.organization
	c.Roles = []string{"queryExecutor"}
	c.Issuer = "SearchApi"
	for j := range c.UserIDs {
		if c.UserIDs[j].Type == "" {
			c.UserIDs[j].Type = "User"
		}
	}
	if c.IssuedAt == 0 {
		c.IssuedAt = i.now().Unix()
	}
	if c.ExpiresAt == 0 {
		c.ExpiresAt = c.IssuedAt + int64(lifetime/time.Second)
	}
	return i.sign(&c), &c
}

func (i *issuer) sign(c *Claims) string {
	payload, _ := json.Marshal(c) // strings and numbers always encode
	signed := jwtHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signed + "." + i.signature(signed)
}

func (i *issuer) signature(signed string) string {
	h := hmac.New(sha256.New, i.secret)
	h.Write([]byte(signed))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// decode returns the claims of a token that was signed with the platform's
// secret, even if it has expired or was rejected. It returns nil for other
// tokens.
func (i *issuer) decode(token string) *Claims {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return nil
	}
	signed := token[:dot]
	// Compare text: several texts decode to the same bytes, and Reject
	// identifies a token by its text.
	if !hmac.Equal([]byte(token[dot+1:]), []byte(i.signature(signed))) {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(signed, jwtHeader+"."))
	if err != nil {
		return nil
	}
	c := new(Claims)
	if json.Unmarshal(payload, c) != nil {
		return nil
	}
	return c
}

// verify returns the claims of a valid token. The error is errExpiredToken or
// errInvalidToken.
func (i *issuer) verify(token string) (*Claims, error) {
	c := i.decode(token)
	if c == nil {
		return nil, errInvalidToken
	}
	if i.now().Unix() >= c.ExpiresAt || i.isRejected(token, c) {
		return nil, errExpiredToken
	}
	return c, nil
}

// isRejected reports whether a test has rejected the token. A token of another
// platform with the same secret has another idPrefix, so only Reject applies to
// it.
func (i *issuer) isRejected(token string, c *Claims) bool {
	text, issuedHere := strings.CutPrefix(c.TokenID, i.idPrefix)
	number, _ := strconv.ParseInt(text, 10, 64)
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.rejected[token]; ok {
		return true
	}
	return issuedHere && (number <= i.rejectedTo || i.rejectedFrom != 0 && number >= i.rejectedFrom)
}

func (i *issuer) setLifetime(lifetime time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lifetime = lifetime
}

func (i *issuer) reject(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rejected[token] = struct{}{}
}

func (i *issuer) rejectIssued() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rejectedTo = i.issued
}

func (i *issuer) rejectNew() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.rejectedFrom == 0 {
		i.rejectedFrom = i.issued + 1
	}
}

func (i *issuer) acceptAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.rejected)
	i.rejectedTo, i.rejectedFrom = 0, 0
}
