package redact

import (
	"html"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxEncodings is how many views of a text are searched: the text itself, and
// what it says if encodings are taken off one after the other.
const maxEncodings = 4

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

// span returns the part of the original that text[from:to] stands for.
func (v view) span(from, to int) span { return span{v.at[from], v.at[to]} }

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

// decode returns a view without one level of escapes.
func (v view) decode() view {
	if !strings.ContainsAny(v.text, `\%&`) {
		return v
	}
	return v.rewrite(func(rest string) (string, int) {
		switch rest[0] {
		case '\\':
			return unescape(rest)
		case '%':
			if b, ok := parseHex(rest, 1, 3); ok {
				return string([]byte{byte(b)}), 3
			}
		case '&':
			if end := strings.IndexByte(rest[:min(len(rest), 32)], ';'); end > 0 {
				if c := html.UnescapeString(rest[:end+1]); c != rest[:end+1] {
					return c, end + 1
				}
			}
		}
		return rest[:1], 1
	})
}

// unescape returns the character that an escape sequence of JSON or Go stands
// for, and the length of the sequence. Other characters stand for themselves
// after a backslash.
func unescape(s string) (string, int) {
	if len(s) == 1 {
		return s, 1
	}
	switch s[1] {
	case 'n', 'r', 't':
		return " ", 2
	case 'x':
		if b, ok := parseHex(s, 2, 4); ok {
			return string([]byte{byte(b)}), 4
		}
	case 'U':
		if r, ok := parseHex(s, 2, 10); ok {
			return string(r), 10
		}
	case 'u':
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
