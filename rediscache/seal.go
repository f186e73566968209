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

	"github.com/searchtoken/searchtoken"
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

// seal encrypts t. Only open with the same key and epoch can decrypt it.
func (s *secret) seal(t searchtoken.Token, k *tokenKey, epoch string) string {
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(t.Value)), uint64(t.Expiry.Sub(t.Issued)))
	return string(s.aead.Seal(nil, nil, append(plain, t.Value...), additionalData(k, epoch)))
}

// open decrypts what seal returned. It returns the life of the token instead of
// its times, because the clock of the process that sealed it may differ.
func (s *secret) open(sealed string, k *tokenKey, epoch string) (value string, life time.Duration, ok bool) {
	plain, err := s.aead.Open(nil, nil, []byte(sealed), additionalData(k, epoch))
	if err != nil || len(plain) < 8 {
		return "", 0, false
	}
	return string(plain[8:]), time.Duration(binary.BigEndian.Uint64(plain)), true
}

// additionalData returns the data that is authenticated with a token. It is
// unambiguous: all parts but the first have a fixed length.
func additionalData(k *tokenKey, epoch string) []byte {
	b := make([]byte, 0, len(k.entry)+grantSize+epochSize)
	return append(append(append(b, k.entry...), k.grant...), epoch...)
}
