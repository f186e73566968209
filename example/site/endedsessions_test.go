package site

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMemorySessionsRemembersAnIDForItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions := newMemorySessions()
		end := func(id string, life time.Duration) {
			t.Helper()
			if err := sessions.End(t.Context(), id, life); err != nil {
				t.Fatal(err)
			}
		}
		check := func(when string, want map[string]bool) {
			t.Helper()
			got := make(map[string]bool)
			for id := range want {
				var err error
				if got[id], err = sessions.Ended(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		end("long", 2*time.Hour)
		end("short", time.Hour)
		for i := range 1000 {
			end(fmt.Sprint("short ", i), time.Hour)
		}
		check("at once", map[string]bool{"long": true, "short": true, "another": false})
		time.Sleep(time.Hour)
		check("after an hour", map[string]bool{"long": true, "short": false, "another": false})
		end("another", time.Hour)
		check("after another End", map[string]bool{"long": true, "short": false, "another": true})
		if got := len(sessions.until); got != 2 {
			t.Errorf("%d IDs are remembered, want 2", got)
		}
	})
}
