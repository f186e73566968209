package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
)

// foreignCalls is a script of a page of another site. It calls the site in all
// ways that a browser has, each with its name in the URL, and returns what it
// could read, by name. The URLs of the site end with "call=".
const foreignCalls = `(async ({get, post, preview, stream}, secure) => {
	const read = {};
	const names = [];
	const calls = [];
	const body = new URLSearchParams({q: "office"});
	const attempt = (name, start) => {
		names.push(name);
		calls.push(Promise.race([
			start(encodeURIComponent(name)),
			new Promise((resolve) => setTimeout(resolve, 10000, "")),
		]).then((text) => { if (text) { read[name] = text; } }, () => {}));
	};

	const element = (tag, attribute, url, more) => new Promise((resolve) => {
		const e = Object.assign(document.createElement(tag), more);
		e.onload = e.onloadeddata = () => {
			let text = tag === "iframe" || tag === "embed" ? "" : tag; // these load errors, too
			try {
				text = e.contentDocument.body.innerText;
			} catch {}
			resolve(text);
		};
		e.onerror = () => resolve("");
		e[attribute] = url;
		document.body.append(e);
		if (tag === "video") {
			e.load();
		}
	});
	const form = (url, more, attributes) => new Promise((resolve) => {
		const frame = document.createElement("iframe");
		frame.name = "frame" + document.querySelectorAll("iframe").length;
		Object.assign(frame, attributes);
		document.body.append(frame);
		const f = Object.assign(document.createElement("form"), {action: url, target: frame.name}, more);
		f.append(Object.assign(document.createElement("input"), {name: "q", value: "office"}));
		if (f.method === "get") { // replaces the query
			for (const [name, value] of new URL(url).searchParams) {
				f.append(Object.assign(document.createElement("input"), {name, value}));
			}
		}
		document.body.append(f);
		frame.onload = () => {
			try {
				if (frame.contentWindow.location.href === "about:blank") {
					return;
				}
			} catch {}
			try {
				resolve(frame.contentDocument.body.innerText);
			} catch {
				resolve("");
			}
		};
		f.submit();
	});
	const text = (url, init) => fetch(url, init).then((response) => response.text());
	const include = {credentials: "include"};

	attempt("form POST", (name) => form(post + name, {method: "post"}));
	attempt("form POST of text", (name) => form(post + name, {method: "post", enctype: "text/plain"}));
	attempt("form GET", (name) => form(get + name, {method: "get"}));
	const submit = '"></form><script>document.forms[0].submit()</script>';
	attempt("form POST without referrer", (name) => element("iframe", "srcdoc",
		'<meta name="referrer" content="no-referrer"><form method="post" action="' + post + name + submit));
	attempt("form POST of a sandbox", (name) => element("iframe", "srcdoc",
		'<form method="post" action="' + post + name + submit, {sandbox: "allow-forms allow-scripts"}));
	attempt("fetch POST", (name) => text(post + name, {...include, method: "POST", body}));
	attempt("fetch POST of text", (name) => text(post + name, {...include, method: "POST", body: '{"q":"office"}'}));
	attempt("fetch POST of JSON", (name) => text(post + name,
		{...include, method: "POST", body: '{"q":"office"}', headers: {"Content-Type": "application/json"}}));
	attempt("fetch POST no-cors", (name) => text(post + name, {...include, method: "POST", mode: "no-cors", body}));
	attempt("fetch POST without referrer", (name) => text(post + name,
		{...include, method: "POST", mode: "no-cors", referrerPolicy: "no-referrer", body}));
	attempt("fetch GET", (name) => text(get + name, include));
	attempt("fetch GET no-cors", (name) => text(get + name, {...include, mode: "no-cors"}));
	attempt("fetch of a preview", (name) => text(preview + name, {...include, mode: "no-cors"}));
	attempt("fetch of a stream", (name) => text(stream + name, {...include, mode: "no-cors"}));
	attempt("XMLHttpRequest", (name) => new Promise((resolve) => {
		const request = new XMLHttpRequest();
		request.withCredentials = true;
		request.onload = () => resolve(request.responseText);
		request.onerror = () => resolve("");
		request.open("POST", post + name);
		request.send(body);
	}));
	attempt("beacon", async (name) => void navigator.sendBeacon(post + name, body));
	attempt("EventSource", (name) => new Promise((resolve) => {
		const source = new EventSource(stream + name, {withCredentials: true});
		source.onopen = () => resolve("open");
		source.onerror = () => { source.close(); resolve(""); };
	}));
	attempt("WebSocket", (name) => new Promise((resolve) => {
		const socket = new WebSocket((get + name).replace("http", "ws"));
		socket.onopen = () => resolve("open");
		socket.onerror = () => resolve("");
	}));
	attempt("image", (name) => element("img", "src", get + name));
	attempt("script", (name) => element("script", "src", get + name + "&callback=alert"));
	attempt("module", (name) => import(get + name).then(() => "module"));
	attempt("style sheet", (name) => element("link", "href", get + name, {rel: "stylesheet"}));
	attempt("video", (name) => element("video", "src", get + name));
	attempt("object", (name) => element("object", "data", get + name));
	attempt("embed", (name) => element("embed", "src", get + name));
	attempt("frame", (name) => element("iframe", "src", get + name));
	attempt("frame of a preview", (name) => element("iframe", "src", preview + name));
	attempt("image of a preview", (name) => element("img", "src", preview + name));
	attempt("preload", (name) => element("link", "href", get + name, {rel: "preload", as: "fetch", crossOrigin: "use-credentials"}));
	if (secure) { // on plain http, a browser says nothing about such a GET
		attempt("fetch GET without referrer", (name) => text(get + name,
			{...include, mode: "no-cors", referrerPolicy: "no-referrer"}));
		attempt("image without referrer", (name) => element("img", "src", get + name, {referrerPolicy: "no-referrer"}));
		attempt("frame without referrer", (name) => element("iframe", "src", preview + name, {referrerPolicy: "no-referrer"}));
	}
	await Promise.all(calls);
	return {read, names};
})`

