package searchtokentest

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// match is a document that a query finds.
type match struct {
	*entry
	score             int
	titleHighlights   []highlight
	excerptHighlights []highlight
}

// highlight is the position of a query word in a text, in UTF-16 code units as
// in JavaScript.
type highlight struct {
	Offset int `json:"offset"`
	Length int `json:"length"`
}

// matchWords reports whether every word occurs in the title or in the excerpt.
// An occurrence in the title adds 100 to the score, one in the excerpt 10.
func (e *entry) matchWords(queryWords []word) (match, bool) {
	m := match{entry: e, score: 1000, titleHighlights: []highlight{}, excerptHighlights: []highlight{}}
	for _, w := range queryWords {
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

// word is a sequence of letters and digits in a text.
type word struct {
	text     string // in lower case
	position highlight
}

// splitWords returns the words of s in order.
func splitWords(s string) []word {
	var list []word
	var b strings.Builder
	offset, start := 0, 0
	endWord := func() {
		if b.Len() > 0 {
			list = append(list, word{text: b.String(), position: highlight{Offset: start, Length: offset - start}})
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
			endWord()
		}
		offset += utf16.RuneLen(r)
	}
	endWord()
	return list
}

// occurrences returns the positions of text in words.
func occurrences(words []word, text string) []highlight {
	var list []highlight
	for _, w := range words {
		if w.text == text {
			list = append(list, w.position)
		}
	}
	return list
}
