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
			b := w.visit(t, path)
			if diff := cmp.Diff([]string(nil), b.messages("error: violation: ")); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
			w.checkBrowserHasNoToken(t, b)
			w.checkAllCallsAreTheSites(t)
		})
	}
}
