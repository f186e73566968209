package rediscache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

const secretSize = 32 // bytes

// secret is one of Config.Secrets. It names Redis keys (names.go), and encrypts
// tokens. It is safe for concurrent use.
type secret struct {
	prefix string    // of every Redis key
	macs   sync.Pool // of hash.Hash
	aead   cipher.AEAD
}

// newSecret derives one key for names and one for encryption from a key of
// secretSize bytes.
func newSecret(prefix string, key []byte) *secret {
	derive := func(purpose string) []byte {
		derived, err := hkdf.Key(sha256.New, key, nil, "searchtoken/rediscache "+purpose, 32)
		if err != nil {
			panic(err) // HKDF-SHA256 supports this length
		}
		return derived
	}
	macKey := derive("name")
	block, err := aes.NewCipher(derive("seal"))
	if err != nil {
		panic(err) // AES supports this length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // GCM supports the block size of AES
	}
	s := &secret{prefix: prefix, aead: aead}
	s.macs.New = func() any { return hmac.New(sha256.New, macKey) }
	return s
}

// sealedToken is a token as it is encrypted.
type sealedToken struct {
	value  string
	expiry int64         // in Unix milliseconds, by the clock of Redis
	life   time.Duration // from the token's issue to its expiry
}

// The plaintext consists of the expiry, the life, the length of the value, the
// value, and zeros.
const (
	plainHeader = 8 + 8 + 4

	// The length of the plaintext is a multiple of plainBlock: the length of a
	// token depends on that of its user's name.
	plainBlock = 64
)

// seal encrypts t. Only open with the same key and epoch can decrypt it.
func (s *secret) seal(t *sealedToken, k *tokenKey, epoch string) string {
	size := plainHeader + len(t.value)
	plain := make([]byte, (size+plainBlock-1)/plainBlock*plainBlock)
	binary.BigEndian.PutUint64(plain, uint64(t.expiry))
	binary.BigEndian.PutUint64(plain[8:], uint64(t.life))
	binary.BigEndian.PutUint32(plain[16:], uint32(len(t.value)))
	copy(plain[plainHeader:], t.value)
	return string(s.aead.Seal(nil, nil, plain, additionalData(k, epoch)))
}

// open decrypts what seal returned.
func (s *secret) open(sealed string, k *tokenKey, epoch string) (t sealedToken, ok bool) {
	plain, err := s.aead.Open(nil, nil, []byte(sealed), additionalData(k, epoch))
	if err != nil {
		return t, false
	}
	end := plainHeader + binary.BigEndian.Uint32(plain[16:])
	return sealedToken{
		value:  string(plain[plainHeader:end]),
		expiry: int64(binary.BigEndian.Uint64(plain)),
		life:   time.Duration(binary.BigEndian.Uint64(plain[8:])),
	}, true
}

// additionalData returns the data that is authenticated with a token. It is
// unambiguous: all parts but the first have a fixed length.
func additionalData(k *tokenKey, epoch string) []byte {
	b := make([]byte, 0, len(k.entry)+grantSize+epochSize)
	return append(append(append(b, k.entry...), k.grant...), epoch...)
}
