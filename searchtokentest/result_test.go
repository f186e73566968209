package searchtokentest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestResultHasWhatFrontEndsRead(t *testing.T) {
	p := New(Config{Documents: []Document{
		{Title: "Über 😀 straße", Excerpt: "Die STRASSE, die Straße.", URI: "https://example.com/1"},
	}})
	parameters := query("q", "Straße", "searchHub", "h", "access_token", p.IssueToken(user(alice)))
	_, b := send(t, p, "GET", "/rest/search/v2"+parameters, "")
	var got map[string]any
	decode(t, b, &got)
	for name, want := range map[string]any{
		"totalCount": 1.0, "totalCountFiltered": 1.0, "searchHub": "h", "pipeline": "default",
	} {
		if got[name] != want {
			t.Errorf("got %s %v, want %v", name, got[name], want)
		}
	}
	results := got["results"].([]any)
	r := results[0].(map[string]any)
	if r["searchUid"] == "" || r["searchUid"] != got["searchUid"] {
		t.Errorf("got searchUid %v in the result, want %v", r["searchUid"], got["searchUid"])
	}
	raw, _ := r["raw"].(map[string]any)
	for _, name := range []string{
		"urihash", "source", "collection", "sysurihash", "date", "permanentid", "objecttype", "filetype",
	} {
		if raw[name] == nil {
			t.Errorf("raw has no %s", name)
		}
	}
	for name, want := range map[string]any{
		"title": "Über 😀 straße", "excerpt": "Die STRASSE, die Straße.", "firstSentences": "Die STRASSE, die Straße.",
		"uri": "https://example.com/1", "printableUri": "https://example.com/1", "clickUri": "https://example.com/1",
		"uniqueId": "1.1$https://example.com/1", "score": 1110.0, "percentScore": 84.4,
	} {
		if r[name] != want {
			t.Errorf("got %s %v, want %v", name, r[name], want)
		}
	}
	wantTitle := []any{map[string]any{"offset": 8.0, "length": 6.0}} // 😀 is two UTF-16 code units
	wantExcerpt := []any{map[string]any{"offset": 17.0, "length": 6.0}}
	if diff := cmp.Diff([]any{wantTitle, wantExcerpt}, []any{r["titleHighlights"], r["excerptHighlights"]}); diff != "" {
		t.Errorf("highlights (-want +got):\n%s", diff)
	}
	// Front ends read the length of every list.
	for name, v := range got {
		if v == nil {
			t.Errorf("%s is null", name)
		}
	}
	for name, v := range r {
		if v == nil && name != "summary" && name != "parentResult" && name != "rankingInfo" {
			t.Errorf("%s of the result is null", name)
		}
	}
}

func TestSearchResponseHasDurationsInMilliseconds(t *testing.T) {
	r := newSearchResponse(searchParams{}, nil, 0, 1500*time.Millisecond)
	got := []int64{r.Duration, r.IndexDuration, r.RequestDuration, r.SearchAPIDuration}
	if diff := cmp.Diff([]int64{1500, 1500, 1500, 1500}, got); diff != "" {
		t.Errorf("durations (-want +got):\n%s", diff)
	}
}

func TestPercentScoreIsAtMost100(t *testing.T) {
	for score, want := range map[int]float64{1000: 80, 1100: 84, 1500: 100, 9000: 100} {
		if got := newResult(match{entry: new(entry), score: score}, "").PercentScore; got != want {
			t.Errorf("score %d: got %v, want %v", score, got, want)
		}
	}
}
