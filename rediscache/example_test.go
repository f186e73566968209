package rediscache_test

import (
	"context"
	"encoding/hex"
	"log"
	"net/http"
	"os"

	"github.com/gorilla/sessions"
	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
)

// One instance of a site: all of them have the same environment.
func Example() {
	secret, err := hex.DecodeString(os.Getenv("CACHE_SECRET")) // openssl rand -hex 32
	if err != nil {
		log.Fatal("CACHE_SECRET is not hexadecimal")
	}
	cache, err := rediscache.New(rediscache.Config{
		Client:  rueidis.ClientOption{InitAddress: []string{os.Getenv("REDIS_ADDR")}, Password: os.Getenv("REDIS_PASSWORD")},
		Secrets: [][]byte{secret},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer cache.Close()

	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: os.Getenv("COVEO_ORGANIZATION_ID"),
		APIKey:         os.Getenv("COVEO_API_KEY"),
		Identify:       searchtoken.SessionEmail(store, "session", "email"),
		Cache:          cache,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer coveo.Shutdown(context.Background()) // before the cache

	http.Handle("GET /search", coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As with any other Cache.
	})))
}
