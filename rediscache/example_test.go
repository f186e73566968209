package rediscache_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gorilla/sessions"
	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
)

// A search site that runs on several machines. All of them have the same
// environment variables.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// run serves the site until ctx is done.
func run(ctx context.Context) error {
	secret, err := hex.DecodeString(os.Getenv("CACHE_SECRET")) // create one with: openssl rand -hex 32
	if err != nil {
		return errors.New("CACHE_SECRET is not hexadecimal")
	}
	cache, err := rediscache.New(rediscache.Config{
		Client: rueidis.ClientOption{
			InitAddress: []string{os.Getenv("REDIS_ADDR")},
			Password:    os.Getenv("REDIS_PASSWORD"),
		},
		Secrets: [][]byte{secret},
	})
	if err != nil {
		return err
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
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(http.HandlerFunc(search)))
	server := &http.Server{Addr: ":8080", Handler: mux}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}

	// Stop the server first, then the Middleware, and the cache last.
	limit, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(limit), coveo.Shutdown(limit))
}

// search renders a page. The token is in r's context, as with any other cache.
func search(w http.ResponseWriter, r *http.Request) {
	page, ok := searchtoken.FromContext(r.Context())
	if !ok {
		http.Error(w, "no search token", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "The token expires at %s.\n", page.Token.Expiry.Format(time.RFC3339))
}
