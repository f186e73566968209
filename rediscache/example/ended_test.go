package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

func TestEndedSessionsAreKnownToTheFleet(t *testing.T) {
	const gone, good = "id-that-ends", "id-that-goes-on"
	redis := redisserver.Start(t)
	var fleet []*endedSessions
	for range 2 {
		ended, err := newEndedSessions(rueidis.ClientOption{InitAddress: []string{redis.Addr}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(ended.Close)
		fleet = append(fleet, ended)
	}
	ask := func() (answers []bool) {
		t.Helper()
		for _, ended := range fleet {
			for _, id := range []string{gone, good} {
				answer, err := ended.Ended(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				answers = append(answers, answer)
			}
		}
		return answers
	}
	if diff := cmp.Diff([]bool{false, false, false, false}, ask()); diff != "" {
		t.Errorf("before End (-want +got):\n%s", diff)
	}
	if err := fleet[0].End(t.Context(), gone, time.Hour); err != nil {
		t.Fatal(err)
	}
	want := []bool{true, false, true, false}
	redisserver.Eventually(t, "both processes know", func() bool { return cmp.Equal(want, ask()) })

	redis.Signal(syscall.SIGSTOP)
	if diff := cmp.Diff(want, ask()); diff != "" {
		t.Errorf("from memory, while Redis is stopped (-want +got):\n%s", diff)
	}
	redis.Signal(syscall.SIGCONT)
	if keys := redis.Do("KEYS", "*"); !strings.Contains(keys, endedKey(gone)) || strings.Contains(keys, gone) {
		t.Errorf("Redis has the keys %q, want a hash of the ID", keys)
	}
	if life := strings.TrimSpace(redis.Do("TTL", endedKey(gone))); life != ":3600" && life != ":3599" {
		t.Errorf("Redis remembers the session for %s seconds, want 3600", life)
	}
}
