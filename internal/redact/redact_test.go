package redact_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/redact"
)

const (
	apiKey = "xx01234567-89ab-cdef-0123-456789abcdef"
	jwt    = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
)

func TestTextRemovesSecrets(t *testing.T) {
	tests := []struct {
		name, text string
		known      []string
		want       string
	}{
		{
			name: "nothing secret", text: "the answer is 42: see http://host/path?q=1",
			want: "the answer is 42: see http://host/path?q=1",
		},
		{"empty", "", []string{"Ann Lee"}, ""},

		{"JWT", "token " + jwt + " expired", nil, "token [redacted] expired"},
		{"half a JWT", "token eyJhbGci", nil, "token [redacted]"},
		{"API key", "key " + apiKey + ", used", nil, "key [redacted], used"},
		{"API key in upper case", "key " + strings.ToUpper(apiKey), nil, "key [redacted]"},
		{"bearer token", `Authorization: Bearer 0paque~token"`, nil, `Authorization: Bearer [redacted]"`},
		{"bearer token in lower case", "authorization: bearer 0paque", nil, "authorization: bearer [redacted]"},
		{"query parameter", "GET /?access_token=0paque&q=1", nil, "GET /?access_token=[redacted]&q=1"},
		{"query parameter in upper case", "ACCESS_TOKEN=0paque", nil, "ACCESS_TOKEN=[redacted]"},

		{"email address", "user jsmith@example.com, again", nil, "user [redacted], again"},
		{"email address in a URL", "/users/jsmith%40example.com?q=1", nil, "/users/[redacted]"},
		{"email address in HTML", "<b>jsmith&#64;example.com</b>", nil, "<b>[redacted]</b>"},
		{"email address in JSON", `{"user":"jsmith@example.com"}`, nil, `{"user":"[redacted]"}`},

		{"known name", "user Ann is unknown", []string{"Ann"}, "user [redacted] is unknown"},
		{"known name, everywhere", "Ann, Ann", []string{"Ann"}, "[redacted], [redacted]"},
		{"longest name first", "user Ann Lee of Ann", []string{"Ann", "Ann Lee"}, "user [redacted] of [redacted]"},
		{"name with a line break", "user Ann\nLee", []string{"Ann Lee"}, "user [redacted]"},
		{"known name with a line break", "user Ann Lee", []string{"Ann\nLee"}, "user [redacted]"},
		{"three bytes", "a Bob", []string{"Bob"}, "a [redacted]"},
		{"three bytes that are two characters", "a Éd", []string{"Éd"}, "a [redacted]"},
		{"two bytes", "a Jo", []string{"Jo", "a", ""}, "a Jo"},
		{"name that begins inside another", "user Ann Lee Ann", []string{"Ann Lee", "Lee Ann"}, "user [redacted]"},
		{"known secret that is an expression", "a+b (c)", []string{"a+b"}, "[redacted] (c)"},

		{"control characters", "a\r\nb\tc\x00d\x1b[31m\u2028e\u202e", nil, "a  b c d [31m e "},
		{"invalid UTF-8", "a\xffb", nil, "a\uFFFDb"},
		{
			name: "redacted before it is truncated", text: strings.Repeat("-", 290) + " " + jwt,
			want: strings.Repeat("-", 290) + " [redacted…",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, redact.Text(tt.text, tt.known...)); diff != "" {
				t.Errorf("Text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextDoesNotModifyTheKnownSecrets(t *testing.T) {
	known := []string{"Jo", "Ann", "Ann Lee"}
	redact.Text("Ann Lee", known...)
	if diff := cmp.Diff([]string{"Jo", "Ann", "Ann Lee"}, known); diff != "" {
		t.Errorf("known (-want +got):\n%s", diff)
	}
}

// A text is cut before it is searched. A secret at the cut must not survive in
// half.
func TestTextShowsNoHalfOfASecretInALongText(t *testing.T) {
	const maxInput = 4 << 10
	for _, filler := range []string{" ", strings.Repeat("\u200b", 20) + " "} {
		for offset := -len(jwt) - 1; offset <= 1; offset++ {
			text := filler + strings.Repeat(" ", maxInput+offset-len(filler)) + jwt + strings.Repeat(" x", 500)
			if got := redact.Text(text, jwt); strings.Contains(got, "eyJ") {
				t.Errorf("a secret at %d: Text = %q", maxInput+offset, got)
			}
		}
	}
	for _, filler := range []string{"Ann Le", "Ann Lee Jr"} {
		text := strings.Repeat("access_token=x ", (maxInput-4)/15)
		text += strings.Repeat(" ", maxInput-len(filler)-len(text)) + filler + strings.Repeat("x", 500)
		if got := redact.Text(text, "Ann Lee", "Ann Lee Jr Esquire"); strings.Contains(got, "Ann") {
			t.Errorf("a name at the cut: Text = %q", got)
		}
	}
	for _, text := range []string{strings.Repeat("x", maxInput+1), apiKey + strings.Repeat("x", maxInput)} {
		if got := redact.Text(text); got != "" {
			t.Errorf("one long word: Text = %q, want none of it", got)
		}
	}
	if got, want := redact.Text("first "+strings.Repeat("x", maxInput)), "first"; got != want {
		t.Errorf("Text = %q, want %q", got, want)
	}
	if got, want := redact.Text(strings.Repeat("x", maxInput)), strings.Repeat("x", 300)+"…"; got != want {
		t.Errorf("a text of 4 KiB: Text = %q, want %q", got, want)
	}
}

// To examine all of a text of 16 MiB would take several seconds.
func TestTextExaminesABoundedPartOfALongText(t *testing.T) {
	for _, word := range []string{"a", "@", "eyJ", "a@", "xx00000000-a!", "bearer x", "access_token=", "%40", `\`, `\u`, "%25", "&amp;", "Ann Lee"} {
		text := strings.Repeat(strings.Repeat(word, 20)+" ", 16<<20/(20*len(word)+1))
		start := time.Now()
		redact.Text(text, "Ann Lee", apiKey)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Text took %v for 16 MiB of %q", took, word)
		}
	}
}

func TestTextIsShort(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct{ name, text, want string }{
		{"empty", "", ""},
		{"short", "a b", "a b"},
		{"300 bytes", long, long},
		{"301 bytes", long + "y", long + "…"},
		{"a character at the limit", strings.Repeat("x", 299) + "é", strings.Repeat("x", 299) + "…"},
		{"a character before the limit", strings.Repeat("x", 298) + "éy", strings.Repeat("x", 298) + "é…"},
		{"control characters", "a\r\nb\u2028c", "a  b c"},
		{"invalid UTF-8", "\xff" + long, "\uFFFD" + long[:297] + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := redact.Text(tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Text (-want +got):\n%s", diff)
			}
			if !utf8.ValidString(got) {
				t.Errorf("Text = %q, which is invalid UTF-8", got)
			}
		})
	}
}

func TestTextRemovesEverySpellingOfASecret(t *testing.T) {
	const (
		domain = `CORP\annlee`
		ann    = `Ann Lee (R&D)`
		nick   = `Zoë "Zo" 😀'Lee`
		key    = `a+b/c"d=`
	)
	redacted := regexp.MustCompile(`^user <\W*\[redacted\]\W*> is unknown$`) // quotes may be left
	for _, tt := range []struct{ name, text, known string }{
		{"as it is", domain, domain},
		{"in JSON", `CORP\\annlee`, domain},
		{"in JSON in JSON", `CORP\\\\annlee`, domain},
		{"in JSON in JSON in JSON", `CORP\\\\\\\\annlee`, domain},
		{"in a URL", `CORP%5Cannlee`, domain},
		{"in lower-case hex", `CORP%5cannlee`, domain},
		{"JSON in a URL", `CORP%5C%5Cannlee`, domain},
		{"another letter case", `corp\AnnLee`, domain},
		{"another letter case, in JSON", `corp\\ANNLEE`, domain},
		{"a name that looks like an escape", `CORP\u12345`, `CORP\u12345`},
		{"a name that looks like an escape, in JSON", `CORP\\u12345`, `CORP\u12345`},
		{"a name that looks like an escape, in capitals", `CORP\U12345`, `CORP\u12345`},
		{"a name with a line break's letter", `CORP\\nina`, `CORP\nina`},

		{"JSON as Go writes it", `Ann Lee (R\u0026D)`, ann},
		{"JSON in JSON as Go writes it", `Ann Lee (R\\u0026D)`, ann},
		{"JSON with every character escaped", `\u0041\u006E\u006e Lee (R&D)`, ann},
		{"query of a URL", `Ann+Lee+%28R%26D%29`, ann},
		{"path of a URL", `Ann%20Lee%20%28R&D%29`, ann},
		{"URL in a URL", `Ann%2520Lee%2520%2528R%2526D%2529`, ann},
		{"HTML", `Ann Lee (R&amp;D)`, ann},
		{"HTML with numbers", `Ann&#32;Lee&#x20;(R&#38;D)`, ann},
		{"HTML in JSON", `Ann Lee (R\u0026amp;D)`, ann},
		{"after an ampersand, before a semicolon", `&Ann%20Lee%20(R%26D);`, ann},
		{"a backslash in HTML", `CORP\nina &amp; Co`, `CORP\nina & Co`},
		{"other white space", "Ann\u00a0Lee\t(R&D)", ann},

		{"quoted by Go", fmt.Sprintf("%q", nick), nick},
		{"quoted by Go in ASCII", fmt.Sprintf("%+q", nick), nick},
		{"quoted by Go twice", fmt.Sprintf("%+q", fmt.Sprintf("%q", nick)), nick},
		{"surrogates of JSON", `Zo\u00eb \"Zo\" \uD83D\uDE00'Lee`, nick},
		{"bytes of Go", `Zo\xc3\xab \"Zo\" \U0001F600\'Lee`, nick},
		{"bytes of a URL", `Zo%C3%AB%20%22Zo%22%20%F0%9F%98%80%27Lee`, nick},
		{"capitals outside of ASCII", `ZOË "ZO" 😀'LEE`, nick},
		{"HTML with quotes", `Zo&euml; &quot;Zo&quot; 😀&#39;Lee`, nick},

		{"API key", key, key},
		{"API key in JSON", `a+b/c\"d=`, key},
		{"API key in JSON with slashes escaped", `a+b\/c\"d=`, key},
		{"API key in a URL", `a%2Bb%2Fc%22d%3D`, key},

		{"email address in JSON", `jsmith\u0040example.com`, ""},
		{"email address in a URL in a URL", `jsmith%2540example.com`, ""},
		{"email address in HTML in JSON", `jsmith\u0026#64;example.com`, ""},
		{"token in a URL", strings.ReplaceAll(jwt, ".", "%2E"), ""},
		{"API key of Coveo in a URL", strings.ReplaceAll(apiKey, "-", "%2D"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := redact.Text("user <"+tt.text+"> is unknown", tt.known)
			if !redacted.MatchString(got) {
				t.Errorf("Text(%s) = %s", tt.text, got)
			}
		})
	}
}

// TestTextRemovesASecretInThreeEncodings spells each secret in all sequences of
// three encodings.
func TestTextRemovesASecretInThreeEncodings(t *testing.T) {
	encodings := map[string]func(string) string{
		"none": func(s string) string { return s },
		"JSON": func(s string) string {
			text, _ := json.Marshal(s)
			return string(text)
		},
		"%+q": func(s string) string { return fmt.Sprintf("%+q", s) },
		"URL": url.QueryEscape, "HTML": html.EscapeString,
		"capitals": strings.ToUpper, "small letters": strings.ToLower,
	}
	for _, secret := range []string{
		`QUX\nina\u0041é漢😀JIX`, `QUX "Ann" & 'Lee' (R&D); <a+b/c> JIX`, `QUX%41&#65;JIX`,
	} {
		for first, encode1 := range encodings {
			for second, encode2 := range encodings {
				for third, encode3 := range encodings {
					text := encode3(encode2(encode1(secret)))
					got := strings.ToUpper(redact.Text("user "+text+" is unknown", secret))
					if strings.Contains(got, "QUX") || strings.Contains(got, "JIX") {
						t.Errorf("%s, %s, %s: Text(%s) = %s", first, second, third, text, got)
					}
				}
			}
		}
	}
}

func TestErrorIsWhatTheErrorIs(t *testing.T) {
	pathErr := &fs.PathError{Op: "open", Path: "/home/jsmith@example.com", Err: os.ErrNotExist}
	visible := &net.ParseError{Type: "visible"}
	err := redact.Error(fmt.Errorf("for Ann Lee: %w", pathErr), []error{fmt.Errorf("wrapped: %w", visible)}, "Ann Lee")
	if got, want := err.Error(), "for [redacted]: open /home/[redacted]: file does not exist"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, os.ErrNotExist) || !errors.Is(err, pathErr) {
		t.Error("errors.Is does not find what the error wraps")
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		t.Errorf("errors.As finds %v", path)
	}
	var parse *net.ParseError
	if !errors.As(err, &parse) || parse != visible {
		t.Error("errors.As does not find what is visible")
	}
	var network net.Error
	if errors.As(redact.Error(pathErr, nil), &network) {
		t.Errorf("errors.As finds the net.Error %v", network)
	}
}

func TestErrorIsATimeoutIfTheErrorIs(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"deadline", context.DeadlineExceeded, true},
		{"wrapped", fmt.Errorf("for jsmith@example.com: %w", os.ErrDeadlineExceeded), true},
		{"canceled", context.Canceled, false},
		{"another error of the network", &net.OpError{Op: "dial", Err: errors.New("refused")}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := redact.Error(tt.err, nil)
			var network net.Error
			if got := errors.As(err, &network) && network.Timeout(); got != tt.want {
				t.Errorf("the error is a timeout: %v, want %v", got, tt.want)
			}
			if !errors.Is(err, tt.err) || strings.Contains(err.Error(), "jsmith") || network != nil && network.Error() != err.Error() {
				t.Errorf("error %v, as a timeout %v", err, network)
			}
		})
	}
}

func TestErrorPrintsNoSecretUnderAnyVerb(t *testing.T) {
	err := redact.Error(fmt.Errorf("no user Ann Lee: %w", syscallError("Ann Lee")), nil, "Ann Lee")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		got := fmt.Sprintf(verb, err)
		if strings.Contains(got, "Ann") || strings.Contains(got, fmt.Sprintf("%x", "Ann")) {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

// syscallError is an error that %#v prints in full, because it is not a pointer.
type syscallError string

func (e syscallError) Error() string { return string(e) }
