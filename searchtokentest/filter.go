package searchtokentest

import (
	"errors"
	"regexp"
	"strings"
)

// errFilter says what a query expression may consist of. Anything else is refused, because a filter that is half
// understood shows more than it should.
var errFilter = errors.New(`supported are @field==value and @field=="quoted value", joined by AND or white space`)

// condition is one @field==value.
type condition struct {
	field string // in lower case
	value string
}

// conditionPattern matches a condition at the start of a text, and the white space after it.
var conditionPattern = regexp.MustCompile(`^@([A-Za-z][A-Za-z0-9_]*)==(?:"([^"\\]*)"|([\pL\pN_.:/@+-]+))(?:\s+|$)`)

// parseFilter reads a filter, cq or aq. A blank one has no conditions.
func parseFilter(expression string) ([]condition, error) {
	var conditions []condition
	for rest := strings.TrimSpace(expression); rest != ""; {
		m := conditionPattern.FindStringSubmatch(rest)
		if m == nil {
			return nil, errFilter
		}
		conditions = append(conditions, condition{field: strings.ToLower(m[1]), value: m[2] + m[3]})
		rest = rest[len(m[0]):]
		if after, ok := strings.CutPrefix(rest, "AND"); ok {
			// What follows must be a condition: an AND with nothing behind it is refused.
			if rest = strings.TrimSpace(after); rest == "" || rest == after {
				return nil, errFilter
			}
		}
	}
	return conditions, nil
}

// matches reports whether the document has the value, in any case. A document without the field does not.
func (c condition) matches(e *entry) bool {
	value, ok := e.fields[c.field]
	return ok && strings.EqualFold(value, c.value)
}
