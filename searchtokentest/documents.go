package searchtokentest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
)

// Document is an item of the index.
type Document struct {
	Title   string
	Excerpt string

	// URI is the address that a result links to. It also identifies the document.
	URI string

	// Source, ObjectType and FileType are the fields source, objecttype and filetype.
	// Defaults: "Intranet", "Page" and "html".
	Source     string
	ObjectType string
	FileType   string

	// Date is the field date. Default: 1 January 2025.
	Date time.Time

	// Allowed names the identities of the EmailSecurityProvider that may see the document, in any case and of any type.
	// Empty: everyone may, anonymous visitors included.
	Allowed []string

	// SearchHubs are the search hubs in which the document can be found. Empty: all.
	SearchHubs []string

	// Fields are further fields, and may have collection and language (defaults: "default" and "English"). Their names
	// are not case-sensitive; results have them in lower case. Those that follow from the properties above are
	// reserved, and what Fields say of them is ignored: title, uri, clickableuri, urihash, sysurihash, permanentid,
	// source, syssource, objecttype, filetype, sysfiletype, date, sysdate and size.
	//
	// Filters and facets take all fields but date, sysdate and size, which are numbers.
	Fields map[string]string
}

// DefaultDocuments returns the index of a platform whose Config has none: a small intranet. Four documents are public,
// one each is for alice@example.com and bob@example.com alone, two are for both.
func DefaultDocuments() []Document {
	const alice, bob = "alice@example.com", "bob@example.com"
	return []Document{
		{
			Title:   "Welcome to the intranet",
			Excerpt: "Where to find people, places and answers in your first week.",
			URI:     "https://intranet.example.com/welcome",
			Fields:  map[string]string{"tenant": "acme"},
		},
		{
			Title:      "Reset your password",
			Excerpt:    "Choose a new password in three steps, with your phone at hand.",
			URI:        "https://help.example.com/articles/reset-password",
			Source:     "Help",
			ObjectType: "Article",
			Fields:     map[string]string{"tenant": "acme"},
		},
		{
			Title:      "Connect to the office network from home",
			Excerpt:    "Install the client, sign in, and reach every printer in the office.",
			URI:        "https://help.example.com/articles/network",
			Source:     "Help",
			ObjectType: "Article",
			Fields:     map[string]string{"tenant": "acme"},
		},
		{
			Title:    "Holiday calendar",
			Excerpt:  "Public holidays of this year, and the days on which the office is closed.",
			URI:      "https://intranet.example.com/holidays.pdf",
			FileType: "pdf",
			Fields:   map[string]string{"tenant": "globex"},
		},
		{
			Title:      "Sales report of the last quarter",
			Excerpt:    "Revenue by region, and what the sales team expects of the next quarter.",
			URI:        "https://reports.example.com/sales",
			Source:     "Reports",
			ObjectType: "Report",
			Allowed:    []string{alice, bob},
			Fields:     map[string]string{"tenant": "acme"},
		},
		{
			Title:      "Case 1042: the printer prints in green only",
			Excerpt:    "The printer on the second floor of the office has lost its other colors.",
			URI:        "https://help.example.com/cases/1042",
			Source:     "Help",
			ObjectType: "Case",
			Allowed:    []string{alice, bob},
			Fields:     map[string]string{"tenant": "globex"},
		},
		{
			Title:      "Alice's performance review",
			Excerpt:    "Goals that Alice has reached, and those for the next year.",
			URI:        "https://reports.example.com/reviews/alice",
			Source:     "Reports",
			ObjectType: "Review",
			Allowed:    []string{alice},
			Fields:     map[string]string{"tenant": "acme"},
		},
		{
			Title:      "Bob's performance review",
			Excerpt:    "Goals that Bob has reached, and those for the next year.",
			URI:        "https://reports.example.com/reviews/bob",
			Source:     "Reports",
			ObjectType: "Review",
			Allowed:    []string{bob},
			Fields:     map[string]string{"tenant": "acme"},
		},
	}
}

// entry is a document as the index holds it. It never changes.
type entry struct {
	Document
	uniqueID string
	fields   map[string]string // those that are text, by names in lower case
	raw      map[string]any    // what a result shows as its fields
	title    []word
	excerpt  []word
}

func index(documents []Document) []*entry {
	entries := make([]*entry, len(documents))
	for i, d := range documents {
		d.Source = cmp.Or(d.Source, "Intranet")
		d.ObjectType = cmp.Or(d.ObjectType, "Page")
		d.FileType = cmp.Or(d.FileType, "html")
		if d.Date.IsZero() {
			d.Date = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)
		}
		d.Allowed = slices.Clone(d.Allowed)
		d.SearchHubs = slices.Clone(d.SearchHubs)
		d.Fields = maps.Clone(d.Fields)
		entries[i] = newEntry(d)
	}
	return entries
}

func newEntry(d Document) *entry {
	e := &entry{
		Document: d,
		uniqueID: "1.1$" + d.URI,
		fields:   map[string]string{"collection": "default", "language": "English"},
		title:    words(d.Title),
		excerpt:  words(d.Excerpt),
	}
	for name, value := range d.Fields {
		e.fields[strings.ToLower(name)] = value
	}
	sum := sha256.Sum256([]byte(d.URI))
	hash := hex.EncodeToString(sum[:])
	maps.Copy(e.fields, map[string]string{
		"title":        d.Title,
		"uri":          d.URI,
		"clickableuri": d.URI,
		"urihash":      hash[:16],
		"sysurihash":   hash[:16],
		"permanentid":  hash[:60],
		"source":       d.Source,
		"syssource":    d.Source,
		"objecttype":   d.ObjectType,
		"filetype":     d.FileType,
		"sysfiletype":  d.FileType,
	})
	numbers := map[string]any{
		"date":    d.Date.UnixMilli(),
		"sysdate": d.Date.UnixMilli(),
		"size":    len(d.Excerpt),
	}
	for name := range numbers {
		delete(e.fields, name)
	}

	e.raw = make(map[string]any, len(e.fields)+len(numbers))
	for name, value := range e.fields {
		e.raw[name] = value
	}
	maps.Copy(e.raw, numbers)
	e.raw["language"] = []string{e.fields["language"]}
	return e
}

// visibleTo reports whether an impersonated identity may see the document.
func (e *entry) visibleTo(ids []UserID) bool {
	if len(e.Allowed) == 0 {
		return true
	}
	return slices.ContainsFunc(ids, func(id UserID) bool {
		return id.Provider == EmailSecurityProvider &&
			slices.ContainsFunc(e.Allowed, func(name string) bool { return strings.EqualFold(name, id.Name) })
	})
}

// inHub reports whether the document can be found in a search hub.
func (e *entry) inHub(hub string) bool {
	return len(e.SearchHubs) == 0 || slices.Contains(e.SearchHubs, hub)
}
