package redact_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	const maxInput = 8 << 10
	for _, filler := range []string{" ", strings.Repeat("\u200b", 20) + " "} {
		for offset := -len(jwt) - 1; offset <= 1; offset++ {
			text := filler + strings.Repeat(" ", maxInput+offset-len(filler)) + jwt + strings.Repeat(" x", 500)
			if got := redact.Text(text, jwt); strings.Contains(got, "eyJ") {
				t.Errorf("a secret at %d: Text = %q", maxInput+offset, got)
			}
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
		t.Errorf("a text of 8 KiB: Text = %q, want %q", got, want)
	}
}

// To examine all of a text of 16 MiB would take several seconds.
func TestTextExaminesABoundedPartOfALongText(t *testing.T) {
	for _, word := range []string{"a", "@", "eyJ", "a@", "xx00000000-a!", "bearer x", "access_token=", "%40"} {
		text := strings.Repeat(strings.Repeat(word, 20)+" ", 16<<20/(20*len(word)+1))
		start := time.Now()
		redact.Text(text, "Ann Lee", apiKey)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Text took %v for 16 MiB of %q", took, word)
		}
	}
}

func TestTruncate(t *testing.T) {
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
		{"an email address", "jsmith@example.com", "jsmith@example.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := redact.Truncate(tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Truncate (-want +got):\n%s", diff)
			}
			if !utf8.ValidString(got) {
				t.Errorf("Truncate = %q, which is invalid UTF-8", got)
			}
		})
	}
}

func TestErrorKeepsTheIdentityOfTheError(t *testing.T) {
	pathErr := &fs.PathError{Op: "open", Path: "/home/jsmith@example.com", Err: os.ErrNotExist}
	err := redact.Error(fmt.Errorf("for Ann Lee: %w", pathErr), "Ann Lee")
	if got, want := err.Error(), "for [redacted]: open /home/[redacted]: file does not exist"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Error("errors.Is does not find what the error wraps")
	}
	var target *fs.PathError
	if !errors.As(err, &target) || target != pathErr {
		t.Error("errors.As does not find what the error wraps")
	}
}

func TestErrorPrintsNoSecretUnderAnyVerb(t *testing.T) {
	err := redact.Error(errors.New("no user Ann Lee"), "Ann Lee")
	for _, verb := range []string{"%v", "%+v", "%s", "%q", "%x"} {
		got := fmt.Sprintf(verb, err)
		if strings.Contains(got, "Ann") || strings.Contains(got, fmt.Sprintf("%x", "Ann")) {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
