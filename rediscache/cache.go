package rediscache

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
)

const (
	// maxTokensPerUser bounds the size of an entry if Prepare returns different
	// params each time.
	maxTokensPerUser = 4000

	// forgetTimeout limits Forget, unless the caller's context ends before.
	forgetTimeout = 5 * time.Second
)

// Get implements [searchtoken.Cache]. An entry that is malformed or cannot be
// decrypted counts as missing. During an outage of Redis, Get still returns
// tokens from the memory of this process.
func (c *Cache) Get(ctx context.Context, key searchtoken.Key) (t searchtoken.Token, epoch uint64, err error) {
	if c.conn.breaker.isOpen() {
		if t, epoch, ok := c.getFromMemory(ctx, &key); ok {
			return t, epoch, nil
		}
	}
	err = c.conn.run(ctx, "read a token", func(ctx context.Context, client rueidis.Client) error {
		token, e, err := c.conn.readToken(ctx, client, c.secrets[0], &key)
		if err == nil && e == "" {
			e, err = epochScript.Exec(ctx, client, []string{c.secrets[0].entryKey(key.User)}, []string{randomEpoch()}).ToString()
		}
		// Read under the other secrets after the epoch: Forget removes the
		// epoch last, so a token that it removes is never returned with a later
		// epoch.
		for _, s := range c.secrets[1:] {
			if err != nil || token.Value != "" {
				break
			}
			token, _, err = c.conn.readToken(ctx, client, s, &key)
		}
		if err != nil {
			return err
		}
		t, epoch = token, epochNumber(e)
		return nil
	})
	return t, epoch, err
}

// getFromMemory returns a token that this process holds in memory, without
// asking Redis. ok is false if it holds none.
func (c *Cache) getFromMemory(ctx context.Context, key *searchtoken.Key) (t searchtoken.Token, epoch uint64, ok bool) {
	client := c.conn.clientIfConnected()
	if client == nil {
		return t, 0, false
	}
	// Given a context that is done, readToken answers from memory or fails.
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	t, e, err := c.conn.readToken(ctx, client, c.secrets[0], key)
	if err != nil || t.Value == "" {
		return searchtoken.Token{}, 0, false
	}
	return t, epochNumber(e), true
}

// Set implements [searchtoken.Cache]. It keeps at most 4,000 tokens per user.
// For another one it removes one that expires soon: the first to expire of a
// few that it looks at.
func (c *Cache) Set(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (kept bool, err error) {
	s := c.secrets[0]
	k, e := s.tokenKey(&key), epochBytes(epoch)
	err = c.conn.run(ctx, "store a token", func(ctx context.Context, client rueidis.Client) (err error) {
		sealed := sealedToken{t.Value, c.conn.pulse.Load().toRedis(t.Expiry), t.Expiry.Sub(t.Issued)}
		kept, err = setScript.Exec(ctx, client, []string{k.entry}, []string{
			e, k.tokenField(), k.claimField(), s.seal(&sealed, &k, e), strconv.FormatInt(sealed.expiry, 10),
		}).AsBool()
		if err == nil {
			err = client.Do(ctx, barrier(client, k.entry)).Error()
		}
		return err
	})
	return kept, err
}

// Forget implements [searchtoken.Cache]. The package documentation says what it
// guarantees. An error means that tokens of the user may still be in Redis.
func (c *Cache) Forget(ctx context.Context, user searchtoken.UserKey) error {
	// Try even while the breaker is open: nobody repeats a Forget.
	return c.conn.runAlways(ctx, forgetTimeout, "forget a user", func(ctx context.Context, client rueidis.Client) error {
		var commands rueidis.Commands
		for _, s := range slices.Backward(c.secrets) { // the first, which has the epoch, last
			entry := s.entryKey(user)
			commands = append(commands, client.B().Del().Key(entry).Build(), barrier(client, entry))
		}
		for _, answer := range client.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

// barrier returns a command to send after a change of entry. Redis sends its
// invalidation message before the answer, so once the answer is here, this
// process has dropped the entry from its memory.
func barrier(client rueidis.Client, entry string) rueidis.Completed {
	return client.B().Exists().Key(entry).Build()
}
