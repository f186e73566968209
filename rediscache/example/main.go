// Example runs the search site of the root module's example on several
// machines, which share one Redis:
//
//	go run ./rediscache/example -redis localhost:6379
//
// All processes with the same Redis and the same SESSION_KEY form a fleet. A
// user who logs in at one process is logged in at all of them, uses the same
// token at all of them, and is logged out of all of them at once. The flag -h
// lists all flags and environment variables.
package main

import (
	"errors"
	"flag"
	"strings"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken/example/app"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/rediscache"
)

const about = `All processes with the same -redis and the same SESSION_KEY form a fleet: they
share sessions and tokens. Both are required.
`

func main() {
	var address string
	app.App{
		About: about,
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&address, "redis", "", "`address` or redis:// or rediss:// URL of the fleet's Redis (required)")
		},
		Configure: func(cfg *site.Config) (func(), error) { return joinFleet(cfg, address) },
	}.Main()
}

// joinFleet makes the site share tokens and ended sessions with all sites that
// have the same session key and use the Redis at address. leave closes the
// connections.
func joinFleet(cfg *site.Config, address string) (leave func(), err error) {
	if cfg.SessionKey == nil {
		return nil, errors.New("SESSION_KEY is required, with the same value in every process of the fleet; " +
			"create one with: openssl rand -hex 32")
	}
	option, err := clientOption(address)
	if err != nil {
		return nil, err
	}
	ended, err := newEndedSessions(option)
	if err != nil {
		return nil, err
	}
	cache, err := rediscache.New(rediscache.Config{
		Client:  option,
		Secrets: [][]byte{app.DeriveKey(cfg.SessionKey, "cached tokens")},
	})
	if err != nil {
		ended.Close()
		return nil, err
	}
	cfg.EndedSessions, cfg.Coveo.Cache = ended, cache
	return func() {
		cache.Close()
		ended.Close()
	}, nil
}

// clientOption parses the address of Redis. Its errors do not quote the
// address, which may contain a password.
func clientOption(address string) (rueidis.ClientOption, error) {
	if address == "" {
		return rueidis.ClientOption{}, errors.New("-redis is required: the address of Redis, for example localhost:6379")
	}
	if !strings.Contains(address, "://") {
		address = "redis://" + address
	}
	option, err := rueidis.ParseURL(address)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("-redis is neither an address, for example localhost:6379, " +
			"nor a redis:// or rediss:// URL")
	}
	return option, nil
}
