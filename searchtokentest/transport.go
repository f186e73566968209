package searchtokentest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// errDropped is the error of a client whose connection is closed before the
// response begins.
var errDropped = fmt.Errorf("searchtokentest: connection dropped: %w", io.ErrUnexpectedEOF)

// RoundTrip serves r in this process, for any host in its URL: the platform can
// be the Transport of an [http.Client].
//
// RoundTrip behaves like a network connection. It streams the response body and
// ends when the request's context ends. Responses that a [Fault] delays, cuts
// off or drops fail as they do on a network. The caller must close the
// response's body. Because RoundTrip uses no socket, client and platform can
// run in one testing/synctest bubble.
func (p *Platform) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	pr, pw := io.Pipe()
	w := &pipeWriter{
		header:  make(http.Header),
		body:    pw,
		isHead:  r.Method == http.MethodHead,
		started: make(chan struct{}),
	}
	in := serverRequest(r.WithContext(ctx))
	closeBody := sync.OnceFunc(func() { _ = in.Body.Close() })
	// When ctx ends, the reader of the response gets the reason, and the
	// handler stops waiting for the rest of the request body.
	stop := context.AfterFunc(ctx, func() {
		_ = pw.CloseWithError(ctx.Err())
		closeBody()
	})
	go func() {
		defer cancel()
		defer stop()
		defer func() { w.finish(ctx, recover()) }()
		defer closeBody()
		p.ServeHTTP(w, in)
	}()

	select {
	case <-r.Context().Done():
		cancel()
		return nil, r.Context().Err()
	case <-w.started:
	}
	if w.status == 0 {
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		return nil, errDropped
	}
	return &http.Response{
		Status:        strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sentHeader,
		Body:          &pipeBody{PipeReader: pr, cancel: cancel},
		ContentLength: w.contentLength,
		Request:       r,
	}, nil
}

// serverRequest changes r from a client's request to what a server would
// receive, and returns it. r must be a copy.
func serverRequest(r *http.Request) *http.Request {
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "192.0.2.1:1234" // an address for documentation, as httptest.NewRequest has
	return r
}

// pipeBody is the body of a response. Closing it cancels the context of the
// handler's request.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *pipeBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// pipeWriter is the ResponseWriter of RoundTrip. RoundTrip itself may read
// status, sentHeader and contentLength only after started is closed.
type pipeWriter struct {
	header  http.Header
	body    *io.PipeWriter
	isHead  bool  // the request is a HEAD: discard the body
	written int64 // bytes of the body

	started       chan struct{}
	once          sync.Once
	status        int // 0: the connection was dropped
	sentHeader    http.Header
	contentLength int64 // -1: unknown

	noBody bool // the status does not allow a body
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		w.sentHeader = w.header.Clone()
		w.contentLength = -1
		switch n, err := strconv.ParseInt(w.sentHeader.Get("Content-Length"), 10, 64); {
		case status == http.StatusNoContent, status == http.StatusNotModified:
			// As in net/http: no body, and no header about one.
			w.noBody, w.contentLength = true, 0
			w.sentHeader.Del("Content-Length")
			if status == http.StatusNotModified {
				w.sentHeader.Del("Content-Type")
			}
		case err == nil:
			w.contentLength = n
		}
		close(w.started)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.noBody:
		return 0, http.ErrBodyNotAllowed
	case w.isHead:
		return len(b), nil
	}
	n, err := w.body.Write(b)
	w.written += int64(n)
	return n, err
}

// Flush starts the response. What was written has reached the client already.
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

// finish ends the response after the handler has returned (v is nil) or
// panicked with v. If ctx is done, the client gets its error in either case.
func (w *pipeWriter) finish(ctx context.Context, v any) {
	aborted := false
	if v != nil {
		if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			panic(v)
		}
		aborted = true
		w.once.Do(func() { close(w.started) })
	}
	w.WriteHeader(http.StatusOK)
	switch {
	case ctx.Err() != nil:
		_ = w.body.CloseWithError(ctx.Err())
	case aborted, !w.isHead && w.written < w.contentLength:
		_ = w.body.CloseWithError(io.ErrUnexpectedEOF)
	default:
		_ = w.body.Close()
	}
}
