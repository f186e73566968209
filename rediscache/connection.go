package rediscache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// connection runs operations on Redis. It connects in the background, and while
// Redis fails it returns errors without waiting. It is safe for concurrent use.
type connection struct {
	timeout time.Duration // limits run
	breaker breaker

	connected  chan struct{}         // closed when client and pulse are set
	client     rueidis.Client        // may be read only after connected is closed
	pulse      atomic.Pointer[pulse] // the latest
	connectErr atomic.Pointer[error] // of the latest failed attempt to connect
}

// operation is a group of commands that is run with one timeout.
type operation func(ctx context.Context, client rueidis.Client) error

func newConnection(timeout time.Duration) *connection {
	return &connection{timeout: timeout, connected: make(chan struct{})}
}

// connect tries to connect until it succeeds, and then takes the pulse of Redis
// until stop is closed. rueidis reconnects by itself.
func (c *connection) connect(option rueidis.ClientOption, stop <-chan struct{}) {
	for {
		var first pulse
		client, err := rueidis.NewClient(option)
		if err == nil {
			first, err = takePulse(context.Background(), client, pulse{})
		}
		if err == nil {
			c.pulse.Store(&first)
			c.client = client
			close(c.connected)
			c.keepPulse(stop)
			return
		}
		if client != nil {
			client.Close()
		}
		c.connectErr.Store(&err)
		select {
		case <-time.After(retryInterval):
		case <-stop:
			return
		}
	}
}

// keepPulse updates the pulse until stop is closed.
func (c *connection) keepPulse(stop <-chan struct{}) {
	ticker := time.NewTicker(pulseInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			// Ignore errors: whoever uses Redis meets them.
			if p, err := takePulse(context.Background(), c.client, *c.pulse.Load()); err == nil {
				c.pulse.Store(&p)
			}
		case <-stop:
			return
		}
	}
}

// close closes the client, if there is one. connect must have returned.
func (c *connection) close() {
	if client := c.clientIfConnected(); client != nil {
		client.Close()
	}
}

// clientIfConnected returns nil before the first connection is established. It
// does not wait.
func (c *connection) clientIfConnected() rueidis.Client {
	select {
	case <-c.connected:
		return c.client
	default:
		return nil
	}
}

// waitForClient waits until the first connection is established. If ctx ends
// before, the error says why the latest attempt to connect failed.
func (c *connection) waitForClient(ctx context.Context) (rueidis.Client, error) {
	if client := c.clientIfConnected(); client != nil {
		return client, nil
	}
	select {
	case <-c.connected:
		return c.client, nil
	case <-ctx.Done():
		if err := c.connectErr.Load(); err != nil {
			return nil, *err
		}
		return nil, ctx.Err()
	}
}

// run runs op, unless the breaker is open: then it returns an error at once.
// The error starts with "rediscache: cannot" and action, such as "read a
// token".
func (c *connection) run(ctx context.Context, action string, op operation) error {
	if err := c.breaker.allow(); err != nil {
		return fmt.Errorf("rediscache: cannot %s: Redis is unavailable: %w", action, err)
	}
	return c.runAlways(ctx, c.timeout, action, op)
}

// runAlways runs op even if the breaker is open, and reports to the breaker
// whether Redis answered.
func (c *connection) runAlways(ctx context.Context, timeout time.Duration, action string, op operation) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := c.waitForClient(limited)
	if err == nil {
		err = op(limited, client)
	}
	_, answered := rueidis.IsRedisErr(err)
	switch {
	case err == nil || answered:
		c.breaker.succeed()
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		// The caller gave up first: this says nothing about Redis.
	default:
		c.breaker.fail(err)
	}
	if err != nil {
		return fmt.Errorf("rediscache: cannot %s: %w", action, err)
	}
	return nil
}
