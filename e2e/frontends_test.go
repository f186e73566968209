package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
)

// frontEnd describes a front end on the example's site.
type frontEnd struct {
	name searchtoken.FrontEnd
	path string // of the page
	// openButton is a JavaScript expression for the button that opens an
	// In-Product Experience. It is empty for other front ends.
	openButton string
	// searchHost and analyticsHost receive its requests in production.
	searchHost, analyticsHost string
}

const (
	ownSearch    = "acme.org.coveo.com"
	ownAnalytics = "acme.analytics.org.coveo.com"
)

var frontEnds = []frontEnd{
	{searchtoken.JSUI, "/jsui", "", ownSearch, ownAnalytics},
	{searchtoken.Atomic, "/atomic", "", ownSearch, ownAnalytics},
	{searchtoken.Headless, "/headless", "", ownSearch, ownAnalytics},
	{
		searchtoken.IPX, "/ipx", `e2e.find("coveo-in-app-widget-loader").shadowRoot.querySelector("button")`,
		"platform.cloud.coveo.com", "analytics.cloud.coveo.com",
	},
	{searchtoken.IPXBuilder, "/ipx", `e2e.find("coveo-ipx").shadowRoot.querySelector("button")`, ownSearch, ownAnalytics},
}

// configure makes an In-Product Experience the only one of the site. Other
// front ends are always there.
func (f frontEnd) configure(cfg *site.Config) {
	cfg.IPXPageID, cfg.IPXInterfaceID = "", ""
	switch f.name {
	case searchtoken.IPX:
		cfg.IPXPageID = "page"
	case searchtoken.IPXBuilder:
		cfg.IPXInterfaceID = "interface"
	}
}

// open opens the page, and the panel of an In-Product Experience. It returns
// the tab of the search: b, or a frame in it.
func (f frontEnd) open(b *tab) *tab {
	b.t.Helper()
	b.open(f.path)
	return f.await(b)
}

// await waits until the page is loaded, opens the panel of an In-Product
// Experience, and returns the tab of the search as open does.
func (f frontEnd) await(b *tab) *tab {
	b.t.Helper()
	waitFor(b, f.path+" complete", `location.pathname + " " + document.readyState`)
	page := b
	b.await("the search", func() bool {
		page = f.searchTab(b)
		return page != nil
	})
	return page
}

// searchTab opens the panel of an In-Product Experience, and returns the tab of
// the search. It returns nil if the page is not ready yet.
func (f frontEnd) searchTab(b *tab) *tab {
	b.t.Helper()
	if f.openButton == "" {
		return b
	}
	click := `(() => { try {
		const button = ` + f.openButton + `;
		if (button.ariaExpanded === "false") { button.click(); }
		return true;
	} catch { return false; } })()`
	switch {
	case !eval[bool](b, click):
		return nil
	case f.name == searchtoken.IPX:
		return b.frame("/inappwidget/")
	}
	return b
}

// frame returns a tab for the frame of another site whose URL contains part, or
// nil if there is none.
func (b *tab) frame(part string) *tab {
	b.t.Helper()
	targets, err := chromedp.Targets(b.ctx)
	if err != nil {
		b.fail(err.Error())
	}
	for _, info := range targets {
		sameProfile := info.BrowserContextID == chromedp.FromContext(b.ctx).BrowserContextID
		if info.Type != "iframe" || !strings.Contains(info.URL, part) || !sameProfile {
			continue
		}
		f := &tab{t: b.t, base: b.base}
		var cancel context.CancelFunc
		f.ctx, cancel = chromedp.NewContext(b.ctx, chromedp.WithTargetID(info.TargetID), chromedp.WithListener(f.listen))
		b.t.Cleanup(cancel)
		if err := chromedp.Do(f.ctx); err != nil {
			b.fail(err.Error())
		}
		f.do(chromedp.Evaluate[chromedp.Void](observer))
		return f
	}
	return nil
}

// forEachFrontEnd runs a parallel test for every front end.
func forEachFrontEnd(t *testing.T, test func(*testing.T, frontEnd)) {
	for _, f := range frontEnds {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			test(t, f)
		})
	}
}
