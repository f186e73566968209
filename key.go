package searchtoken

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// UserKey is the SHA-256 hash of a user: of the organization, its endpoint, and
// the user's security identities.
type UserKey [sha256.Size]byte

// Key is what a token is cached under: the hash of the user, and the hash of
// everything else in the token request. Keys are comparable. A Key does not
// reveal the user, but anyone who can guess the user's name can confirm the
// guess. A Cache that others can read should not store Keys in clear text.
type Key struct {
	// User is the hash of the user.
	User UserKey
	// Params is the SHA-256 hash of the other token parameters.
	Params [sha256.Size]byte
}

// jitter returns a number below 1<<16 that is fixed per key.
func (k *Key) jitter() time.Duration {
	return time.Duration(binary.LittleEndian.Uint16(k.User[16:]) ^ binary.LittleEndian.Uint16(k.Params[16:]))
}

// keyPrefix returns the prefix of every user's hash: the organization and its
// endpoint. It is short, so that with most names it fits into one block of
// SHA-256.
func keyPrefix(organization, platformURL string) (prefix [16]byte) {
	sum := sha256.Sum256(appendString(appendString(nil, organization), platformURL))
	copy(prefix[:], sum[:])
	return prefix
}

// userHash returns Key.User.
func userHash(prefix *[16]byte, ids []UserID) UserKey {
	var buf [256]byte // on the stack; longer names are appended on the heap
	return sha256.Sum256(appendUserIDs(append(buf[:0], prefix[:]...), ids))
}

// paramsHash returns Key.Params. It covers every field of p. The UserIDs count
// only if they differ from identified, which is in Key.User already.
func paramsHash(p *TokenParams, identified []UserID) [sha256.Size]byte {
	var buf [512]byte
	b := buf[:0]
	if slices.EqualFunc(p.UserIDs, identified, sameUserID) {
		b = appendUserIDs(b, nil)
	} else {
		b = appendUserIDs(b, p.UserIDs)
	}
	for _, s := range []string{p.UserDisplayName, p.SearchHub, p.Pipeline, p.Filter} {
		b = appendString(b, s)
	}
	b = binary.AppendVarint(b, int64(p.validFor()))
	b = appendSet(b, p.UserGroups)
	b = appendSet(b, p.CanSeeUserProfileOf)
	b = binary.AppendUvarint(b, uint64(len(p.DictionaryFieldContext)))
	for _, field := range slices.Sorted(maps.Keys(p.DictionaryFieldContext)) {
		b = appendString(appendString(b, field), p.DictionaryFieldContext[field])
	}
	b = binary.AppendUvarint(b, uint64(len(p.AllowedDictionaryFieldKeys)))
	for _, field := range slices.Sorted(maps.Keys(p.AllowedDictionaryFieldKeys)) {
		b = appendStrings(appendString(b, field), p.AllowedDictionaryFieldKeys[field])
	}
	commerce := p.commerce()
	for _, s := range []string{commerce.CatalogID, commerce.Filter, commerce.Operation} {
		b = appendString(b, s)
	}
	return sha256.Sum256(b)
}

// The encoding of each part of a Key starts with its length, so different
// sequences of parts never have the same bytes.

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendCommon is like appendString, but encodes the common value in one byte.
func appendCommon(b []byte, s, common string) []byte {
	if s == common {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(s))+1), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// appendSet is like appendStrings, for a list whose order and duplicates do not
// matter. It does not modify list.
func appendSet(b []byte, list []string) []byte {
	return appendStrings(b, slices.Compact(slices.Sorted(slices.Values(list))))
}

func appendUserIDs(b []byte, ids []UserID) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = appendCommon(appendString(b, id.Name), id.Provider, EmailSecurityProvider)
		b = appendCommon(b, string(cmp.Or(id.Type, UserTypeUser)), string(UserTypeUser))
	}
	return b
}

func sameUserID(a, b UserID) bool {
	a.Type, b.Type = cmp.Or(a.Type, UserTypeUser), cmp.Or(b.Type, UserTypeUser)
	return a == b
}
