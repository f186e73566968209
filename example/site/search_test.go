package site

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSearchTransportNoticesDeadConnections looks at the settings, because a
// dead connection takes seconds of real time.
func TestSearchTransportNoticesDeadConnections(t *testing.T) {
	transport, ok := newSearchTransport().(*http.Transport)
	if !ok || transport == http.DefaultTransport {
		t.Fatalf("transport %T, want one with settings of its own", transport)
	}
	want := &http.HTTP2Config{SendPingTimeout: 4 * time.Second, PingTimeout: 3 * time.Second}
	if diff := cmp.Diff(want, transport.HTTP2); diff != "" {
		t.Errorf("HTTP2 (-want +got):\n%s", diff)
	}
}
