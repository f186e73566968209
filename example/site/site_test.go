package site_test

import (
	"strings"
	"testing"

	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestNewNamesTheBadField(t *testing.T) {
	tests := []struct {
		name   string
		change func(*site.Config)
		want   string
	}{
		{"a short session key", func(cfg *site.Config) { cfg.SessionKey = []byte("short") }, "SessionKey"},
		{"no API key", func(cfg *site.Config) { cfg.Coveo.APIKey = "" }, "APIKey"},
		{
			name:   "assets with a path",
			change: func(cfg *site.Config) { cfg.Assets = "https://cdn.example.com/path" },
			want:   `option "assets"`,
		},
		{"assets over plain http", func(cfg *site.Config) { cfg.Assets = "http://cdn.example.com" }, `option "assets"`},
		{"a malformed ID", func(cfg *site.Config) { cfg.IPXPageID = "../page" }, "coveoIPX"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			platform := searchtokentest.NewServer(searchtokentest.Config{})
			defer platform.Close()
			cfg := config(platform)
			test.change(&cfg)
			if _, err := site.New(cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one about %s", err, test.want)
			}
		})
	}
}
