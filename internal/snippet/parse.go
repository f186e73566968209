package snippet

import (
	"errors"
	"html/template"
	"io/fs"
	"path"
	"strings"
)

// ParseFS is template.ParseFS for files whose indentation and blank lines
// browsers do not need. It removes both from every line, even from one that
// continues a string or a template literal.
func ParseFS(files fs.FS, pattern string) (*template.Template, error) {
	t := template.New("")
	names, err := fs.Glob(files, pattern)
	for _, name := range names {
		text, readErr := fs.ReadFile(files, name)
		var b strings.Builder
		for line := range strings.Lines(string(text)) {
			b.WriteString(strings.TrimLeft(line, " \n"))
		}
		_, parseErr := t.New(path.Base(name)).Parse(b.String())
		err = errors.Join(err, readErr, parseErr)
	}
	return t, err
}
