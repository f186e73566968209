package redact

import (
	"html"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxViews is how many views of a text are searched: the text itself, and what
// it says if encodings are taken off one after the other.
const maxViews = 12

// encodings are the ways to write a character by others.
var encodings = []encoding{{'\\', unescape}, {'%', unescapeURL}, {'&', unescapeHTML}}

// encoding is a byte that starts a sequence, and a function that decodes it: it
// returns the character and the length of the sequence, or 0 if a text does not
// start with one.
type encoding struct {
	mark   byte
	decode func(text string) (character string, length int)
}

// view is another spelling of a text. text[i] stands for the bytes of the
// original from at[i] to at[i+1].
type view struct {
	text string
	at   []int // has an element for each byte of text, and one for its end
}

// newView returns s as a view of itself.
func newView(s string) view {
	at := make([]int, len(s)+1)
	for i := range at {
		at[i] = i
	}
	return view{s, at}
}

// span returns the part of the original that text[from:to] stands for. It ends
// with a whole sequence, even if only the first of its characters is meant.
func (v view) span(from, to int) span {
	for to < len(v.text) && v.at[to] == v.at[to-1] {
		to++
	}
	return span{v.at[from], v.at[to]}
}

// rewrite returns a view of the same original. next returns what replaces the
// start of a text, and how long that start is.
func (v view) rewrite(next func(rest string) (replacement string, length int)) view {
	var text strings.Builder
	text.Grow(len(v.text))
	at := make([]int, 0, len(v.at))
	for i := 0; i < len(v.text); {
		s, length := next(v.text[i:])
		text.WriteString(s)
		for range len(s) {
			at = append(at, v.at[i])
		}
		i += length
	}
	return view{text.String(), append(at, v.at[len(v.text)])}
}

// fold returns a view in which all spellings are equal that differ in letter
// case, or in how they write a space.
func (v view) fold() view {
	return v.rewrite(func(rest string) (string, int) {
		r, length := utf8.DecodeRuneInString(rest)
		if r == '+' || !unicode.IsPrint(r) {
			return " ", length
		}
		if folded := unicode.ToLower(unicode.ToUpper(r)); folded != r {
			return string(folded), length
		}
		return rest[:length], length
	})
}

// viewsOf returns s as it is, and with one or more encodings taken off. An
// encoding is taken off alone, because a text may have the marks of another one
// as they are: a backslash in HTML, for example. The views with the fewest
// encodings taken off come first.
func viewsOf(s string) []view {
	views := []view{newView(s)}
	seen := map[string]bool{s: true}
	for i := 0; i < len(views); i++ {
		for _, e := range encodings {
			decoded := views[i].decode(e)
			if seen[decoded.text] {
				continue
			}
			if len(views) == maxViews {
				return views
			}
			seen[decoded.text] = true
			views = append(views, decoded)
		}
	}
	return views
}

// decode returns a view without one level of an encoding.
func (v view) decode(e encoding) view {
	if strings.IndexByte(v.text, e.mark) < 0 {
		return v
	}
	return v.rewrite(func(rest string) (string, int) {
		if rest[0] == e.mark {
			if character, length := e.decode(rest); length > 0 {
				return character, length
			}
		}
		return rest[:1], 1
	})
}

// unescapeURL decodes %XX.
func unescapeURL(s string) (string, int) {
	if b, ok := parseHex(s, 1, 3); ok {
		return string([]byte{byte(b)}), 3
	}
	return "", 0
}

// unescapeHTML decodes a character reference that ends with a semicolon.
func unescapeHTML(s string) (string, int) {
	const longest = 32
	end := strings.IndexByte(s[:min(len(s), longest)], ';')
	if end < 0 || strings.IndexByte(s[1:end], '&') >= 0 { // the semicolon is that of another one
		return "", 0
	}
	if c := html.UnescapeString(s[:end+1]); c != s[:end+1] {
		return c, end + 1
	}
	return "", 0
}

// unescape decodes an escape sequence of JSON or Go. Other characters stand for
// themselves after a backslash.
func unescape(s string) (string, int) {
	if len(s) == 1 {
		return "", 0
	}
	switch s[1] {
	case 'n', 'r', 't':
		return " ", 2
	case 'x':
		if b, ok := parseHex(s, 2, 4); ok {
			return string([]byte{byte(b)}), 4
		}
	case 'U', 'u':
		if r, ok := parseHex(s, 2, 10); ok && r <= unicode.MaxRune {
			return string(r), 10
		}
		r, ok := parseHex(s, 2, 6)
		if !ok {
			break
		}
		if strings.HasPrefix(s[6:], `\u`) {
			if low, ok := parseHex(s, 8, 12); ok && utf16.DecodeRune(r, low) != unicode.ReplacementChar {
				return string(utf16.DecodeRune(r, low)), 12
			}
		}
		return string(r), 6
	}
	return s[1:2], 2
}

// parseHex returns the hexadecimal number in s[from:to].
func parseHex(s string, from, to int) (rune, bool) {
	if len(s) < to {
		return 0, false
	}
	n, err := strconv.ParseUint(s[from:to], 16, 31)
	return rune(n), err == nil
}
