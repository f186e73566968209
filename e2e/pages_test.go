package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestLayout opens each page in light and dark, wide and narrow. Nothing else runs
// meanwhile: on a machine that is busy the libraries move more.
func TestLayout(t *testing.T) {
	const (
		maxShift    = 0.1 // what passes as good, https://web.dev/cls
		minContrast = 4.5 // WCAG 2, level AA
	)
	pages := map[string]string{
		"home": "/", "jsui": "/jsui", "atomic": "/atomic", "headless": "/headless", "ipx": "/ipx", "plain": "/plain?q=", "no page": "/nowhere",
	}
	for name, path := range pages {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			b := openTab(t, w.url)
			b.logIn(alice)
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{1280, 360} {
					b.do(chromedp.EmulateViewport(width, 900), colorScheme(scheme))
					b.open(path)
					if strings.Contains("jsui atomic headless plain", name) {
						waitFor(b, titles(alice, ""), "e2e.titles()")
					}
					b.do(chromedp.Sleep(500 * time.Millisecond)) // for what comes late, and shifts
					b.screenshot(fmt.Sprintf("%s, %s, %d", name, scheme, width))
					if shift := eval[float64](b, "e2e.layoutShift()"); shift > maxShift {
						t.Errorf("%s, %d: a layout shift of %.3f, want at most %v: %s", scheme, width, shift, maxShift, eval[string](b, "e2e.shifted()"))
					}
					if excess := eval[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); excess > 0 {
						t.Errorf("%s, %d: the page is %d pixels too wide", scheme, width, excess)
					}
					if contrast := eval[float64](b, "e2e.contrast()"); contrast < minContrast {
						t.Errorf("%s, %d: a contrast of %.1f, want at least %v", scheme, width, contrast, minContrast)
					}
				}
			}
		})
	}
}

// colorScheme is what a visitor has chosen, light or dark.
func colorScheme(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	})
}

// TestWithoutJavaScript: the pages say who is logged in, and what does not work.
func TestWithoutJavaScript(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := openTab(t, w.url)
	b.logIn(alice)
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
	for path, want := range map[string]string{
		"/": "needs JavaScript", "/jsui": "needs JavaScript", "/atomic": "needs JavaScript", "/headless": "needs JavaScript", "/ipx": "needs JavaScript",
		"/plain?q=review": "Alice's performance review",
	} {
		b.open(path)
		text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body")))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "You search as "+alice) || !strings.Contains(text, want) {
			t.Errorf("%s does not say %q, or not who is logged in:\n%s", path, want, text)
		}
	}
	b.open("/jsui")
	b.screenshot("without JavaScript")
}

// TestKeyboard searches without a mouse.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/jsui", "/atomic", "/headless", "/plain?q="} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.visit(t, path)

			tab := press("Tab", 9, "")
			b.do(tab)
			if got := eval[string](b, "e2e.focused().textContent"); got != "Skip to the content" {
				t.Errorf("the first that is reached is %q", got)
			}
			b.do(press("Enter", 13, "\r"))
			waitFor(b, "#main", "location.hash.slice(0, 5)")
			b.tabTo(tab, 10, `e2e.focused().matches("input, textarea")`)
			b.do(chromedp.KeyEvent("office"), press("Enter", 13, "\r"))
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			b.tabTo(tab, 40, `e2e.results().includes(e2e.focused())`)
		})
	}
}

// tabTo presses the key until the expression is true.
func (b *tab) tabTo(key chromedp.Action[chromedp.Void], times int, expression string) {
	b.t.Helper()
	for range times {
		b.do(key)
		if eval[bool](b, expression) {
			return
		}
	}
	b.fail(fmt.Sprintf("not reached with %d tabs: %s", times, expression))
}
