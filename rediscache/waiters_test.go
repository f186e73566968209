package rediscache

import (
	"testing"
)

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// rueidis reports a lost connection with nil. That a single key wakes its
// waiters only is tested with Redis, in TestClaimEndsEarly.
func TestNilInvalidationWakesAllWaiters(t *testing.T) {
	var w waiters
	ann, unsubscribeAnn := w.subscribe("ann")
	bob, unsubscribeBob := w.subscribe("bob")
	defer unsubscribeAnn()
	defer unsubscribeBob()
	if isClosed(ann) || isClosed(bob) {
		t.Error("a waiter was woken before an invalidation")
	}
	w.onInvalidation(nil)
	if !isClosed(ann) || !isClosed(bob) {
		t.Error("a waiter was not woken")
	}
}

func TestWaitersForgetEntriesThatNobodyWaitsFor(t *testing.T) {
	var w waiters
	_, unsubscribeFirst := w.subscribe("ann")
	second, unsubscribeSecond := w.subscribe("ann")
	unsubscribeFirst()
	if len(w.entries) != 1 {
		t.Errorf("%d entries while one caller waits, want 1", len(w.entries))
	}
	w.onInvalidation(nil)
	if !isClosed(second) {
		t.Error("the second waiter was not woken after the first one left")
	}
	third, unsubscribeThird := w.subscribe("ann")
	unsubscribeSecond() // must not end the subscription that began after the change
	if len(w.entries) != 1 || isClosed(third) {
		t.Error("a late unsubscribe ended another caller's subscription")
	}
	unsubscribeThird()
	if len(w.entries) != 0 {
		t.Errorf("%d entries while nobody waits, want 0", len(w.entries))
	}
}
