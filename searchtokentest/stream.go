package searchtokentest

import (
	"encoding/json"
	"net/http"
	"time"
)

// writeEvents streams events as server-sent events, each as JSON. It sends each
// event at once, and waits for pause before the next. It panics with
// [http.ErrAbortHandler] if the client leaves.
func writeEvents(w http.ResponseWriter, r *http.Request, pause time.Duration, events []any) {
	h := w.Header()
	// Front ends accept this type without parameters only.
	setDefaultContentType(h, "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flush := func() { _ = http.NewResponseController(w).Flush() } // w may be a recorder that is unable to
	flush()
	for i, event := range events {
		if i > 0 && !sleep(r.Context(), pause) {
			panic(http.ErrAbortHandler)
		}
		data, _ := json.Marshal(event) // every type of this package can be encoded
		if _, err := w.Write([]byte("data: " + string(data) + "\n\n")); err != nil {
			panic(http.ErrAbortHandler)
		}
		flush()
	}
}
