package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
)

// frontEnd is one of the front ends, as the example's site has it.
type frontEnd struct {
	name searchtoken.FrontEnd
	path string // of its page
	// experience is the button that opens an In-Product Experience.
	experience string
	// searchHost and analyticsHost are where its requests go in production.
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
	{searchtoken.IPX, "/ipx", `e2e.find("coveo-in-app-widget-loader").shadowRoot.querySelector("button")`, "platform.cloud.coveo.com", "analytics.cloud.coveo.com"},
	{searchtoken.IPXBuilder, "/ipx", `e2e.find("coveo-ipx").shadowRoot.querySelector("button")`, ownSearch, ownAnalytics},
}

// configure adds the front end to a site that does not have all.
func (f frontEnd) configure(cfg *site.Config) {
	cfg.IPXPageID, cfg.IPXInterfaceID = "", ""
	switch f.name {
	case searchtoken.IPX:
		cfg.IPXPageID = "page"
	case searchtoken.IPXBuilder:
		cfg.IPXInterfaceID = "interface"
	}
}

// open opens the page, and the experience if it is one. It returns where the
// search is: the page itself, or a frame in it.
func (f frontEnd) open(b *tab) *tab {
	b.t.Helper()
	b.open(f.path)
	return f.await(b)
}

// await waits for the page to be there, however it came, and does what open does
// with it.
func (f frontEnd) await(b *tab) *tab {
	b.t.Helper()
	waitFor(b, f.path+" complete", `location.pathname + " " + document.readyState`)
	page := b
	b.await("the search", func() bool {
		page = f.enter(b)
		return page != nil
	})
	return page
}

// enter returns where the search is, opening the experience if it is one. It is
// nil if there is no such place, for the moment.
func (f frontEnd) enter(b *tab) *tab {
	b.t.Helper()
	if f.experience == "" {
		return b
	}
	click := "(() => { try { const button = " + f.experience + `; if (button.ariaExpanded === "false") { button.click(); } return true; } catch { return false; } })()`
	switch {
	case !eval[bool](b, click):
		return nil
	case f.name == searchtoken.IPX:
		return b.frame("/inappwidget/")
	}
	return b
}

// frame attaches to the frame of another site whose URL has the part. It is nil if
// there is none.
func (b *tab) frame(part string) *tab {
	b.t.Helper()
	targets, err := chromedp.Targets(b.ctx)
	if err != nil {
		b.fail(err.Error())
	}
	for _, info := range targets {
		if info.Type != "iframe" || !strings.Contains(info.URL, part) || info.BrowserContextID != chromedp.FromContext(b.ctx).BrowserContextID {
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

// each runs a test for every front end.
func each(t *testing.T, test func(*testing.T, frontEnd)) {
	for _, f := range frontEnds {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			test(t, f)
		})
	}
}
