package e2e

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	browserlog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
)

// patience is how long a test waits for what should come at once: a dozen pages
// share the machine.
const patience = time.Minute

var (
	internet *web
	chromium context.Context // the one browser of all tests
)

func TestMain(m *testing.M) {
	if err := run(m); err != nil {
		log.Fatalf("e2e: %v", err)
	}
}

func run(m *testing.M) (err error) {
	for _, path := range []string{"cdn/atomic/v3/atomic.esm.js", "node_modules/coveo-search-ui/bin/js/CoveoJsSearch.min.js"} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("the front-end libraries are missing: npm ci && npm run build (make test does both): %w", err)
		}
	}
	binary, err := exec.LookPath("chromium")
	if err != nil {
		return fmt.Errorf("the tests need Chromium: apt-get install chromium (make test does): %w", err)
	}
	if err := os.MkdirAll("screenshots", 0o755); err != nil {
		return err
	}
	if internet, err = newWeb(); err != nil {
		return err
	}
	defer internet.server.Close()

	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(binary),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", internet.hostRules()),
		chromedp.Flag("ignore-certificate-errors-spki-list", internet.pin),
	)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	var stop context.CancelFunc
	chromium, stop = chromedp.NewContext(allocator)
	defer stop()
	// Pages wait for more than they work.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		return err
	}
	if err := chromedp.Do(chromium); err != nil {
		return fmt.Errorf("Chromium did not start: %w", err)
	}
	if code := m.Run(); code != 0 {
		return fmt.Errorf("exit code %d", code)
	}
	return nil
}

// observer.js runs in every document before the page's own scripts.
//
//go:embed observer.js
var observer string

// tab is one page of a browser profile of its own: a visitor.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string // of the site

	mu      sync.Mutex
	console []string
}

// openTab opens an empty page.
func openTab(t *testing.T, base string) *tab {
	t.Helper()
	b := &tab{t: t, base: base}
	var cancel context.CancelFunc
	b.ctx, cancel = chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.listen))
	t.Cleanup(cancel)
	// A deadline of a context's first call would be one of the page.
	if err := chromedp.Do(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.do(
		chromedp.EmulateViewport(1280, 900),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: observer})
			return err
		}),
	)
	return b
}

// listen notes what the page says, and what the browser says of it.
func (b *tab) listen(event any) {
	var message string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		message = string(e.Type) + ":"
		for _, arg := range e.Args {
			var text string
			if json.Unmarshal(arg.Value, &text) != nil {
				text = arg.Description
			}
			message += " " + text
		}
	case *runtime.EventExceptionThrown:
		message = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			message += " " + e.ExceptionDetails.Exception.Description
		}
	case *browserlog.EventEntryAdded:
		message = string(e.Entry.Level) + ": " + e.Entry.Text + " " + e.Entry.URL
	default:
		return
	}
	message, _, _ = strings.Cut(message, "\n") // what follows is a stack
	b.mu.Lock()
	defer b.mu.Unlock()
	b.console = append(b.console, message)
}

// said returns what has been said so far of what has the prefix.
func (b *tab) said(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []string
	for _, message := range b.console {
		if strings.HasPrefix(message, prefix) {
			list = append(list, message)
		}
	}
	return list
}

// do does actions, with patience.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail(err.Error())
	}
}

func (b *tab) fail(why string) {
	b.t.Helper()
	b.t.Fatalf("%s\nThe console:\n  %s", why, strings.Join(b.said(""), "\n  "))
}

// open navigates to a path of the site.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// logIn logs the visitor in, by the button on the home page.
func (b *tab) logIn(user string) {
	b.t.Helper()
	b.open("/")
	b.click(`button[value="` + user + `"]`)
	b.see(`form[action="/logout"]`)
}

// see waits for an element. chromedp's own actions lose sight of the document
// where a page goes through its history.
func (b *tab) see(selector string) {
	b.t.Helper()
	waitFor(b, true, fmt.Sprintf("Boolean(document.querySelector(%q))", selector))
}

// click clicks on an element.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.see(selector)
	b.later(fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// later evaluates what may navigate, which would cost the answer.
func (b *tab) later(expression string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void]("setTimeout(() => { " + expression + " }, 0)"))
}

// eval evaluates an expression, and waits for it if it is a Promise.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail(expression + ": " + err.Error())
	}
	return value
}

// await waits until done.
func (b *tab) await(what string, done func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.fail("waited in vain for " + what)
		}
	}
}

// waitFor waits until the expression is want.
func waitFor[T any](b *tab, want T, expression string) {
	b.t.Helper()
	var diff string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
		if err != nil { // while the page navigates, for example
			diff = err.Error()
			continue
		}
		if diff = cmp.Diff(want, got); diff == "" {
			return
		}
	}
	b.fail(expression + " (-want +got):\n" + diff)
}

// search pastes a word into the search box of whichever front end, and presses
// Enter.
func (b *tab) search(word string) {
	b.t.Helper()
	b.enter(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, input.InsertText, input.InsertTextParams{Text: word})
		return err
	}))
}

// searchByKeys types the word, and makes the front end suggest queries for each
// letter of it.
func (b *tab) searchByKeys(word string) {
	b.t.Helper()
	b.enter(chromedp.KeyEvent(word))
}

func (b *tab) enter(word chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	const box = `e2e.find(".CoveoSearchbox input, textarea[part=textarea], input[type=search]")`
	waitFor(b, true, "Boolean("+box+")")
	b.do(chromedp.Evaluate[chromedp.Void]("(function (box) { box.focus(); box.select(); })("+box+")"), word, press("Enter", 13, "\r"))
}

// press presses a key as a keyboard does: what the page does not want has no
// effect. text is what the key would write.
func press(key string, code int64, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		event := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: key, Code: key, WindowsVirtualKeyCode: code, Text: text}
		if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, event); err != nil {
			return err
		}
		event.Type, event.Text = input.DispatchKeyEventTypeKeyUp, ""
		_, err := cdp.Call(ctx, target, input.DispatchKeyEvent, event)
		return err
	})
}

// clickFirstResult opens the first document as a visitor does who wants it in a
// tab of its own.
var clickFirstResult = chromedp.Evaluate[chromedp.Void](`e2e.results()[0].dispatchEvent(
	new MouseEvent("click", {bubbles: true, composed: true, cancelable: true, ctrlKey: true}))`)

// screenshot writes what the visitor sees to a file in screenshots/.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	image, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join("screenshots", name+".png"), image, 0o644)
	}
	if err != nil {
		b.fail("screenshot " + name + ": " + err.Error())
	}
}
