package rediscache

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBreakerAllowsOneAttemptPerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		down := errors.New("connection refused")
		check := func(when string, want error) {
			t.Helper()
			if got := b.allow(); got != want {
				t.Errorf("%s: allow returned %v, want %v", when, got, want)
			}
		}
		check("at the beginning", nil)
		b.fail(down)
		check("after a failure", down)
		time.Sleep(retryInterval - time.Nanosecond)
		check("just before the interval has passed", down)
		time.Sleep(time.Nanosecond)
		check("after the interval", nil)
		check("a second operation at the same time", down)
		time.Sleep(retryInterval)
		check("if the attempt does not end within the interval", nil)

		b.fail(down)
		if !b.isOpen() {
			t.Error("the breaker is closed after a failure")
		}
		b.succeed()
		if b.isOpen() {
			t.Error("the breaker is open after a success")
		}
		check("after a success", nil)
		check("a second operation after a success", nil)
	})
}

func TestBreakerReturnsTheLatestError(t *testing.T) {
	var b breaker
	first, second := errors.New("timeout"), errors.New("connection refused")
	b.fail(first)
	b.fail(second)
	if got := b.allow(); got != second {
		t.Errorf("allow returned %v, want %v", got, second)
	}
}
