package rediscache

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
)

// AllowRenewal implements [searchtoken.RenewalLimiter]. Redis counts the
// renewals, so the limit holds across all processes.
func (c *Cache) AllowRenewal(ctx context.Context, user searchtoken.UserKey, interval time.Duration, burst int) (
	wait time.Duration, err error,
) {
	err = c.conn.run(ctx, "count a renewal", func(ctx context.Context, client rueidis.Client) error {
		ms, err := allowRenewalScript.Exec(ctx, client, []string{c.secrets[0].renewalKey(user)},
			[]string{milliseconds(interval), strconv.Itoa(burst)}).AsInt64()
		wait = time.Duration(ms) * time.Millisecond
		return err
	})
	return wait, err
}