// TestPagesOfOtherSitesCannotCallTheSite: every visitor of this site is alice,
// with or without a cookie. The page of another site can neither read an answer
// nor make the site call Coveo.
func TestPagesOfOtherSitesCannotCallTheSite(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scheme, domain string // of the other site
		plain          bool   // the site has no TLS
	}{
		"another site":                {"https", "example.net", false},
		"a sibling":                   {"https", "example.com", false},
		"another site without TLS":    {"http", "example.edu", false},
		"both without TLS":            {"http", "example.edu", true},
		"a sibling, both without TLS": {"http", "example.org", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newApp(t, app{frontEnd: searchtoken.Headless, config: func(cfg *searchtoken.Config) { cfg.ProxyURL = "/coveo" }})
			var mu sync.Mutex
			seen := make(map[string]bool) // names of the calls that the site has got
			w.wrap = func(site http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					mu.Lock()
					seen[r.URL.Query().Get("call")] = true
					mu.Unlock()
					site.ServeHTTP(rw, r)
				})
			}
			home := w.url
			if test.plain {
				home = w.plainURL()
			}
			search := home + "/coveo/rest/search/v2"
			urls, err := json.Marshal(map[string]string{
				"get":     search + "?q=office&call=",
				"post":    search + "?call=",
				"preview": search + "/html?uniqueId=" + url.QueryEscape("1.1$https://intranet.example.com/welcome") + "&call=",
				"stream":  home + "/coveo/rest/organizations/" + w.organization + "/machinelearning/streaming/a?call=",
			})
			if err != nil {
				t.Fatal(err)
			}

			// The site's own page gets answers.
			own := openTab(t, home)
			own.open("/")
			statuses := eval[[]int](own, `(async ({get, post, preview}) => [
				(await fetch(get)).status,
				(await fetch(post, {method: "POST", body: new URLSearchParams({q: "office"})})).status,
				(await fetch(preview)).status,
			])(`+string(urls)+")")
			if diff := cmp.Diff([]int{200, 200, 200}, statuses); diff != "" {
				t.Fatalf("statuses for the site's own page (-want +got):\n%s", diff)
			}
			w.platform.ResetRequests()

			host := "other-" + w.organization + "." + test.domain
			internet.add(host, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(rw, "<!DOCTYPE html><title>Other</title><body>")
			}), w.organization, w.platform)
			b := openTab(t, test.scheme+"://"+host)
			b.open("/")
			got := eval[struct {
				Read  map[string]string
				Names []string
			}](b, fmt.Sprintf("%s(%s, %t)", foreignCalls, urls, !test.plain))
			if diff := cmp.Diff(map[string]string{}, got.Read); diff != "" {
				t.Errorf("what the page could read (-want +got):\n%s", diff)
			}
			for _, link := range []struct{ kind, rel string }{{"get", ""}, {"get", "noreferrer"}, {"preview", ""}} {
				name := strings.TrimSpace("link to " + link.kind + " " + link.rel)
				got.Names = append(got.Names, name)
				b.open("/")
				b.evalLater(fmt.Sprintf(`Object.assign(document.createElement("a"), {href: %s.%s + %q, rel: %q}).click()`,
					urls, link.kind, name, link.rel))
				waitFor(b, home, "location.origin")
			}
			var unseen []string
			b.await("all calls", func() bool {
				mu.Lock()
				defer mu.Unlock()
				unseen = slices.DeleteFunc(slices.Clone(got.Names), func(name string) bool { return seen[name] })
				return len(unseen) == 0
			})
			for _, r := range w.platform.Requests() {
				t.Errorf("the call %q reached the platform: %v", r.Query.Get("call"), r)
			}
		})
	}
}
