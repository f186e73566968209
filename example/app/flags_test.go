package app

import (
	"errors"
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
)

func TestHelpListsAllFlagsAndEnvironmentVariables(t *testing.T) {
	wants := []string{"-addr", "-assets", "-drain", "-hat", "-proxy", "-secure"}
	_, err := readSettings(func(name string) string {
		wants = append(wants, name+" ")
		return ""
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		arg   string
		first string // line of the output
		help  bool
	}{
		"help":               {"-h", "Usage: example [flags]", true},
		"an unknown flag":    {"-nonsense", "flag provided but not defined: -nonsense", false},
		"an extra argument":  {"argument", `example: unexpected argument "argument"`, false},
		"a malformed switch": {"-secure=2", `invalid boolean value "2" for -secure: parse error`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			app := App{
				About: "It has a hat.\n",
				Flags: func(flags *flag.FlagSet) { flags.Bool("hat", false, "with a hat") },
			}
			_, err := app.parseArgs([]string{test.arg}, &stderr)
			if err == nil || errors.Is(err, flag.ErrHelp) != test.help {
				t.Errorf("the error is %v; want flag.ErrHelp: %v", err, test.help)
			}
			if first, _, _ := strings.Cut(stderr.String(), "\n"); first != test.first {
				t.Errorf("the first line is %q, want %q", first, test.first)
			}
			for _, want := range wants {
				if !strings.Contains(stderr.String(), "\n  "+want) {
					t.Errorf("%s is not in the help:\n%s", want, stderr.String())
				}
			}
			if !strings.Contains(stderr.String(), "for the Coveo platform.\n"+app.About) {
				t.Errorf("About does not continue the first paragraph:\n%s", stderr.String())
			}
		})
	}
}

func TestParseArgs(t *testing.T) {
	tests := map[string]struct {
		args []string
		want options
	}{
		"no flags": {nil, options{assets: site.DefaultAssets}},
		"all flags": {
			[]string{"-addr", "127.0.0.1:1", "-assets=https://a.example", "-proxy", "-secure", "-drain", "5s"},
			options{addr: "127.0.0.1:1", assets: "https://a.example", proxy: true, secure: true, drain: 5 * time.Second},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := App{}.parseArgs(test.args, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(options{})); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}
