package searchtoken

import (
	"html/template"
	"strings"
)

// RenderByHTMLTemplate renders a snippet as html/template does by itself, with the
// values of p as actions.
func RenderByHTMLTemplate(f FrontEnd, p *Page, args ...string) (string, error) {
	text, err := f.withActions(p, args)
	if err != nil {
		return "", err
	}
	t, err := template.New("").Delims(leftDelim, rightDelim).Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, p)
	return b.String(), err
}
