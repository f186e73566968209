package searchtokentest

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// Close waits neither for responses that never end nor for clients that do not
// read.
func TestServerCloseEndsResponsesInProgress(t *testing.T) {
	t.Run("delayed", func(t *testing.T) {
		s := NewServer(Config{})
		s.Inject(Fault{Delay: 1 << 62})
		result := make(chan error, 1)
		go func() {
			resp, err := http.Post(s.URL+"/rest/search/v2", "application/json", strings.NewReader("{}"))
			if err == nil {
				resp.Body.Close()
			}
			result <- err
		}()
		for s.Count() == 0 {
			runtime.Gosched()
		}
		s.Close()
		if err := <-result; err == nil {
			t.Error("got a response, want an error")
		}
	})
	t.Run("endless", func(t *testing.T) {
		s := NewServer(Config{})
		s.Inject(Fault{Endless: true})
		resp, err := http.Get(s.URL + "/rest/search/v2")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		s.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("got a complete body, want an error")
		}
		if got := s.Count(); got != 1 {
			t.Errorf("got %d requests on record after Close, want 1", got)
		}
	})
}
