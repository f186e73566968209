package rediscache

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
)

const (
	// claimLife is the time after which the claim of a dead process ends. A
	// live process extends its claims three times as often.
	claimLife = 2 * time.Second

	// maxClaimWait limits the wait for another process's claim, in case Redis's
	// message is lost.
	maxClaimWait = 500 * time.Millisecond
)

// Claim implements [searchtoken.Claimer]. If a process dies, its claims end
// within 2 seconds.
func (c *Cache) Claim(ctx context.Context, key searchtoken.Key) (release func(), err error) {
	k := c.secrets[0].tokenKey(&key)
	holder := rand.Text()
	changed, unsubscribe := c.waiters.subscribe(k.entry)
	defer unsubscribe()
	var remaining int64 // of another process's claim, in milliseconds
	err = c.conn.run(ctx, "claim a fetch", func(ctx context.Context, client rueidis.Client) (err error) {
		// Redis sends an invalidation message only for an entry that was read.
		if _, _, err = c.conn.readToken(ctx, client, c.secrets[0], &key); err != nil {
			return err
		}
		remaining, err = claimScript.Exec(ctx, client, []string{k.entry},
			[]string{randomEpoch(), k.claimField(), holder, milliseconds(claimLife)}).AsInt64()
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case remaining == 0:
		return c.keepClaim(&k, holder), nil
	}
	timeout := time.NewTimer(min(time.Duration(remaining)*time.Millisecond, maxClaimWait))
	defer timeout.Stop()
	select {
	case <-changed:
	case <-timeout.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nil, nil
}

// keepClaim extends a claim in the background until release or Close is called,
// and then ends it.
func (c *Cache) keepClaim(k *tokenKey, holder string) (release func()) {
	extend := func(life time.Duration) {
		// Ignore errors: a lost claim only costs one extra call of Coveo.
		_ = c.conn.run(context.Background(), "extend a claim", func(ctx context.Context, client rueidis.Client) error {
			args := []string{k.claimField(), holder, milliseconds(life)}
			return extendClaimScript.Exec(ctx, client, []string{k.entry}, args).Error()
		})
	}
	released := make(chan struct{})
	c.background.Go(func() {
		ticker := time.NewTicker(claimLife / 3)
		defer ticker.Stop()
		defer extend(0)
		for {
			select {
			case <-ticker.C:
				extend(claimLife)
			case <-released:
				return
			case <-c.closing:
				return
			}
		}
	})
	return func() { close(released) }
}
