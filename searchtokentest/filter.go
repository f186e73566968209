package searchtokentest

import (
	"errors"
	"regexp"
	"strings"
)

// errFilter lists the supported query expressions. Any other is refused,
// because a filter that is understood only in part would show too much.
var errFilter = errors.New(
	`this stand-in supports only @field==value and @field=="quoted value", joined by AND or white space`)

// condition is one @field==value.
type condition struct {
	field string // in lower case
	value string
}

// conditionPattern matches a condition at the start of a text, and the white
// space after it.
var conditionPattern = regexp.MustCompile(`^@([A-Za-z][A-Za-z0-9_]*)==(?:"([^"\\]*)"|([\pL\pN_.:/@+-]+))(?:\s+|$)`)

// parseFilter parses a filter, cq or aq. A blank expression has no conditions.
// The only error is errFilter.
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
			// White space and a condition must follow an AND.
			if rest = strings.TrimSpace(after); rest == "" || rest == after {
				return nil, errFilter
			}
		}
	}
	return conditions, nil
}

// holdsFor reports whether the document's field has the value, in any case. It
// is false for a document without the field.
func (c condition) holdsFor(e *entry) bool {
	value, ok := e.fields[c.field]
	return ok && strings.EqualFold(value, c.value)
}
