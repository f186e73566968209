package rediscache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"
	"time"

	"github.com/searchtoken/searchtoken"
)

const (
	secretSize = 32 // bytes
	epochSize  = 8
	fieldSize  = 16 // of the HMAC of a grant, which has to differ within a user only
)

// secret names and seals with one of Config.Secrets.
type secret struct {
	macs sync.Pool // of hash.Hash
	aead cipher.AEAD
}

// newSecret derives keys for both of its uses from one of secretSize bytes.
func newSecret(key []byte) *secret {
	derive := func(use string) []byte {
		derived, err := hkdf.Key(sha256.New, key, nil, "searchtoken/rediscache "+use, 32)
		if err != nil {
			panic(err) // of a length that HKDF does not have
		}
		return derived
	}
	macKey := derive("name")
	block, err := aes.NewCipher(derive("seal"))
	if err != nil {
		panic(err) // of a length that AES does not have
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // of a block size that GCM does not have
	}
	s := &secret{aead: aead}
	s.macs.New = func() any { return hmac.New(sha256.New, macKey) }
	return s
}

// place is where a token is in Redis: a field of its user's hash.
type place struct {
	name  string // of the hash
	grant string // in the names of the fields
}

func (p *place) token() string { return "t" + p.grant }
func (p *place) claim() string { return "c" + p.grant }

// place is where the token under key is.
func (c *Cache) place(s *secret, key *searchtoken.Key) place {
	mac := s.mac('p', key.User[:], key.Params[:])
	return place{c.entry(s, key.User), string(mac[:fieldSize])}
}

// entry is the name of a user's hash.
func (c *Cache) entry(s *secret, user searchtoken.UserKey) string { return c.name(s, 'u', user) }

// renewals is the name under which a user's forced renewals are counted.
func (c *Cache) renewals(s *secret, user searchtoken.UserKey) string { return c.name(s, 'r', user) }

func (c *Cache) name(s *secret, use byte, user searchtoken.UserKey) string {
	mac := s.mac(use, user[:], nil)
	b := make([]byte, 0, 64)
	return string(base64.RawURLEncoding.AppendEncode(append(b, c.prefix...), mac[:]))
}

// mac is the HMAC of two parts of fixed lengths, for one use.
func (s *secret) mac(use byte, a, b []byte) (sum [sha256.Size]byte) {
	h := s.macs.Get().(hash.Hash)
	defer s.macs.Put(h)
	h.Reset()
	h.Write([]byte{use})
	h.Write(a)
	h.Write(b)
	h.Sum(sum[:0])
	return sum
}

// seal makes t unreadable, and of no use in another place or another epoch.
func (s *secret) seal(t searchtoken.Token, p *place, epoch string) string {
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(t.Value)), uint64(t.Expiry.Sub(t.Issued)))
	return string(s.aead.Seal(nil, nil, append(plain, t.Value...), p.bind(epoch)))
}

// open is the reverse of seal. A token's life is sealed with it; its times are not,
// since each process has them by its own clock.
func (s *secret) open(sealed string, p *place, epoch string) (value string, life time.Duration, ok bool) {
	plain, err := s.aead.Open(nil, nil, []byte(sealed), p.bind(epoch))
	if err != nil || len(plain) < 8 {
		return "", 0, false
	}
	return string(plain[8:]), time.Duration(binary.BigEndian.Uint64(plain)), true
}

// bind is what a token is sealed with: of its parts only the first has no fixed
// length.
func (p *place) bind(epoch string) []byte {
	b := make([]byte, 0, len(p.name)+fieldSize+epochSize)
	return append(append(append(b, p.name...), p.grant...), epoch...)
}
