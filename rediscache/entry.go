package rediscache

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
)

// The entry of a user is a Redis hash. "<grant>" stands for the suffix that
// tokenKey computes from the grant.
//
//	field     value
//	e         epoch of the user: 8 random bytes
//	x         expiry of the entry
//	t<grant>  "expiry of the token:encrypted token"
//	c<grant>  "process that claims the fetch:end of the claim"
//
// Times are Unix milliseconds by the clock of Redis. One user has one key, so
// that Redis changes an entry atomically, keeps it on one node of a cluster,
// and removes all of it at once.
const (
	epochField  = "e"
	expiryField = "x"
	tokenPrefix = "t"
	claimPrefix = "c"

	epochSize = 8 // bytes
)

const (
	// epochLife is the life of an entry without a token. It exceeds the
	// longest fetch.
	epochLife = time.Minute

	// maxEntryLife exceeds the life of every entry, so rueidis keeps an entry
	// in memory for exactly the rest of its life in Redis. readToken relies on
	// that, and the scripts replace an entry whose expiry is later.
	maxEntryLife = 48 * time.Hour
)

// readToken returns the token under key, as s names and encrypts it, and the
// epoch of the entry. It returns zero values for what is missing, malformed or
// cannot be decrypted.
func readToken(ctx context.Context, client rueidis.Client, s *secret, key *searchtoken.Key) (
	t searchtoken.Token, epoch string, err error,
) {
	k := s.tokenKey(key)
	command := client.B().Hmget().Key(k.entry).Field(epochField, expiryField, k.tokenField()).Cache()
	answer := client.DoCache(ctx, command, maxEntryLife)
	values, err := answer.ToArray()
	if err, answered := rueidis.IsRedisErr(err); answered && strings.HasPrefix(err.Error(), "WRONGTYPE") {
		return t, "", nil
	}
	if err != nil || len(values) != 3 {
		return t, "", err
	}
	epoch, _ = values[0].ToString()
	entryExpiry, err := values[1].AsInt64()
	if len(epoch) != epochSize || err != nil {
		return t, "", nil
	}
	field, _ := values[2].ToString()
	expiryText, sealed, _ := strings.Cut(field, ":")
	tokenExpiry, err := strconv.ParseInt(expiryText, 10, 64)
	if err != nil {
		return t, epoch, nil
	}
	value, life, ok := s.open(sealed, &k, epoch)
	if !ok {
		return t, epoch, nil
	}
	// Convert tokenExpiry to this machine's clock: CachePXAT is the expiry of
	// the entry by this clock, entryExpiry the same by the clock of Redis.
	now := time.Now()
	expiry := time.UnixMilli(answer.CachePXAT() + tokenExpiry - entryExpiry)
	// The times in Redis are not authenticated. They cannot extend the token's
	// life.
	if latest := now.Add(life); expiry.After(latest) {
		expiry = latest
	}
	if !expiry.After(now) {
		return t, epoch, nil
	}
	return searchtoken.Token{Value: value, Issued: expiry.Add(-life), Expiry: expiry}, epoch, nil
}

// randomEpoch returns an epoch that no entry has had.
func randomEpoch() string {
	var e [epochSize]byte
	_, _ = rand.Read(e[:]) // never fails
	return string(e[:])
}

// epochNumber converts an epoch in Redis to one of searchtoken.Cache, and
// epochBytes converts it back.
func epochNumber(e string) uint64 { return binary.BigEndian.Uint64([]byte(e)) }

func epochBytes(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// milliseconds formats a duration for a script.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
