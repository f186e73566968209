package searchtokentest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// searchParams are the parameters of a query that the platform heeds. It ignores the others that front ends send.
type searchParams struct {
	Q               string         `json:"q"`
	AQ              string         `json:"aq"`
	CQ              string         `json:"cq"`
	SearchHub       string         `json:"searchHub"`
	Pipeline        string         `json:"pipeline"`
	FirstResult     int            `json:"firstResult"`
	NumberOfResults int            `json:"numberOfResults"`
	Facets          []facetRequest `json:"facets"`
}

// parseSearch reads a query from the URL and from a body in JSON (Headless, Atomic) or form encoding (JSUI).
func parseSearch(c *call) (searchParams, error) {
	p := searchParams{NumberOfResults: 10}
	if err := p.set(c.URL.Query()); err != nil {
		return p, err
	}
	if len(c.body) > 0 {
		switch mediaType(c.Request) {
		case "application/json":
			if json.Unmarshal(c.body, &p) != nil {
				return p, fmt.Errorf("the request body is not the JSON of a query")
			}
		case "application/x-www-form-urlencoded":
			form, err := url.ParseQuery(string(c.body))
			if err != nil {
				return p, fmt.Errorf("the request body is not a form")
			}
			if err := p.set(form); err != nil {
				return p, err
			}
		default:
			return p, fmt.Errorf("the request body must be JSON or a form")
		}
	}
	if p.FirstResult < 0 || p.NumberOfResults < 0 {
		return p, fmt.Errorf("firstResult and numberOfResults must not be negative")
	}
	return p, nil
}

// set takes what values has.
func (p *searchParams) set(values url.Values) error {
	for name, field := range map[string]*string{
		"q": &p.Q, "aq": &p.AQ, "cq": &p.CQ, "searchHub": &p.SearchHub, "pipeline": &p.Pipeline,
	} {
		if values.Has(name) {
			*field = values.Get(name)
		}
	}
	for name, field := range map[string]*int{"firstResult": &p.FirstResult, "numberOfResults": &p.NumberOfResults} {
		if text := values.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("%s must be an integer", name)
			}
			*field = n
		}
	}
	// JSUI puts JSON into its form fields.
	if text := values.Get("facets"); text != "" && json.Unmarshal([]byte(text), &p.Facets) != nil {
		return fmt.Errorf("facets must be a JSON array")
	}
	return nil
}

// enforce puts what the token says in the place of what the query says.
func (p *searchParams) enforce(claims *Claims) {
	p.SearchHub = cmp.Or(claims.SearchHub, p.SearchHub)
	p.Pipeline = cmp.Or(claims.Pipeline, p.Pipeline, "default")
}

// match is a document that a query finds.
type match struct {
	*entry
	score             int
	titleHighlights   []highlight
	excerptHighlights []highlight
}

// find returns what the holder of the token finds with p, best first. It does not heed facets.
func (p *Platform) find(claims *Claims, params searchParams) ([]match, error) {
	var conditions []condition
	for _, expression := range []struct{ name, text string }{
		{"the token's filter", claims.Filter}, {"cq", params.CQ}, {"aq", params.AQ},
	} {
		parsed, err := parseFilter(expression.text)
		if err != nil {
			return nil, fmt.Errorf("%s is not supported by this stand-in: %w", expression.name, err)
		}
		conditions = append(conditions, parsed...)
	}
	wanted := words(params.Q)
	var matches []match
	for _, e := range p.documents {
		fails := func(c condition) bool { return !c.matches(e) }
		if !e.visibleTo(claims.UserIDs) || !e.inHub(params.SearchHub) || slices.ContainsFunc(conditions, fails) {
			continue
		}
		if m, ok := e.match(wanted); ok {
			matches = append(matches, m)
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return b.score - a.score })
	return matches, nil
}

// match looks for every word in title and excerpt. A word in the title counts for more.
func (e *entry) match(wanted []word) (match, bool) {
	m := match{entry: e, score: 1000, titleHighlights: []highlight{}, excerptHighlights: []highlight{}}
	for _, w := range wanted {
		inTitle, inExcerpt := occurrences(e.title, w.text), occurrences(e.excerpt, w.text)
		if len(inTitle)+len(inExcerpt) == 0 {
			return match{}, false
		}
		m.score += 100*len(inTitle) + 10*len(inExcerpt)
		m.titleHighlights = append(m.titleHighlights, inTitle...)
		m.excerptHighlights = append(m.excerptHighlights, inExcerpt...)
	}
	byOffset := func(a, b highlight) int { return a.Offset - b.Offset }
	slices.SortFunc(m.titleHighlights, byOffset)
	slices.SortFunc(m.excerptHighlights, byOffset)
	return m, true
}

// highlight is where a word of the query stands, in UTF-16 units as browsers count.
type highlight struct {
	Offset int `json:"offset"`
	Length int `json:"length"`
}

type word struct {
	text string // in lower case
	at   highlight
}

// words splits s where there is neither a letter nor a digit.
func words(s string) []word {
	var list []word
	var b strings.Builder
	offset, start := 0, 0
	end := func() {
		if b.Len() > 0 {
			list = append(list, word{text: b.String(), at: highlight{Offset: start, Length: offset - start}})
			b.Reset()
		}
	}
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			if b.Len() == 0 {
				start = offset
			}
			b.WriteRune(unicode.ToLower(r))
		} else {
			end()
		}
		offset += utf16.RuneLen(r)
	}
	end()
	return list
}

func occurrences(in []word, text string) []highlight {
	var list []highlight
	for _, w := range in {
		if w.text == text {
			list = append(list, w.at)
		}
	}
	return list
}

// serveSearch answers GET and POST /rest/search/v2.
func (p *Platform) serveSearch(w http.ResponseWriter, c *call, claims *Claims) {
	start := time.Now()
	params, err := parseSearch(c)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	params.enforce(claims)
	p.requests.update(c.record, func(r *Request) { r.SearchHub = params.SearchHub })

	found, err := p.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	facets := computeFacets(params.Facets, found)
	found = selectFacets(params.Facets, -1, found)
	first := min(params.FirstResult, len(found))
	page := found[first : first+min(params.NumberOfResults, len(found)-first)]

	answer := newSearchAnswer(params, facets, len(found), time.Since(start))
	for _, m := range page {
		answer.Results = append(answer.Results, newResult(m, answer.SearchUID))
	}
	writeJSON(w, http.StatusOK, answer)
}
