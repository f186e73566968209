package searchtokentest

import (
	"slices"
	"time"
)

// UserID is a security identity that a search token impersonates.
type UserID struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	Type     string `json:"type"` // User, Group, VirtualGroup or Unknown
}

// Claims is the payload of a search token. The JSON names are the platform's.
type Claims struct {
	V8           bool     `json:"v8"`
	TokenID      string   `json:"tokenId"`
	Organization string   `json:"organization"`
	UserIDs      []UserID `json:"userIds"`
	Roles        []string `json:"roles"`
	Issuer       string   `json:"iss"`
	ExpiresAt    int64    `json:"exp"` // Unix time in seconds
	IssuedAt     int64    `json:"iat"` // Unix time in seconds

	// SearchHub, Pipeline and Filter apply to every query that is made with the
	// token.
	SearchHub string `json:"searchHub,omitempty"`
	Pipeline  string `json:"pipeline,omitempty"`
	Filter    string `json:"filter,omitempty"`

	// UserDisplayName and UserGroups describe the user in analytics events.
	UserDisplayName string   `json:"userDisplayName,omitempty"`
	UserGroups      []string `json:"userGroups,omitempty"`
}

func (c Claims) clone() Claims {
	c.UserIDs = slices.Clone(c.UserIDs)
	c.Roles = slices.Clone(c.Roles)
	c.UserGroups = slices.Clone(c.UserGroups)
	return c
}

// IssueToken returns a token with the given claims, for tests that need a token
// but no token call. It does not count as a request.
//
// V8, TokenID, Organization, Roles and Issuer are always set by the platform.
// The default of a UserID's Type is User, that of IssuedAt the current time.
// The default of ExpiresAt is 24 hours after IssuedAt, or what
// [Platform.SetTokenLife] says.
func (p *Platform) IssueToken(c Claims) string {
	token, _ := p.tokens.issue(c, maxValidFor)
	return token
}

// SetTokenLife sets the lifetime of every token that is issued from now on, in
// place of the requested one. Fractions of a second are dropped. A negative
// life issues tokens that have already expired. Zero, the default, gives tokens
// the requested lifetime again.
func (p *Platform) SetTokenLife(life time.Duration) { p.tokens.setLifetime(life) }

// Reject makes the platform treat this token as expired from now on.
func (p *Platform) Reject(token string) { p.tokens.reject(token) }

// RejectAll rejects every token that this platform has issued so far. Tokens
// that it issues later are accepted.
func (p *Platform) RejectAll() { p.tokens.rejectIssued() }

// RejectNew rejects every token that this platform issues from now on. It has
// no effect on tokens issued before.
func (p *Platform) RejectNew() { p.tokens.rejectNew() }

// AcceptAll undoes [Platform.Reject], [Platform.RejectAll] and
// [Platform.RejectNew]. Tokens that have expired stay expired.
func (p *Platform) AcceptAll() { p.tokens.acceptAll() }
