package otelsearchtoken_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/searchtoken/searchtoken"
)

// everything lets h report every metric: each kind once, and the state.
func (h *harness) everything() {
	h.Helper()
	h.register()
	for _, kind := range constants(h, "EventKind") {
		h.observer.Observe(h.Context(), searchtoken.Event{
			Kind: searchtoken.EventKind(kind), Route: "search", Outcome: searchtoken.OutcomeOK,
		})
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metricsSection returns the section "Metrics" of docs/operations.md.
func metricsSection(t *testing.T) string {
	t.Helper()
	_, section, ok := strings.Cut(readFile(t, "../docs/operations.md"), "\n## Metrics\n")
	if !ok {
		t.Fatal("docs/operations.md has no section Metrics")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// sorted returns the distinct first submatches of pattern in text.
func sorted(pattern, text string) []string {
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found[match[1]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// TestTheDocumentationListsEveryMetric compares the table of docs/operations.md
// with what is measured: name, name in Prometheus, type and attributes.
func TestTheDocumentationListsEveryMetric(t *testing.T) {
	h := newHarness(t)
	h.everything()
	scraped := h.scrape()
	var got []string
	for name, m := range h.metrics() {
		points, kind := pointsOf(t, m)
		attributes := map[string]bool{}
		for _, p := range points {
			for _, kv := range p.attributes.ToSlice() {
				attributes[strings.TrimPrefix(string(kv.Key), "searchtoken.")] = true
			}
		}
		labels := cmp.Or(strings.Join(slices.Sorted(maps.Keys(attributes)), ", "), "none")
		// In Prometheus, a name ends with its unit and with its type.
		pattern := `(?m)^# TYPE (` + strings.ReplaceAll(name, ".", "_") + `(?:_seconds)?(?:_total)?) `
		exported := sorted(pattern, scraped)
		if len(exported) != 1 {
			t.Fatalf("Prometheus gets %q of %s", exported, name)
		}
		got = append(got, fmt.Sprintf("| `%s` | `%s` | %s | %s |", name, exported[0], kind, labels))
	}
	slices.Sort(got)
	documented := sorted("(?m)^(\\| `searchtoken\\.[^|]*\\|[^|]*\\|[^|]*\\|[^|]*\\|)", metricsSection(t))
	check(t, "rows of the table, without the last column", got, documented)
}

// TestTheAlertsUseWhatIsScraped checks names of metrics, names of labels and
// outcomes.
func TestTheAlertsUseWhatIsScraped(t *testing.T) {
	h := newHarness(t)
	h.everything()
	scraped := h.scrape()
	alerts := readFile(t, "prometheus/alerts.yml")
	known := sorted(`\b(searchtoken_[a-z_]+)`, scraped)
	for _, name := range sorted(`\b(searchtoken_[a-z_]+)`, alerts) {
		if !slices.Contains(known, name) {
			t.Errorf("alerts.yml uses %s, which is not scraped", name)
		}
	}
	values := slices.Concat(constants(t, "EventKind"), constants(t, "Outcome"))
	for _, matched := range sorted(`searchtoken_(?:kind|outcome)=~?"([^"]+)"`, alerts) {
		for value := range strings.SplitSeq(matched, "|") {
			if !slices.Contains(values, value) {
				t.Errorf("alerts.yml matches %q, which is neither a kind nor an outcome", value)
			}
		}
	}
	check(t, "alerts in docs/operations.md",
		sorted(`alert: (\w+)`, alerts), sorted("(?m)^\\| `(SearchToken\\w+)` \\|", metricsSection(t)))
}

// TestPromtoolAcceptsTheAlerts needs promtool. It also runs the tests of the
// rules.
func TestPromtoolAcceptsTheAlerts(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		t.Run(args[0], func(t *testing.T) {
			promtool := exec.CommandContext(t.Context(), "promtool", args...)
			promtool.Dir = "prometheus"
			if out, err := promtool.CombinedOutput(); err != nil {
				t.Errorf("promtool %s: %v (it is in Debian's package prometheus)\n%s", strings.Join(args, " "), err, out)
			}
		})
	}
	alerts := sorted(`alert: (\w+)`, readFile(t, "prometheus/alerts.yml"))
	tests := readFile(t, "prometheus/alerts_test.yml")
	check(t, "alerts that are tested to fire", alerts, sorted(`(?m)^ +alertname: (\w+)$`, tests))
	check(t, "alerts that are tested not to fire", alerts, sorted(`alertname: (\w+), exp_alerts: \[\]`, tests))
}
