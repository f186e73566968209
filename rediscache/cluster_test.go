package rediscache_test

import (
	"fmt"
	"testing"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// TestCluster has users on all of three nodes, of which one dies.
func TestCluster(t *testing.T) {
	const users = 50
	nodes := redisserver.StartCluster(t, 3)
	issuer := &issuer{}
	site := fleet(t, 2, nodes[0].Addr, issuer)
	for user := range users {
		name := fmt.Sprint("user", user)
		if here, there := site[0].page(t, name), site[1].page(t, name); here != there {
			t.Errorf("%s has two tokens", name)
		}
	}
	if got := issuer.calls.Load(); got != users {
		t.Errorf("%d calls for %d users", got, users)
	}
	for i, node := range nodes {
		if keys := node.Do("DBSIZE"); keys == ":0\r\n" {
			t.Errorf("node %d has nobody", i)
		}
	}
	for user := range users {
		id := searchtoken.Email(fmt.Sprint("user", user))
		before := site[1].page(t, id.UserIDs[0].Name)
		if err := site[0].Forget(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		redisserver.Eventually(t, "forgotten", func() bool { return site[1].page(t, id.UserIDs[0].Name) != before })
	}
	for _, instance := range site {
		if log := instance.log.String(); log != "" {
			t.Errorf("it logged %s", log)
		}
	}

	instance := newInstance(t, newCacheOf(t, impatient(nodes[0].Addr, newSecret())), issuer)
	nodes[2].Kill()
	for user := range users {
		if instance.page(t, fmt.Sprint("user", user)) == "" {
			t.Error("no token")
		}
	}
}
