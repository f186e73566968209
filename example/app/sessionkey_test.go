package app

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSessionKeyTakesHexadecimalAndBase64(t *testing.T) {
	key := []byte("\xff\xfe 34 bytes, not text in UTF-8 ....")
	tests := map[string]string{
		"hexadecimal":          hex.EncodeToString(key),
		"hexadecimal, capital": strings.ToUpper(hex.EncodeToString(key)),
		"base64":               base64.StdEncoding.EncodeToString(key),
		"base64, not padded":   base64.RawStdEncoding.EncodeToString(key),
		"base64 for URLs":      base64.URLEncoding.EncodeToString(key),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseSessionKey(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(key, got); diff != "" {
				t.Errorf("key (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSessionKeyRequires32Bytes(t *testing.T) {
	for size, wantErr := range map[int]bool{31: true, 32: false, 33: false} {
		text := strings.Repeat("2a", size)
		key, err := parseSessionKey(text)
		if (err != nil) != wantErr || err == nil && len(key) != size {
			t.Errorf("%d bytes: a key of %d bytes and the error %v", size, len(key), err)
		}
		if err != nil && strings.Contains(err.Error(), text) {
			t.Errorf("the key is in the error %v", err)
		}
	}
}

func TestNewSessionKeyIsRandom(t *testing.T) {
	one, two := newSessionKey(), newSessionKey()
	if len(one) != minSessionKey || bytes.Equal(one, two) {
		t.Errorf("two keys are %x and %x", one, two)
	}
}

func TestDeriveKey(t *testing.T) {
	key, other := bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("b"), 32)
	derived := DeriveKey(key, "one")
	tests := map[string]struct {
		got  []byte
		same bool
	}{
		"the same key and purpose": {DeriveKey(key, "one"), true},
		"another purpose":          {DeriveKey(key, "two"), false},
		"another session key":      {DeriveKey(other, "one"), false},
		"the session key itself":   {key, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if len(test.got) != 32 || bytes.Equal(test.got, derived) != test.same {
				t.Errorf("got %x, equal to %x: want %v", test.got, derived, test.same)
			}
		})
	}
}
