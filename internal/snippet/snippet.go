// Package snippet renders templates that differ from one request to the next in
// a few values only.
//
// [Compile] executes a template once, with a placeholder for each of these
// values, and [Snippet.Fill] puts the values of a request into the places.
// html/template escapes each value for the context in which it stands. A
// [Cache] keeps compiled snippets.
package snippet

import (
	"crypto/rand"
	"html/template"
	"strings"
)

// A Slot is a place for a value in one context of an HTML page. The functions
// that make a Slot say which. A Slot is safe for concurrent use.
type Slot struct {
	placeholder   string
	before, after string             // text that puts html/template into the slot's context
	template      *template.Template // before, the value, after
	safe          string             // the characters that need no escaping in this context
}

// unreserved are the characters that need no escaping in HTML, in URLs and in
// scripts. A JWT consists of them.
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"

// Attribute returns a Slot for a quoted attribute that is neither a URL nor a
// style nor a script.
func Attribute() *Slot { return newSlot(`<p title="`, `"></p>`, unreserved+"/=") }

// URLQuery returns a Slot for the query of a URL in a quoted attribute.
func URLQuery() *Slot { return newSlot(`<a href="?`, `"></a>`, unreserved) }

// ScriptString returns a Slot for a string between double quotes in a script.
func ScriptString() *Slot { return newSlot(`<script>"`, `"</script>`, unreserved+" ") }

func newSlot(before, after, safe string) *Slot {
	return &Slot{
		// Random, so that no other text contains it. Letters and digits pass
		// html/template in every context, and query escaping, unchanged.
		placeholder: "slot" + rand.Text(),
		before:      before,
		after:       after,
		template:    template.Must(template.New("").Parse(before + "{{.}}" + after)),
		safe:        safe,
	}
}

// Placeholder returns the text that stands for the value in the data that
// [Compile] executes a template with. No two Slots have the same.
func (s *Slot) Placeholder() string { return s.placeholder }

// escape returns value as html/template writes it in the context of s.
func (s *Slot) escape(value string) (string, error) {
	if strings.TrimLeft(value, s.safe) == "" {
		return value, nil
	}
	var b strings.Builder
	b.Grow(len(s.before) + len(value) + len(s.after))
	if err := s.template.Execute(&b, value); err != nil {
		return "", err
	}
	return b.String()[len(s.before) : b.Len()-len(s.after)], nil
}

// A Snippet is the output of a template, with places for values. It is safe for
// concurrent use.
type Snippet struct {
	slots []*Slot
	texts []string // one more than places
	// places[i] is the index of the slot whose value follows texts[i].
	places []int
	size   int // bytes of the output with placeholders, which is at least the sum of texts
}

// Compile executes the template of t that has that name. The data contains the
// placeholders of the slots, each any number of times. A placeholder must stand
// in the context of its slot.
func Compile(t *template.Template, name string, data any, slots ...*Slot) (*Snippet, error) {
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return nil, err
	}
	rest := b.String()
	s := &Snippet{slots: slots, size: len(rest)}
	for {
		start, slot := len(rest), -1
		for i, candidate := range slots {
			if at := strings.Index(rest, candidate.placeholder); at >= 0 && at < start {
				start, slot = at, i
			}
		}
		s.texts = append(s.texts, rest[:start])
		if slot < 0 {
			return s, nil
		}
		s.places = append(s.places, slot)
		rest = rest[start+len(slots[slot].placeholder):]
	}
}

// Fill returns the snippet with the values, one for each slot in the order in
// which [Compile] took them. Values without a place are ignored.
func (s *Snippet) Fill(values ...string) (template.HTML, error) {
	var array [4]string // on the stack
	escaped := append(array[:0], values...)
	for i, slot := range s.slots {
		var err error
		if escaped[i], err = slot.escape(values[i]); err != nil {
			return "", err
		}
	}
	size := s.size
	for _, slot := range s.places {
		size += len(escaped[slot])
	}
	var b strings.Builder
	b.Grow(size)
	for i, slot := range s.places {
		b.WriteString(s.texts[i])
		b.WriteString(escaped[slot])
	}
	b.WriteString(s.texts[len(s.places)])
	return template.HTML(b.String()), nil
}
