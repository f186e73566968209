package rediscache_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// tokenSize is what Coveo's tokens have, in bytes.
const tokenSize = 1000

// BenchmarkGet measures a hit in process memory without rediscache (base), a hit in
// rediscache's own memory (local, and x), one that Redis answers, and a first
// request with all that a fleet agrees on (cold, with an Issuer that takes no time).
// They run by turns.
func BenchmarkGet(b *testing.B) {
	const turn = 500
	redis := redisserver.Start(b)
	secret := newSecret()
	setter, local := newCache(b, redis.Addr, secret), newCache(b, redis.Addr, secret)
	memory := searchtoken.NewMemoryCache(0)
	token := tokenOf(strings.Repeat("t", tokenSize), 24*time.Hour)
	site := newInstance(b, newCache(b, redis.Addr, secret), &issuer{})
	run := 0
	users := func() (keys []searchtoken.Key) {
		run++
		for i := range turn {
			keys = append(keys, keyOf(fmt.Sprint(run, " ", i), ""))
		}
		return keys
	}
	gets := func(c searchtoken.Cache, keys []searchtoken.Key) {
		for _, key := range keys {
			if token, _, err := c.Get(b.Context(), key); token.Value == "" || err != nil {
				b.Fatalf("no hit: %v", err)
			}
		}
	}
	spent := map[string][]time.Duration{}
	measure := func(name string, run func()) {
		began := time.Now()
		run()
		spent[name] = append(spent[name], time.Since(began))
	}
	b.ResetTimer()
	for done := 0; done < b.N; done += turn {
		keys := users()
		for _, key := range keys {
			set(b, setter, key, token)
			_, _ = memory.Set(b.Context(), key, token, 0)
		}
		measure("redis", func() { gets(local, keys) })
		measure("local", func() { gets(local, keys) })
		measure("base", func() { gets(memory, keys) })
		measure("cold", func() {
			for i := range turn {
				site.page(b, fmt.Sprint(run, " ", i))
			}
		})
	}
	median := func(name string) float64 {
		slices.Sort(spent[name])
		return float64(spent[name][len(spent[name])/2]) / turn
	}
	b.ReportMetric(median("local"), "ns/op")
	b.ReportMetric(median("base"), "base-ns/op")
	b.ReportMetric(median("local")/median("base"), "x")
	b.ReportMetric(median("redis"), "redis-ns/op")
	b.ReportMetric(median("cold"), "cold-ns/op")
}

// BenchmarkFleet has 1,000 users see five pages each, by way of five instances, and
// counts the calls of Coveo. With rediscache it also counts what each user costs
// Redis.
func BenchmarkFleet(b *testing.B) {
	const instances, users, pages = 5, 1000, 5
	for _, routing := range []struct {
		name string
		to   func(user, page int) int
	}{
		{"round-robin", func(user, page int) int { return user + page }},
		{"sticky", func(user, _ int) int { return user }},
	} {
		visit := func(b *testing.B, site []*instance) {
			for page := range pages {
				for user := range users {
					site[routing.to(user, page)%instances].page(b, fmt.Sprint("user", user))
				}
			}
		}
		b.Run(routing.name+"/each its own", func(b *testing.B) {
			issuer := &issuer{}
			for b.Loop() {
				var site []*instance
				for range instances {
					site = append(site, newInstance(b, searchtoken.NewMemoryCache(0), issuer))
				}
				visit(b, site)
			}
			b.ReportMetric(float64(issuer.calls.Load())/float64(b.N), "calls")
		})
		b.Run(routing.name+"/rediscache", func(b *testing.B) {
			redis := redisserver.Start(b)
			admin := newClient(b, redis.Addr)
			issuer := &issuer{size: tokenSize}
			var bytes, commands int
			for b.Loop() {
				do(b, admin, "FLUSHALL")
				site := fleet(b, instances, redis.Addr, issuer)
				site[0].page(b, "the first, who waits for the connection")
				before, commandsBefore := info(b, admin, "used_memory_dataset:"), info(b, admin, "total_commands_processed:")
				visit(b, site)
				bytes += info(b, admin, "used_memory_dataset:") - before
				commands += info(b, admin, "total_commands_processed:") - commandsBefore
			}
			b.ReportMetric(float64(issuer.calls.Load())/float64(b.N)-1, "calls")
			b.ReportMetric(float64(bytes)/float64(b.N)/users, "B/user")
			b.ReportMetric(float64(commands)/float64(b.N)/users, "commands/user")
		})
	}
}

// info is a number that Redis tells of itself.
func info(b *testing.B, admin rueidis.Client, field string) int {
	b.Helper()
	text, err := do(b, admin, "INFO").ToString()
	if err != nil {
		b.Fatal(err)
	}
	_, text, _ = strings.Cut(text, field)
	text, _, _ = strings.Cut(text, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
