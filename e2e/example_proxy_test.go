package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
)

// TestExampleSearchesThroughTheSite opens the pages of the example's site with
// its switch -proxy. They find alice's documents without a token.
func TestExampleSearchesThroughTheSite(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/jsui", "/atomic", "/headless"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(cfg *site.Config) {
				cfg.Proxy, cfg.Coveo.Params.SearchHub = true, "intranet"
			})
			b := openTab(t, w.url)
			b.logIn(alice)
			recorded := recordTraffic(b)
			b.open(path)
			waitFor(b, titles(alice, ""), "e2e.titles()")
			if diff := cmp.Diff([]string(nil), b.messages("error: violation: ")); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
			w.checkNoSecrets(t, recorded)
			w.checkAllCallsAreTheSites(t, alice)
		})
	}
}
