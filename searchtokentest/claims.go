package searchtokentest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// UserID is a security identity that a search token impersonates.
type UserID struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	Type     string `json:"type"` // User, Group, VirtualGroup or Unknown
}

// Claims are the payload of a search token, by the names that they have on the platform.
type Claims struct {
	V8           bool     `json:"v8"`
	TokenID      string   `json:"tokenId"`
	Organization string   `json:"organization"`
	UserIDs      []UserID `json:"userIds"`
	Roles        []string `json:"roles"`
	Issuer       string   `json:"iss"`
	ExpiresAt    int64    `json:"exp"` // Unix time in seconds
	IssuedAt     int64    `json:"iat"` // Unix time in seconds

	// What the token enforces, and what analytics call its user.
	SearchHub       string   `json:"searchHub,omitempty"`
	Pipeline        string   `json:"pipeline,omitempty"`
	Filter          string   `json:"filter,omitempty"`
	UserDisplayName string   `json:"userDisplayName,omitempty"`
	UserGroups      []string `json:"userGroups,omitempty"`
}

func (c Claims) clone() Claims {
	c.UserIDs = slices.Clone(c.UserIDs)
	c.Roles = slices.Clone(c.Roles)
	c.UserGroups = slices.Clone(c.UserGroups)
	return c
}

// IssueToken returns a token with these claims, as if a server had asked for it. It is for tests that need a token but
// no token call. V8, Organization, Roles, Issuer and TokenID are always the platform's own; the type of a UserID defaults
// to User, IssuedAt to now, ExpiresAt to 24 hours after IssuedAt or what SetTokenLife says.
func (p *Platform) IssueToken(c Claims) string {
	token, _ := p.issue(c, maxValidFor)
	return token
}

// issue signs c for life, and returns the claims as they were completed.
func (p *Platform) issue(c Claims, life time.Duration) (string, *Claims) {
	c = c.clone()
	c.V8 = true
	c.Organization = p.organization
	c.Roles = []string{"queryExecutor"}
	c.Issuer = "SearchApi"
	for i := range c.UserIDs {
		if c.UserIDs[i].Type == "" {
			c.UserIDs[i].Type = "User"
		}
	}
	if c.IssuedAt == 0 {
		c.IssuedAt = p.now().Unix()
	}
	return p.tokens.sign(&c, life), &c
}

// SetTokenLife makes every token that is issued from now on live this long, in whole seconds, whatever was asked for.
// A negative life gives tokens that have expired before they arrive. Zero, the default: the life that was asked for.
func (p *Platform) SetTokenLife(life time.Duration) { p.tokens.setLife(life) }

// Reject makes the platform answer 419 to this token from now on, as if it had expired.
func (p *Platform) Reject(token string) { p.tokens.reject(token) }

// RejectAll rejects all tokens that the platform has issued so far; those to come are good.
func (p *Platform) RejectAll() { p.tokens.rejectIssued() }

// RejectNew rejects every token that the platform issues from now on; those issued before stay as they are.
func (p *Platform) RejectNew() { p.tokens.rejectNew() }

// AcceptAll takes back Reject, RejectAll and RejectNew. Tokens that have expired stay so.
func (p *Platform) AcceptAll() { p.tokens.acceptAll() }

var (
	errInvalidToken = errors.New("searchtokentest: not a token of this platform")
	errExpiredToken = errors.New("searchtokentest: the token has expired or was rejected")
)

// jwtHeader is the header of Coveo's tokens: the algorithm and nothing else.
var jwtHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`))

// tokens signs, reads and rejects search tokens.
type tokens struct {
	secret []byte
	id     string // begins the TokenID of every token, the token's number ends it

	mu         sync.Mutex
	issued     int64 // how many
	life       time.Duration
	rejected   map[string]struct{}
	rejectTo   int64 // the number of the last token that RejectAll rejected
	rejectFrom int64 // the number of the first token that RejectNew rejects; 0: none
}

func newTokens(secret []byte) *tokens {
	if len(secret) == 0 {
		secret = make([]byte, sha256.Size)
		_, _ = rand.Read(secret) // never fails
	}
	return &tokens{secret: slices.Clone(secret), id: newID(), rejected: make(map[string]struct{})}
}

// sign numbers the token, sets the expiry if there is none, and signs.
func (t *tokens) sign(c *Claims, life time.Duration) string {
	t.mu.Lock()
	t.issued++
	number := t.issued
	if t.life != 0 {
		life = t.life
	}
	t.mu.Unlock()

	c.TokenID = t.id + "-" + strconv.FormatInt(number, 10)
	if c.ExpiresAt == 0 {
		c.ExpiresAt = c.IssuedAt + int64(life/time.Second)
	}
	payload, _ := json.Marshal(c) // strings and numbers always encode
	signed := jwtHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	return signed + "." + t.signature(signed)
}

func (t *tokens) signature(signed string) string {
	h := hmac.New(sha256.New, t.secret)
	h.Write([]byte(signed))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// decode returns the claims of a token that this platform signed, whether it is still good or not, or else nil.
func (t *tokens) decode(token string) *Claims {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return nil
	}
	signed := token[:dot]
	// Compared as text: several texts decode to the same bytes, and Reject knows a token by its text.
	if !hmac.Equal([]byte(token[dot+1:]), []byte(t.signature(signed))) {
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

// verify returns the claims of a good token, errExpiredToken or errInvalidToken.
func (t *tokens) verify(token string, now time.Time) (*Claims, error) {
	c := t.decode(token)
	if c == nil {
		return nil, errInvalidToken
	}
	if now.Unix() >= c.ExpiresAt || t.isRejected(token, c) {
		return nil, errExpiredToken
	}
	return c, nil
}

func (t *tokens) isRejected(token string, c *Claims) bool {
	text, own := strings.CutPrefix(c.TokenID, t.id+"-")
	number, _ := strconv.ParseInt(text, 10, 64)
	t.mu.Lock()
	defer t.mu.Unlock()
	_, rejected := t.rejected[token]
	return rejected || own && (number <= t.rejectTo || t.rejectFrom != 0 && number >= t.rejectFrom)
}

func (t *tokens) setLife(life time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.life = life
}

func (t *tokens) reject(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejected[token] = struct{}{}
}

func (t *tokens) rejectIssued() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rejectTo = t.issued
}

func (t *tokens) rejectNew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rejectFrom == 0 {
		t.rejectFrom = t.issued + 1
	}
}

func (t *tokens) acceptAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.rejected)
	t.rejectTo, t.rejectFrom = 0, 0
}

// bearer returns the credential in the Authorization header, or "".
func bearer(r *http.Request) string {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

// tokenOf returns the search token of a request: from the Authorization header, or else from the query.
func tokenOf(r *http.Request) string {
	if token := bearer(r); token != "" {
		return token
	}
	return r.URL.Query().Get("access_token")
}
