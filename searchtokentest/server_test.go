package searchtokentest

import (
	"bufio"
	"io"
	"net"
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
	t.Run("request body not complete", func(t *testing.T) {
		s := NewServer(Config{})
		conn := dial(t, s)
		write(t, conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		// The server sends this when the platform begins to read the body.
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("got %q and error %v, want 100 Continue", line, err)
		}
		s.Close()
	})
	t.Run("delayed, with a pipelined request", func(t *testing.T) {
		s := NewServer(Config{})
		s.Inject(Fault{Delay: 1 << 62})
		conn := dial(t, s)
		write(t, conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		for s.Count() == 0 {
			runtime.Gosched()
		}
		// net/http does not notice the end of a connection after such a byte.
		write(t, conn, "G")
		s.Close()
	})
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}
