// Example is the search site of the root module's example as one of a fleet:
//
//	go run ./rediscache/example -redis localhost:6379
//
// All that are started with the same SESSION_KEY on the same Redis share sessions
// and tokens: who logs in on one is logged in on all, searches there with the same
// token, and is logged out of all at once. -h lists all flags and environment
// variables.
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

const about = `Those with the same -redis and the same SESSION_KEY, which is required, are a
fleet: they share sessions and tokens.
`

func main() {
	var address string
	app.App{
		About: about,
		Flags: func(flags *flag.FlagSet) {
			flags.StringVar(&address, "redis", "", "the fleet's Redis, an `address` or a redis:// or rediss:// URL (required)")
		},
		Configure: func(cfg *site.Config) (func(), error) { return join(cfg, address) },
	}.Main()
}

// join makes the site one of the fleet with its session key, on the Redis at that
// address.
func join(cfg *site.Config, address string) (leave func(), err error) {
	if cfg.SessionKey == nil {
		return nil, errors.New("SESSION_KEY is missing: all of a fleet need the same; openssl rand -hex 32 makes one")
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

// clientOption reads the address of Redis. Its errors do not repeat it: there may
// be a password in it.
func clientOption(address string) (rueidis.ClientOption, error) {
	if address == "" {
		return rueidis.ClientOption{}, errors.New("-redis is missing: the address of the fleet's Redis, localhost:6379 for example")
	}
	if !strings.Contains(address, "://") {
		address = "redis://" + address
	}
	option, err := rueidis.ParseURL(address)
	if err != nil {
		return rueidis.ClientOption{}, errors.New("-redis: is neither an address, localhost:6379 for example, nor a redis:// or rediss:// URL")
	}
	return option, nil
}
