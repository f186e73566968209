package searchtokentest

import "time"

// searchResponse is the response to a query. It has every property that JSUI,
// Atomic and Headless read.
type searchResponse struct {
	TotalCount              int                 `json:"totalCount"`
	TotalCountFiltered      int                 `json:"totalCountFiltered"`
	Duration                int64               `json:"duration"` // this and the next three are in milliseconds
	IndexDuration           int64               `json:"indexDuration"`
	RequestDuration         int64               `json:"requestDuration"`
	SearchAPIDuration       int64               `json:"searchAPIDuration"`
	SearchUID               string              `json:"searchUid"`
	Pipeline                string              `json:"pipeline"`
	SplitTestRun            string              `json:"splitTestRun"`
	SearchHub               string              `json:"searchHub"` // the hub in effect; Coveo's responses lack it
	APIVersion              int                 `json:"apiVersion"`
	IsFallbackToAdmin       bool                `json:"isFallbackToAdmin"`
	Warnings                []string            `json:"warnings"`
	Errors                  []string            `json:"errors"`
	RefinedKeywords         []string            `json:"refinedKeywords"`
	Triggers                []any               `json:"triggers"`
	TermsToHighlight        map[string][]string `json:"termsToHighlight"`
	PhrasesToHighlight      map[string]any      `json:"phrasesToHighlight"`
	QueryCorrections        []any               `json:"queryCorrections"`
	GroupByResults          []any               `json:"groupByResults"`
	Facets                  []facetResponse     `json:"facets"`
	SuggestedFacets         []any               `json:"suggestedFacets"`
	CategoryFacets          []any               `json:"categoryFacets"`
	GenerateAutomaticFacets automaticFacets     `json:"generateAutomaticFacets"`
	ExtendedResults         extendedResults     `json:"extendedResults"`
	Results                 []result            `json:"results"`
}

type extendedResults struct {
	AnswerID string `json:"generativeQuestionAnsweringId,omitempty"` // ID of the stream that answers the query
}

type automaticFacets struct {
	Facets []any `json:"facets"`
}

func newSearchResponse(params searchParams, facets []facetResponse, total int, duration time.Duration) searchResponse {
	ms := duration.Milliseconds()
	return searchResponse{
		TotalCount:              total,
		TotalCountFiltered:      total,
		Duration:                ms,
		IndexDuration:           ms,
		RequestDuration:         ms,
		SearchAPIDuration:       ms,
		SearchUID:               newID(),
		Pipeline:                params.Pipeline,
		SearchHub:               params.SearchHub,
		APIVersion:              2,
		Warnings:                []string{},
		Errors:                  []string{},
		RefinedKeywords:         []string{},
		Triggers:                []any{},
		TermsToHighlight:        map[string][]string{},
		PhrasesToHighlight:      map[string]any{},
		QueryCorrections:        []any{},
		GroupByResults:          []any{},
		Facets:                  facets,
		SuggestedFacets:         []any{},
		CategoryFacets:          []any{},
		GenerateAutomaticFacets: automaticFacets{Facets: []any{}},
		Results:                 []result{},
	}
}

// result is one result of a query.
type result struct {
	Title                     string         `json:"title"`
	URI                       string         `json:"uri"`
	PrintableURI              string         `json:"printableUri"`
	ClickURI                  string         `json:"clickUri"`
	UniqueID                  string         `json:"uniqueId"`
	Excerpt                   string         `json:"excerpt"`
	FirstSentences            string         `json:"firstSentences"`
	Summary                   *string        `json:"summary"`
	Flags                     string         `json:"flags"`
	HasHTMLVersion            bool           `json:"hasHtmlVersion"`
	HasMobileHTMLVersion      bool           `json:"hasMobileHtmlVersion"`
	Score                     int            `json:"score"`
	PercentScore              float64        `json:"percentScore"`
	RankingInfo               *string        `json:"rankingInfo"`
	Rating                    float64        `json:"rating"`
	IsTopResult               bool           `json:"isTopResult"`
	IsRecommendation          bool           `json:"isRecommendation"`
	IsUserActionView          bool           `json:"isUserActionView"`
	TitleHighlights           []highlight    `json:"titleHighlights"`
	FirstSentencesHighlights  []highlight    `json:"firstSentencesHighlights"`
	ExcerptHighlights         []highlight    `json:"excerptHighlights"`
	PrintableURIHighlights    []highlight    `json:"printableUriHighlights"`
	SummaryHighlights         []highlight    `json:"summaryHighlights"`
	ParentResult              *result        `json:"parentResult"`
	ChildResults              []result       `json:"childResults"`
	TotalNumberOfChildResults int            `json:"totalNumberOfChildResults"`
	AbsentTerms               []string       `json:"absentTerms"`
	Raw                       map[string]any `json:"raw"`
	SearchUID                 string         `json:"searchUid"`
}

func newResult(m match, searchUID string) result {
	return result{
		Title:                    m.Title,
		URI:                      m.URI,
		PrintableURI:             m.URI,
		ClickURI:                 m.URI,
		UniqueID:                 m.uniqueID,
		Excerpt:                  m.Excerpt,
		FirstSentences:           m.Excerpt,
		Flags:                    "HasHtmlVersion",
		HasHTMLVersion:           true,
		Score:                    m.score,
		PercentScore:             min(100, 80+float64(m.score-1000)/25),
		TitleHighlights:          m.titleHighlights,
		FirstSentencesHighlights: m.excerptHighlights,
		ExcerptHighlights:        m.excerptHighlights,
		PrintableURIHighlights:   []highlight{},
		SummaryHighlights:        []highlight{},
		ChildResults:             []result{},
		AbsentTerms:              []string{},
		Raw:                      m.raw,
		SearchUID:                searchUID,
	}
}
