package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/domsnapshot"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// Places in a browser that a token or an API key could be in.
const (
	inURLs            = "URLs"
	inRequestHeaders  = "headers of requests"
	inRequestBodies   = "bodies of requests"
	inResponseHeaders = "headers of responses"
	inResponseBodies  = "bodies of responses"
	inCookies         = "cookies"
	inStorage         = "storage"
	inDOM             = "DOM"
	inMemory          = "script memory" // globals, closures and the state of the libraries
)

// traffic records what a tab sends and receives, and where to.
type traffic struct {
	b *tab

	mu     sync.Mutex // guards the fields below
	texts  map[string][]string
	hosts  map[string]bool
	memory strings.Builder
}

// recordTraffic starts to record. Call it before the tab opens a page.
func recordTraffic(b *tab) *traffic {
	b.t.Helper()
	r := &traffic{b: b, texts: make(map[string][]string), hosts: make(map[string]bool)}
	if err := chromedp.Listen(b.ctx, r.listen); err != nil {
		b.fail(err.Error())
	}
	call(b, network.Enable, network.EnableParams{})
	return r
}

// call runs a command of the DevTools protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.fail(command.Method + ": " + err.Error())
	}
	return result
}

func (r *traffic) listen(event any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add := func(place, text string) { r.texts[place] = append(r.texts[place], text) }
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		add(inURLs, e.Request.URL+e.Request.URLFragment)
		add(inRequestHeaders, fmt.Sprint(e.Request.Headers))
		if u, err := url.Parse(e.Request.URL); err == nil && u.Scheme != "data" && u.Scheme != "blob" {
			r.hosts[u.Host] = true
		}
	case *network.EventRequestWillBeSentExtraInfo:
		add(inRequestHeaders, fmt.Sprint(e.Headers))
	case *network.EventResponseReceived:
		add(inResponseHeaders, fmt.Sprint(e.Response.Headers))
	case *network.EventResponseReceivedExtraInfo:
		add(inResponseHeaders, fmt.Sprint(e.Headers)+e.HeadersText)
	case *heapprofiler.EventAddHeapSnapshotChunk:
		r.memory.WriteString(e.Chunk)
	}
}

// stored is an expression for everything that scripts can store in a browser.
const stored = `(async () => {
	const list = [{...localStorage}, {...sessionStorage}, document.cookie, window.name, history.state];
	for (const name of await caches.keys()) {
		const cache = await caches.open(name);
		for (const request of await cache.keys()) {
			list.push(request.url, await (await cache.match(request)).text());
		}
	}
	for (const {name} of await indexedDB.databases()) {
		const done = (request) => new Promise((resolve, reject) => {
			request.onsuccess = () => resolve(request.result);
			request.onerror = () => reject(request.error);
		});
		const database = await done(indexedDB.open(name));
		for (const store of database.objectStoreNames) {
			list.push(await done(database.transaction(store).objectStore(store).getAll()));
		}
	}
	return JSON.stringify(list);
})()`

// collect returns the texts that the tab has sent, received or holds, by place,
// without its memory. The bodies are those that w has received and sent: the
// browser does not keep all.
func (w *world) collect(r *traffic) map[string][]string {
	b := r.b
	b.t.Helper()
	var cookies []string
	for _, c := range call(b, network.GetCookies, network.GetCookiesParams{}).Cookies {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	storage := eval[string](b, stored)
	snapshot := call(b, domsnapshot.CaptureSnapshot, domsnapshot.CaptureSnapshotParams{ComputedStyles: []string{}})

	r.mu.Lock()
	defer r.mu.Unlock()
	texts := maps.Clone(r.texts)
	for _, request := range w.platform.Requests() { // the site has passed their bodies on
		texts[inRequestBodies] = append(texts[inRequestBodies], string(request.Body))
	}
	w.change(func() { texts[inResponseBodies] = []string{w.sent.String()} })
	texts[inCookies] = cookies
	texts[inStorage] = []string{storage}
	texts[inDOM] = snapshot.Strings
	return texts
}

// collectMemory returns all strings that scripts of the page can reach, and
// some that they cannot.
func (r *traffic) collectMemory() map[string][]string {
	r.b.t.Helper()
	call(r.b, heapprofiler.TakeHeapSnapshot, heapprofiler.TakeHeapSnapshotParams{})
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[string][]string{inMemory: {r.memory.String()}}
}

// jwt matches every token of the platform, and those of others.
var jwt = regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+`)

// secretsIn returns the places that have a secret, each with a secret in it: a
// token, a part of one that the platform has got, or the API key.
func (w *world) secretsIn(texts map[string][]string) map[string]string {
	secrets := map[string]bool{searchtokentest.DefaultAPIKey: true}
	for _, r := range w.platform.Requests() {
		parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
		if len(parts) == 3 {
			secrets[parts[1]], secrets[parts[2]] = true, true // the claims and the signature
		}
	}
	found := make(map[string]string)
	for place, list := range texts {
		for _, text := range list {
			if token := jwt.FindString(text); token != "" {
				found[place] = token
			}
			for secret := range secrets {
				if strings.Contains(text, secret) {
					found[place] = secret
				}
			}
		}
	}
	return found
}

// checkNoSecrets checks that the tab has got neither a token nor the API key,
// and has sent requests to the site and the assets only.
func (w *world) checkNoSecrets(t *testing.T, r *traffic) {
	t.Helper()
	texts := w.collect(r)
	for _, place := range []string{
		inURLs, inRequestHeaders, inRequestBodies, inResponseHeaders, inResponseBodies, inCookies, inStorage, inDOM,
	} {
		if strings.Join(texts[place], "") == "" {
			t.Errorf("got no %s, want some to search for secrets", place)
		}
	}
	w.checkNone(t, texts)
	r.mu.Lock()
	defer r.mu.Unlock()
	want := []string{strings.TrimPrefix(w.url, "https://"), "static.cloud.coveo.com"}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(r.hosts))); diff != "" {
		t.Errorf("hosts that the browser sends requests to (-want +got):\n%s", diff)
	}
}

// checkNone checks that no text has a secret.
func (w *world) checkNone(t *testing.T, texts map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(map[string]string{}, w.secretsIn(texts)); diff != "" {
		t.Errorf("secrets in the browser (-want +got):\n%s", diff)
	}
}

// TestSecretsAreFound searches a page that has a token, so that no secret on
// the pages without one means something.
func TestSecretsAreFound(t *testing.T) {
	t.Parallel()
	p := proxiedPages[2]
	w := newApp(t, app{frontEnd: p.frontEnd, body: p.body})
	b := openTab(t, w.url)
	recorded := recordTraffic(b)
	p.open(b, alice)
	b.do(chromedp.Evaluate[chromedp.Void](`(async () => {
		const {accessToken} = coveoEngineConfiguration;
		document.cookie = "token=" + accessToken;
		sessionStorage.setItem("token", accessToken);
		await fetch("/coveo/", {headers: {"X-Token": accessToken}});
		await fetch("/?token=" + accessToken);
	})()`, chromedp.EvalAwaitPromise))
	texts := w.collect(recorded)
	maps.Copy(texts, recorded.collectMemory())
	want := []string{inURLs, inRequestHeaders, inResponseBodies, inCookies, inStorage, inDOM, inMemory}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(w.secretsIn(texts)))); diff != "" {
		t.Errorf("places with a secret (-want +got):\n%s", diff)
	}
}
