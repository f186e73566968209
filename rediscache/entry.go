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
//	t<grant>  "expiry of the token:encrypted token"
//	c<grant>  "process that claims the fetch:end of the claim"
//
// Times are Unix milliseconds by the clock of Redis. One user has one key, so
// that Redis changes an entry atomically, keeps it on one node of a cluster,
// and removes all of it at once.
const (
	epochField  = "e"
	tokenPrefix = "t"
	claimPrefix = "c"

	epochSize = 8 // bytes
)

const (
	// epochLife is the life of an entry without a token. It exceeds the
	// longest fetch.
	epochLife = time.Minute

	// maxEntryLife exceeds the life of every entry. The scripts replace an
	// entry that would live for longer.
	maxEntryLife = 48 * time.Hour
)

// readToken returns the token under key, as s names and encrypts it, and the
// epoch of the entry. It returns zero values for what is missing, malformed or
// cannot be decrypted.
func (c *connection) readToken(ctx context.Context, client rueidis.Client, s *secret, key *searchtoken.Key) (
	t searchtoken.Token, epoch string, err error,
) {
	k := s.tokenKey(key)
	values, err := c.readEntry(ctx, client, &k)
	if err, answered := rueidis.IsRedisErr(err); answered && strings.HasPrefix(err.Error(), "WRONGTYPE") {
		return t, "", nil
	}
	if err != nil || len(values) != 2 {
		return t, "", err
	}
	epoch, _ = values[0].ToString()
	if len(epoch) != epochSize {
		return t, "", nil
	}
	field, _ := values[1].ToString()
	_, encrypted, _ := strings.Cut(field, ":")
	sealed, ok := s.open(encrypted, &k, epoch)
	if !ok {
		return t, epoch, nil
	}
	expiry := c.pulse.Load().toLocal(sealed.expiry)
	if !expiry.After(time.Now()) {
		return t, epoch, nil
	}
	return searchtoken.Token{Value: sealed.value, Issued: expiry.Add(-sealed.life), Expiry: expiry}, epoch, nil
}

// readEntry returns the epoch of an entry and the field of a token, from the
// memory of this process if it may.
func (c *connection) readEntry(ctx context.Context, client rueidis.Client, k *tokenKey) ([]rueidis.RedisMessage, error) {
	command := client.B().Hmget().Key(k.entry).Field(epochField, k.tokenField())
	if !c.pulse.Load().isCurrent(time.Now()) {
		return client.Do(ctx, command.Build()).ToArray()
	}
	return client.DoCache(ctx, command.Cache().ToStaticTTL(), maxEntryLife).ToArray()
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
