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

// TestLayoutIsStableAndReadable opens each page in light and dark, wide and
// narrow. It is not parallel: on a busy machine the layouts of the libraries
// shift more.
func TestLayoutIsStableAndReadable(t *testing.T) {
	const (
		maxShift    = 0.1 // the limit of a good page, https://web.dev/cls
		minContrast = 4.5 // WCAG 2, level AA
	)
	pages := map[string]string{
		"home": "/", "jsui": "/jsui", "atomic": "/atomic", "headless": "/headless", "ipx": "/ipx",
		"plain": "/plain?q=", "no page": "/nowhere",
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
					b.do(chromedp.Sleep(500 * time.Millisecond)) // for elements that load late and shift others
					b.screenshot(fmt.Sprintf("%s, %s, %d", name, scheme, width))
					if shift := eval[float64](b, "e2e.layoutShift()"); shift > maxShift {
						t.Errorf("%s, %d: got a layout shift of %.3f, want at most %v: %s",
							scheme, width, shift, maxShift, eval[string](b, "e2e.shifted()"))
					}
					const overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
					if pixels := eval[int](b, overflow); pixels > 0 {
						t.Errorf("%s, %d: the page is %d pixels too wide", scheme, width, pixels)
					}
					if contrast := eval[float64](b, "e2e.contrast()"); contrast < minContrast {
						t.Errorf("%s, %d: got a contrast of %.1f, want at least %v", scheme, width, contrast, minContrast)
					}
				}
			}
		})
	}
}

// colorScheme sets the visitor's preferred color scheme, light or dark.
func colorScheme(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	})
}

// TestPagesExplainThatTheyNeedJavaScript, and show who is logged in, if scripts
// are disabled.
func TestPagesExplainThatTheyNeedJavaScript(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := openTab(t, w.url)
	b.logIn(alice)
	b.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		params := emulation.SetScriptExecutionDisabledParams{Value: true}
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, params)
		return err
	}))
	const needsJavaScript = "needs JavaScript"
	for path, want := range map[string]string{
		"/": needsJavaScript, "/jsui": needsJavaScript, "/atomic": needsJavaScript, "/headless": needsJavaScript,
		"/ipx": needsJavaScript, "/plain?q=review": "Alice's performance review",
	} {
		b.open(path)
		text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body")))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"You search as " + alice, want} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: got a page without %q:\n%s", path, want, text)
			}
		}
	}
	b.open("/jsui")
	b.screenshot("without JavaScript")
}

// TestSearchWorksWithTheKeyboardAlone follows the skip link, searches, and
// reaches a result.
func TestSearchWorksWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/jsui", "/atomic", "/headless", "/plain?q="} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.visit(t, path)

			tabKey := press("Tab", 9, "")
			b.do(tabKey)
			if got := eval[string](b, "e2e.focused().textContent"); got != "Skip to the content" {
				t.Errorf("got the focus on %q first, want the skip link", got)
			}
			b.do(press("Enter", 13, "\r"))
			waitFor(b, "#main", "location.hash.slice(0, 5)")
			b.pressUntil(tabKey, 10, `e2e.focused().matches("input, textarea")`)
			b.do(chromedp.KeyEvent("office"), press("Enter", 13, "\r"))
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			b.pressUntil(tabKey, 40, `e2e.results().includes(e2e.focused())`)
		})
	}
}

// pressUntil presses the key up to times times, until the expression is true.
func (b *tab) pressUntil(key chromedp.Action[chromedp.Void], times int, expression string) {
	b.t.Helper()
	for range times {
		b.do(key)
		if eval[bool](b, expression) {
			return
		}
	}
	b.fail(fmt.Sprintf("pressed the key %d times, but this is still false: %s", times, expression))
}
