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

// Document is an item of the index. The zero Document is public, and has an
// empty title and URI.
type Document struct {
	Title   string
	Excerpt string

	// URI is the address that a result links to. It also identifies the
	// document, so it should be unique.
	URI string

	// HTML is the preview of the document. It is sent unchanged, like the HTML
	// of documents that Coveo has indexed: with any scripts and forms in it.
	// Default: a page with Title and Excerpt.
	HTML string

	// Source, ObjectType and FileType are the values of the fields source,
	// objecttype and filetype. Defaults: "Intranet", "Page" and "html".
	Source     string
	ObjectType string
	FileType   string

	// Date is the value of the field date. Default: 1 January 2025.
	Date time.Time

	// Allowed lists the names of the identities that may see the document.
	// Their provider is [EmailSecurityProvider]; case and type do not matter.
	// Empty: everyone, including anonymous visitors.
	Allowed []string

	// SearchHubs lists the search hubs in which the document can be found.
	// Empty: every hub.
	SearchHubs []string

	// Fields holds the values of further fields. Names are not case-sensitive;
	// results show them in lower case. Defaults: "default" for collection,
	// "English" for language.
	//
	// These names are reserved, and ignored here: title, uri, clickableuri,
	// urihash, sysurihash, permanentid, source, syssource, objecttype,
	// filetype, sysfiletype, date, sysdate and size.
	//
	// Filters and facets work on every field except date, sysdate and size,
	// which are numbers.
	Fields map[string]string
}

// DefaultDocuments returns the documents of a [Platform] whose [Config] has
// none: a small intranet. Four documents are public, two are for
// alice@example.com and bob@example.com, and each of them has one that the
// other cannot see.
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

// entry is a document in the index. It is never modified.
type entry struct {
	Document
	uniqueID string
	fields   map[string]string // the text fields, by lower-case name
	raw      map[string]any    // all fields, as results show them
	title    []word
	excerpt  []word
}

func newIndex(documents []Document) []*entry {
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
		entries[i] = newEntry(d)
	}
	return entries
}

func newEntry(d Document) *entry {
	e := &entry{
		Document: d,
		uniqueID: "1.1$" + d.URI,
		fields:   map[string]string{"collection": "default", "language": "English"},
		title:    splitWords(d.Title),
		excerpt:  splitWords(d.Excerpt),
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

// visibleTo reports whether one of the identities may see the document.
func (e *entry) visibleTo(ids []UserID) bool {
	if len(e.Allowed) == 0 {
		return true
	}
	return slices.ContainsFunc(ids, func(id UserID) bool {
		return id.Provider == EmailSecurityProvider &&
			slices.ContainsFunc(e.Allowed, func(name string) bool { return strings.EqualFold(name, id.Name) })
	})
}

// inHub reports whether the document can be found in the search hub.
func (e *entry) inHub(hub string) bool {
	return len(e.SearchHubs) == 0 || slices.Contains(e.SearchHubs, hub)
}
