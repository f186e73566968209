package rediscache

import (
	"crypto/sha256"
	"encoding/base64"
	"hash"

	"github.com/searchtoken/searchtoken"
)

// tokenKey is a searchtoken.Key as Redis sees it.
type tokenKey struct {
	entry string // Redis key of the user's entry
	grant string // suffix of the grant's fields in it, grantSize bytes
}

// grantSize is shorter than an HMAC: grants have to differ within a user only.
const grantSize = 16

func (k *tokenKey) tokenField() string { return tokenPrefix + k.grant }
func (k *tokenKey) claimField() string { return claimPrefix + k.grant }

// tokenKey returns where the token under key is stored.
func (s *secret) tokenKey(key *searchtoken.Key) tokenKey {
	mac := s.mac('p', key.User[:], key.Params[:])
	return tokenKey{s.entryKey(key.User), string(mac[:grantSize])}
}

// entryKey returns the Redis key of a user's entry.
func (s *secret) entryKey(user searchtoken.UserKey) string { return s.redisKey('u', user) }

// renewalKey returns the Redis key under which a user's forced renewals are
// counted.
func (s *secret) renewalKey(user searchtoken.UserKey) string { return s.redisKey('r', user) }

func (s *secret) redisKey(purpose byte, user searchtoken.UserKey) string {
	mac := s.mac(purpose, user[:], nil)
	b := make([]byte, 0, 64)
	return string(base64.RawURLEncoding.AppendEncode(append(b, s.prefix...), mac[:]))
}

// mac returns the HMAC of a and b, whose lengths depend on purpose only.
func (s *secret) mac(purpose byte, a, b []byte) (sum [sha256.Size]byte) {
	h := s.macs.Get().(hash.Hash)
	defer s.macs.Put(h)
	h.Reset()
	h.Write([]byte{purpose})
	h.Write(a)
	h.Write(b)
	h.Sum(sum[:0])
	return sum
}
