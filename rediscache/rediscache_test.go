package rediscache_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

func TestMethodsFailAfterClose(t *testing.T) {
	redis := redisserver.Start(t)
	c, key := newCache(t, patientConfig(redis.Addr, newSecret())), testKey("ann", "")
	mustSet(t, c, key, newToken("secret", time.Hour))
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Get(t.Context(), testKey("bob", "")); err == nil {
		t.Error("Get returned no error after Close")
	}
	if err := c.Forget(t.Context(), key.User); err == nil {
		t.Error("Forget returned no error after Close")
	}
}

func TestCloseDoesNotWaitForRedis(t *testing.T) {
	c := newCache(t, defaultConfig(redisserver.FreeAddr(t), newSecret()))
	if answers(t, c)() {
		t.Fatal("Redis answers although nothing listens")
	}
	began := time.Now()
	var closing sync.WaitGroup
	for range 2 {
		closing.Go(func() { c.Close() })
	}
	closing.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestCloseDisconnects(t *testing.T) {
	redis := redisserver.Start(t)
	admin := newAdmin(t, redis.Addr)
	clients := func() int {
		list, err := do(t, admin, "CLIENT", "LIST").ToString()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "id=")
	}
	before := clients()
	c := newCache(t, patientConfig(redis.Addr, newSecret()))
	redisserver.Eventually(t, "the cache is connected", answers(t, c))
	if clients() <= before {
		t.Fatal("Redis has no connection of the cache")
	}
	c.Close()
	redisserver.Eventually(t, "the connections are closed", func() bool { return clients() == before })
}
