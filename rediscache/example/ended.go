package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/redis/rueidis"
)

const (
	endedPrefix = "searchtoken-example:ended:"

	// maxEndedAge limits how long a process relies on an answer that it has in
	// memory. Usually Redis sends an invalidation message at once.
	maxEndedAge = time.Minute
)

// endedSessions implements site.EndedSessions for a fleet. Redis stores hashes
// of the session IDs.
type endedSessions struct{ client rueidis.Client }

// newEndedSessions succeeds even if Redis is down: rueidis connects when a
// command is sent.
func newEndedSessions(option rueidis.ClientOption) (*endedSessions, error) {
	option.ForceSingleClient = true // otherwise rueidis returns no client without a connection
	client, err := rueidis.NewClient(option)
	if client == nil {
		return nil, err
	}
	return &endedSessions{client}, nil
}

func endedKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return endedPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// End implements site.EndedSessions.
func (e *endedSessions) End(ctx context.Context, id string, life time.Duration) error {
	return e.client.Do(ctx, e.client.B().Set().Key(endedKey(id)).Value("1").Px(life).Build()).Error()
}

// Ended implements site.EndedSessions. It keeps the answer in memory until
// Redis sends an invalidation message.
func (e *endedSessions) Ended(ctx context.Context, id string) (bool, error) {
	err := e.client.DoCache(ctx, e.client.B().Get().Key(endedKey(id)).Cache(), maxEndedAge).Error()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil, err
}

// Close closes the connections.
func (e *endedSessions) Close() { e.client.Close() }
