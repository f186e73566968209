package app

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

const minSessionKey = 32 // bytes

// parseSessionKey decodes the value of SESSION_KEY. It returns nil if text is
// empty.
func parseSessionKey(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	// Hexadecimal first: its digits are base64 digits as well.
	key, err := hex.DecodeString(text)
	if err != nil {
		unpadded := strings.TrimRight(text, "=")
		if key, err = base64.RawStdEncoding.DecodeString(unpadded); err != nil {
			key, err = base64.RawURLEncoding.DecodeString(unpadded)
		}
	}
	if err != nil || len(key) < minSessionKey {
		return nil, errors.New(
			"SESSION_KEY is not at least 32 bytes in hexadecimal or base64: make one with openssl rand -hex 32")
	}
	return key, nil
}

// newSessionKey returns a random key.
func newSessionKey() []byte {
	key := make([]byte, minSessionKey)
	_, _ = rand.Read(key) // never fails
	return key
}

// DeriveKey returns a 32-byte key for one purpose. It is the same in every
// process with this session key, and does not reveal the session key.
func DeriveKey(sessionKey []byte, purpose string) []byte {
	// Key fails only for keys that are much longer.
	key, _ := hkdf.Key(sha256.New, sessionKey, nil, "searchtoken example: "+purpose, sha256.Size)
	return key
}
