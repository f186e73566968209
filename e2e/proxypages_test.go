package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/searchtoken/searchtoken"
)

// proxiedPage is a page whose calls go through the site, and what a visitor
// does on it.
type proxiedPage struct {
	frontEnd searchtoken.FrontEnd
	body     string // HTML
	start    string // script that the page needs besides the snippet, or ""
	facet    string // JavaScript expression for the value Help of a facet
	facetBox string // expression for the box to search for other values
	opener   string // expression for what opens the preview of the first result
	preview  string // expression for the text of the preview
	// violations are the messages about what the policy blocks in the preview.
	violations []string
}

// framed is the text of a preview in a frame that the page fills itself.
const framed = `e2e.find("iframe").contentDocument.body.innerText`

var proxiedPages = []proxiedPage{
	{
		frontEnd: searchtoken.JSUI,
		body: `<div class="CoveoSearchInterface">
	<div class="CoveoAnalytics"></div><div class="CoveoSearchbox" data-enable-omnibox="true"></div>
	<div class="CoveoDynamicFacetManager">
		<div class="CoveoDynamicFacet" data-title="Source" data-field="@source" data-enable-facet-search="true"></div>
	</div>
	<div class="CoveoErrorReport" data-pop-up="false"></div>
	<div class="CoveoResultList"><script class="result-template" type="text/html">
		<span class="CoveoIcon"></span><a class="CoveoResultLink"></a><div class="CoveoQuickview"></div>
	</script></div>
</div>`,
		facet:    `e2e.find(".coveo-dynamic-facet-value[data-value=Help] button")`,
		facetBox: `e2e.find(".coveo-dynamic-facet-search input")`,
		opener:   `e2e.find(".CoveoQuickview")`,
		preview:  framed,
		// JSUI adds a style element to the document.
		violations: []string{"error: violation: style-src-elem inline", "error: violation: style-src-elem inline"},
	},
	{
		frontEnd: searchtoken.Atomic,
		body: `<atomic-search-interface>
	<atomic-search-box><atomic-search-box-query-suggestions></atomic-search-box-query-suggestions></atomic-search-box>
	<atomic-facet field="source" label="Source" number-of-values="1"></atomic-facet>
	<atomic-result-list><atomic-result-template><template>
		<atomic-result-link></atomic-result-link><atomic-quickview></atomic-quickview>
	</template></atomic-result-template></atomic-result-list>
	<atomic-query-error></atomic-query-error>
</atomic-search-interface>`,
		facet:    `e2e.find("[part=values] button[role=checkbox]")`,
		facetBox: `e2e.find("[part=search-input]")`,
		opener:   `e2e.find("atomic-quickview").shadowRoot.querySelector("button")`,
		preview:  framed,
	},
	{
		frontEnd: searchtoken.Headless,
		body: `<input type="search" aria-label="Search"><input id="values" aria-label="Sources">
<button id="help">Help</button><button id="preview">Preview</button><p class="status"></p><ul></ul><pre></pre>`,
		start:    startHeadless,
		facet:    `e2e.find("#help")`,
		facetBox: `e2e.find("#values")`,
		opener:   `e2e.find("#preview")`,
		preview:  `e2e.find("pre").textContent`,
	},
}

// startHeadless makes the page of Headless work.
const startHeadless = `coveoEngine.then(async (engine) => {
	const headless = await import("https://static.cloud.coveo.com/headless/v3/headless.esm.js");
	const find = (selector) => document.querySelector(selector);
	const box = headless.buildSearchBox(engine);
	const list = headless.buildResultList(engine);
	const summary = headless.buildQuerySummary(engine);
	const facet = headless.buildFacet(engine, {options: {field: "source"}});
	find("[type=search]").addEventListener("input", (event) => box.updateText(event.target.value));
	find("[type=search]").addEventListener("keydown", (event) => {
		if (event.key === "Enter") {
			box.submit();
		}
	});
	find("#values").addEventListener("input", (event) => {
		facet.facetSearch.updateText(event.target.value);
		facet.facetSearch.search();
	});
	find("#help").addEventListener("click", () => {
		facet.toggleSelect(facet.state.values.find(({value}) => value === "Help"));
	});
	find("#preview").addEventListener("click", () => {
		const quickview = headless.buildQuickview(engine, {options: {result: list.state.results[0]}});
		quickview.subscribe(() => { find("pre").textContent = quickview.state.content; });
		quickview.fetchResultContent();
	});
	summary.subscribe(() => {
		find(".status").textContent = summary.state.hasError ? "The search is not available." : "";
	});
	list.subscribe(() => {
		find("ul").replaceChildren(...list.state.results.map((result) => {
			const link = document.createElement("a");
			link.href = result.clickUri;
			link.textContent = result.title;
			const interactive = headless.buildInteractiveResult(engine, {options: {result}});
			link.addEventListener("click", () => interactive.select());
			return link;
		}));
	});
	engine.executeFirstSearch();
})`

// throughTheSite makes the pages of an app call the site instead of Coveo. The
// visitor is the one that the cookie of logInAs names.
func throughTheSite(cfg *searchtoken.Config) {
	cfg.ProxyURL, cfg.Params.SearchHub = "/coveo", "intranet"
	cfg.RenewURL = "/coveo/token" // which the pages must not need
	cfg.Identify = func(r *http.Request) (searchtoken.Identity, error) {
		user, err := r.Cookie("user")
		if err != nil {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		return searchtoken.Email(user.Value), nil
	}
}

// logInAs makes the visitor a user of an app.
func (b *tab) logInAs(user string) {
	b.t.Helper()
	secure, httpOnly := strings.HasPrefix(b.base, "https:"), true
	call(b, network.SetCookie, network.SetCookieParams{
		Name: "user", Value: user, URL: b.base, Secure: &secure, HTTPOnly: &httpOnly,
	})
}

// logOut ends the visitor's session with an app. The page stays open.
func (b *tab) logOut() {
	b.t.Helper()
	call(b, network.DeleteCookies, network.DeleteCookiesParams{Name: "user", URL: b.base})
}

// newApp starts a site with the page.
func (p *proxiedPage) newApp(t *testing.T) *world {
	t.Helper()
	return newApp(t, app{frontEnd: p.frontEnd, body: p.body, config: throughTheSite})
}

// open opens the page and waits for all documents of the user.
func (p *proxiedPage) open(b *tab, user string) {
	b.t.Helper()
	b.logInAs(user)
	b.open("/")
	if p.start != "" {
		b.do(chromedp.Evaluate[chromedp.Void](p.start, chromedp.EvalAwaitPromise))
	}
	waitFor(b, titles(user, ""), "e2e.titles()")
}

// clickOn clicks on the element of an expression when it is there.
func (b *tab) clickOn(element string) {
	b.t.Helper()
	waitFor(b, true, "Boolean("+element+")")
	b.evalLater(element + ".click()")
}

// typeInto types a text into the box of an expression.
func (b *tab) typeInto(box, text string) {
	b.t.Helper()
	waitFor(b, true, "Boolean("+box+")")
	b.do(chromedp.Evaluate[chromedp.Void](box+".focus()"), chromedp.KeyEvent(text))
}
