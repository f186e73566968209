package rediscache

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
)

const (
	// How long an entry may stay in this process's memory, by a clock that Redis
	// shortens to the entry's own life: that must be the shorter.
	longestLocal = 48 * time.Hour // as the scripts have it

	// An application whose Prepare never asks for the same twice fills no more
	// than this.
	maxTokensPerUser = 64
)

// Get implements searchtoken.Cache. What is not a token of this Cache, or does not
// open, is none.
func (c *Cache) Get(ctx context.Context, key searchtoken.Key) (t searchtoken.Token, epoch uint64, err error) {
	if c.outage.Load() != nil {
		if t, epoch, ok := c.inMemory(ctx, &key); ok {
			return t, epoch, nil
		}
	}
	err = c.do(ctx, func(ctx context.Context, redis rueidis.Client) error {
		token, e, err := c.read(ctx, redis, c.secrets[0], &key)
		if err == nil && e == "" {
			e, err = beginScript.Exec(ctx, redis, []string{c.entry(c.secrets[0], key.User)}, []string{newEpoch()}).ToString()
		}
		// After the epoch: a Forget ends it when all tokens are gone.
		for _, s := range c.secrets[1:] {
			if err != nil || token.Value != "" {
				break
			}
			token, _, err = c.read(ctx, redis, s, &key)
		}
		if err != nil {
			return err
		}
		t, epoch = token, epochNumber(e)
		return nil
	})
	return t, epoch, err
}

// inMemory is a Get that does not ask Redis.
func (c *Cache) inMemory(ctx context.Context, key *searchtoken.Key) (t searchtoken.Token, epoch uint64, ok bool) {
	select {
	case <-c.connected:
	default:
		return t, 0, false
	}
	// Without time, rueidis answers out of its memory, or not at all.
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	t, e, err := c.read(ctx, c.redis, c.secrets[0], key)
	if err != nil || t.Value == "" {
		return searchtoken.Token{}, 0, false
	}
	return t, epochNumber(e), true
}

// read returns the token under key, as named and sealed with s, and the entry's
// epoch; zero values where there is none.
func (c *Cache) read(ctx context.Context, redis rueidis.Client, s *secret, key *searchtoken.Key) (t searchtoken.Token, epoch string, err error) {
	p := c.place(s, key)
	answer := redis.DoCache(ctx, redis.B().Hmget().Key(p.name).Field("e", "x", p.token()).Cache(), longestLocal)
	values, err := answer.ToArray()
	if err, answered := rueidis.IsRedisErr(err); answered && strings.HasPrefix(err.Error(), "WRONGTYPE") {
		return t, "", nil
	}
	if err != nil || len(values) != 3 {
		return t, "", err
	}
	epoch, _ = values[0].ToString()
	expires, err := values[1].AsInt64()
	if len(epoch) != epochSize || err != nil {
		return t, "", nil
	}
	field, _ := values[2].ToString() // of Redis's clock, as expires is
	at, sealed, _ := strings.Cut(field, ":")
	until, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return t, epoch, nil
	}
	value, life, ok := s.open(sealed, &p, epoch)
	if !ok {
		return t, epoch, nil
	}
	// The entry's expiry is known by both clocks: their difference is none of the
	// token's. Where somebody has changed it, the token lives no longer for it.
	now := time.Now()
	expiry := time.UnixMilli(answer.CachePXAT() + until - expires)
	if latest := now.Add(life); expiry.After(latest) {
		expiry = latest
	}
	if !expiry.After(now) {
		return t, epoch, nil
	}
	return searchtoken.Token{Value: value, Issued: expiry.Add(-life), Expiry: expiry}, epoch, nil
}

// Set implements searchtoken.Cache. Of more than 64 tokens of a user the first to
// expire goes.
func (c *Cache) Set(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (kept bool, err error) {
	s := c.secrets[0]
	p, e := c.place(s, &key), epochText(epoch)
	err = c.do(ctx, func(ctx context.Context, redis rueidis.Client) (err error) {
		kept, err = setScript.Exec(ctx, redis, []string{p.name}, []string{
			e, p.token(), p.claim(), s.seal(t, &p, e), milliseconds(time.Until(t.Expiry)), strconv.Itoa(maxTokensPerUser),
		}).AsBool()
		if err == nil {
			err = redis.Do(ctx, settle(redis, p.name)).Error()
		}
		return err
	})
	return kept, err
}

// settle is a command whose answer comes after Redis's message that the entry has
// changed: this process's own memory has lost it by then.
func settle(redis rueidis.Client, name string) rueidis.Completed {
	return redis.B().Exists().Key(name).Build()
}

// Forget implements searchtoken.Cache; the package's documentation says what it
// guarantees.
func (c *Cache) Forget(ctx context.Context, user searchtoken.UserKey) error {
	// Even while Redis is taken for out of reach: nobody asks again for a user.
	return c.try(ctx, forgetTimeout, func(ctx context.Context, redis rueidis.Client) error {
		var commands rueidis.Commands
		for _, s := range slices.Backward(c.secrets) { // the first, which has the epoch, last
			name := c.entry(s, user)
			commands = append(commands, redis.B().Del().Key(name).Build(), settle(redis, name))
		}
		for _, answer := range redis.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

// newEpoch is one that no entry has had.
func newEpoch() string {
	var e [epochSize]byte
	_, _ = rand.Read(e[:]) // never fails
	return string(e[:])
}

func epochNumber(e string) uint64 { return binary.BigEndian.Uint64([]byte(e)) }

func epochText(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
