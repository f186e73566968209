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

	// For so long at most a process takes its own word for it that a session goes
	// on. As a rule Redis tells it at once when the session ends.
	endedMemory = time.Minute
)

// endedSessions are the site.EndedSessions of a fleet, in Redis, which keeps
// hashes of their ids.
type endedSessions struct{ redis rueidis.Client }

// newEndedSessions also returns them if Redis is down: rueidis connects when it is
// used.
func newEndedSessions(option rueidis.ClientOption) (*endedSessions, error) {
	option.ForceSingleClient = true // or it returns no client without a connection
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
	return e.redis.Do(ctx, e.redis.B().Set().Key(endedKey(id)).Value("1").Px(life).Build()).Error()
}

// Ended implements site.EndedSessions. What it has asked once it knows without
// Redis, until Redis says that it has changed.
func (e *endedSessions) Ended(ctx context.Context, id string) (bool, error) {
	err := e.redis.DoCache(ctx, e.redis.B().Get().Key(endedKey(id)).Cache(), endedMemory).Error()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil, err
}

// Close closes the connections.
func (e *endedSessions) Close() { e.redis.Close() }
