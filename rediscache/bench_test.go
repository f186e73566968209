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

// tokenSize is the usual size of Coveo's tokens, in bytes.
const tokenSize = 1000

// BenchmarkGet measures four cases in turn:
//
//   - local (ns/op): a hit in the memory of the process
//   - base: a hit in a MemoryCache; x is local divided by base
//   - redis: a hit that Redis answers
//   - cold: the first page of a user, with an Issuer that takes no time
func BenchmarkGet(b *testing.B) {
	const turn = 500
	redis := redisserver.Start(b)
	cfg := patientConfig(redis.Addr, newSecret())
	setter, local := newCache(b, cfg), newCache(b, cfg)
	memory := searchtoken.NewMemoryCache(0)
	token := newToken(strings.Repeat("t", tokenSize), 24*time.Hour)
	site := newInstance(b, newCache(b, cfg), &countingIssuer{})
	run := 0
	users := func() (keys []searchtoken.Key) {
		run++
		for i := range turn {
			keys = append(keys, testKey(fmt.Sprint(run, " ", i), ""))
		}
		return keys
	}
	gets := func(c searchtoken.Cache, keys []searchtoken.Key) {
		for _, key := range keys {
			if token, _, err := c.Get(b.Context(), key); token.Value == "" || err != nil {
				b.Fatalf("not a hit: %v", err)
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
			mustSet(b, setter, key, token)
			if kept, err := memory.Set(b.Context(), key, token, 0); !kept || err != nil {
				b.Fatalf("MemoryCache.Set: kept %v, error %v", kept, err)
			}
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

// BenchmarkFleet counts the calls of Coveo when each of 1,000 users requests
// five pages from five instances. With rediscache it also measures what a user
// costs in Redis.
func BenchmarkFleet(b *testing.B) {
	const instances, users, pages = 5, 1000, 5
	for _, routing := range []struct {
		name     string
		instance func(user, page int) int
	}{
		{"round-robin", func(user, page int) int { return user + page }},
		{"sticky", func(user, _ int) int { return user }},
	} {
		visit := func(b *testing.B, fleet []*instance) {
			for page := range pages {
				for user := range users {
					fleet[routing.instance(user, page)%instances].page(b, fmt.Sprint("user", user))
				}
			}
		}
		b.Run(routing.name+"/separate caches", func(b *testing.B) {
			issuer := &countingIssuer{}
			for b.Loop() {
				var fleet []*instance
				for range instances {
					fleet = append(fleet, newInstance(b, searchtoken.NewMemoryCache(0), issuer))
				}
				visit(b, fleet)
			}
			b.ReportMetric(float64(issuer.calls.Load())/float64(b.N), "calls")
		})
		b.Run(routing.name+"/rediscache", func(b *testing.B) {
			redis := redisserver.Start(b)
			admin := newAdmin(b, redis.Addr)
			issuer := &countingIssuer{minSize: tokenSize}
			var bytes, commands int
			for b.Loop() {
				do(b, admin, "FLUSHALL")
				fleet := newFleet(b, instances, patientConfig(redis.Addr, newSecret()), issuer)
				fleet[0].page(b, "somebody else") // waits for the connection
				bytesBefore := info(b, admin, "used_memory_dataset:")
				commandsBefore := info(b, admin, "total_commands_processed:")
				visit(b, fleet)
				bytes += info(b, admin, "used_memory_dataset:") - bytesBefore
				commands += info(b, admin, "total_commands_processed:") - commandsBefore
			}
			b.ReportMetric(float64(issuer.calls.Load())/float64(b.N)-1, "calls")
			b.ReportMetric(float64(bytes)/float64(b.N)/users, "B/user")
			b.ReportMetric(float64(commands)/float64(b.N)/users, "commands/user")
		})
	}
}

// info returns a number from the INFO of Redis.
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
