package rediscache_test

import (
	"strings"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

func TestRedisStoresNothingReadable(t *testing.T) {
	// Compressed answers of DUMP would hide text.
	redis := redisserver.Start(t, "--rdbcompression", "no")
	admin, c := newAdmin(t, redis.Addr), newCache(t, patientConfig(redis.Addr, newSecret()))
	site := newInstance(t, c, &countingIssuer{})
	token := site.page(t, "ann@example.com")
	site.renew(token, "ann@example.com")
	key := testKey("ann@example.com", "")
	mustSet(t, c, key, newToken("secret", time.Hour))
	do(t, admin, "SET", "control", "readable")

	var all strings.Builder
	for _, name := range redisKeys(t, admin) {
		dump, err := do(t, admin, "DUMP", name).ToString()
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(name + dump)
	}
	if !strings.Contains(all.String(), "readable") {
		t.Fatal("text in Redis is not found: this test cannot fail")
	}
	for _, secret := range []string{"ann", "example", "secret", token, string(key.User[:]), string(key.Params[:])} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("Redis stores %q", secret)
		}
	}
}

func TestNamesDependOnTheSecret(t *testing.T) {
	redis := redisserver.Start(t)
	for range 2 {
		cached(t, newCache(t, patientConfig(redis.Addr, newSecret())), testKey("ann", ""))
	}
	if keys := redisKeys(t, newAdmin(t, redis.Addr)); len(keys) != 2 {
		t.Errorf("Redis has the keys %q, want one for each secret", keys)
	}
}

// Otherwise Redis would reveal which users have the same grant.
func TestGrantOfTwoUsersHasDifferentFields(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	fields := map[string]bool{}
	for _, user := range []string{"ann", "bob"} {
		mustSet(t, c, testKey(user, "all"), newToken("secret", time.Hour))
	}
	for _, entry := range redisKeys(t, admin) {
		fields[onlyTokenField(t, admin, entry)] = true
	}
	if len(fields) != 2 {
		t.Errorf("the entries have %d different fields, want 2", len(fields))
	}
}
