package redisserver

import (
	"testing"
	"time"
)

// Eventually calls condition until it returns true. After 10 seconds it fails
// the test with what, a sentence such as "the server answers".
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	const limit = 10 * time.Second
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(limit); !condition(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
