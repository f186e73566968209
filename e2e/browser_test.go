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

// patience is how long a test waits for what should happen at once. It is long
// because many pages share the machine.
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
	for _, path := range []string{
		"cdn/atomic/v3/atomic.esm.js", "node_modules/coveo-search-ui/bin/js/CoveoJsSearch.min.js",
	} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("the front-end libraries are missing; run make e2e/cdn in the root of the repository: %w", err)
		}
	}
	binary, err := exec.LookPath("chromium")
	if err != nil {
		return fmt.Errorf("the tests need Chromium; run apt-get install chromium: %w", err)
	}
	if err := os.MkdirAll("screenshots", 0o755); err != nil {
		return err
	}
	if internet, err = newWeb(); err != nil {
		return err
	}
	defer internet.close()

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
	// Pages wait more than they compute, so run more of them than there are
	// CPUs.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		return err
	}
	if err := chromedp.Do(chromium); err != nil {
		return fmt.Errorf("cannot start Chromium: %w", err)
	}
	if code := m.Run(); code != 0 {
		return fmt.Errorf("the tests failed with exit code %d", code)
	}
	return nil
}

// observer.js runs in every document before the page's own scripts.
//
//go:embed observer.js
var observer string

// tab is a page in a separate browser profile. It stands for one visitor.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string // URL of the site

	mu      sync.Mutex
	console []string // messages, guarded by mu
}

// openTab opens an empty page.
func openTab(t *testing.T, base string) *tab {
	t.Helper()
	b := &tab{t: t, base: base}
	var cancel context.CancelFunc
	b.ctx, cancel = chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.listen))
	t.Cleanup(cancel)
	// The page lives as long as the context of the first call, so that call has
	// no deadline.
	if err := chromedp.Do(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.EmulateViewport(1280, 900))
	b.onEveryPage(observer)
	return b
}

// onEveryPage runs a script in every document that the tab opens, before the
// page's own scripts.
func (b *tab) onEveryPage(script string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		params := page.AddScriptToEvaluateOnNewDocumentParams{Source: script}
		_, err := cdp.Call(ctx, target, page.AddScriptToEvaluateOnNewDocument, params)
		return err
	}))
}

// listen records messages on the console, from the page and from the browser.
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
	message, _, _ = strings.Cut(message, "\n") // drop the stack trace
	b.mu.Lock()
	defer b.mu.Unlock()
	b.console = append(b.console, message)
}

// messages returns the console messages so far that have the prefix.
func (b *tab) messages(prefix string) []string {
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

// do runs actions, and fails the test if they take longer than patience.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail(err.Error())
	}
}

// fail fails the test with a message and the console messages.
func (b *tab) fail(message string) {
	b.t.Helper()
	b.t.Fatalf("%s\nConsole messages:\n  %s", message, strings.Join(b.messages(""), "\n  "))
}

// open navigates to a path of the site.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// logIn logs the visitor in with the button on the home page.
func (b *tab) logIn(user string) {
	b.t.Helper()
	b.open("/")
	b.click(`button[value="` + user + `"]`)
	b.waitForElement(`form[action="/logout"]`)
}

// waitForElement waits until an element exists. chromedp's own actions fail
// while a page moves through its history.
func (b *tab) waitForElement(selector string) {
	b.t.Helper()
	waitFor(b, true, fmt.Sprintf("Boolean(document.querySelector(%q))", selector))
}

// click clicks on an element.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.waitForElement(selector)
	b.evalLater(fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// evalLater evaluates an expression that may navigate. It does not wait for the
// result, which a navigation would lose.
func (b *tab) evalLater(expression string) {
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

// await waits until done returns true. what names the condition in the failure.
func (b *tab) await(what string, done func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.fail(fmt.Sprintf("waited %v for %s", patience, what))
		}
	}
}

// waitFor waits until the expression evaluates to want.
func waitFor[T any](b *tab, want T, expression string) {
	b.t.Helper()
	var diff string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
		if err != nil { // for example, while the page navigates
			diff = err.Error()
			continue
		}
		if diff = cmp.Diff(want, got); diff == "" {
			return
		}
	}
	b.fail(expression + " (-want +got):\n" + diff)
}

// search pastes a word into the search box of any front end, and presses Enter.
func (b *tab) search(word string) {
	b.t.Helper()
	b.submit(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, input.InsertText, input.InsertTextParams{Text: word})
		return err
	}))
}

// searchByKeys types a word into the search box and presses Enter. The front
// end suggests queries after each letter.
func (b *tab) searchByKeys(word string) {
	b.t.Helper()
	b.submit(chromedp.KeyEvent(word))
}

// submit replaces the text in the search box with the action word, and presses
// Enter.
func (b *tab) submit(word chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	const box = `e2e.find(".CoveoSearchbox input, textarea[part=textarea], input[type=search]")`
	waitFor(b, true, "Boolean("+box+")")
	focus := chromedp.Evaluate[chromedp.Void]("(function (box) { box.focus(); box.select(); })(" + box + ")")
	b.do(focus, word, press("Enter", 13, "\r"))
}

// press presses a key as a keyboard does, so the page can prevent its effect.
// text is the text that the key types.
func press(key string, code int64, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		event := input.DispatchKeyEventParams{
			Type: input.DispatchKeyEventTypeKeyDown, Key: key, Code: key, WindowsVirtualKeyCode: code, Text: text,
		}
		if _, err := cdp.Call(ctx, target, input.DispatchKeyEvent, event); err != nil {
			return err
		}
		event.Type, event.Text = input.DispatchKeyEventTypeKeyUp, ""
		_, err := cdp.Call(ctx, target, input.DispatchKeyEvent, event)
		return err
	})
}

// clickFirstResult clicks on the first result with Ctrl pressed, which opens
// the document in another tab.
var clickFirstResult = chromedp.Evaluate[chromedp.Void](`e2e.results()[0].dispatchEvent(
	new MouseEvent("click", {bubbles: true, composed: true, cancelable: true, ctrlKey: true}))`)

// screenshot writes a screenshot to a file in screenshots/.
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
