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

// errDropped is what a client gets that waits for an answer on a connection which ends.
var errDropped = fmt.Errorf("searchtokentest: connection dropped: %w", io.ErrUnexpectedEOF)

// RoundTrip lets the platform answer r within the process, whatever its host: http.Client{Transport: p} is a client
// of p. It behaves as a connection does: it streams the body, it ends with the request's context, and answers that a
// Fault delays, cuts off or drops fail as they do on the network. The caller must close the response's body.
//
// There is no socket behind it, so a testing/synctest bubble can hold both ends.
func (p *Platform) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	pr, pw := io.Pipe()
	w := &pipeWriter{header: make(http.Header), body: pw, head: r.Method == http.MethodHead, started: make(chan struct{})}
	in := serverRequest(r.WithContext(ctx))
	closeBody := sync.OnceFunc(func() { _ = in.Body.Close() })
	// The reader of the answer learns why it ends early, and the handler does not wait for the rest of the request.
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
		Header:        w.sent,
		Body:          &pipeBody{PipeReader: pr, cancel: cancel},
		ContentLength: w.length,
		Request:       r,
	}, nil
}

// serverRequest makes of a client's request, which is already a copy, what a server would see.
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
	r.RemoteAddr = "192.0.2.1:1234" // a documentation address: there is no peer
	return r
}

// pipeBody is the body of an answer; closing it tells the handler that the client is gone.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *pipeBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// pipeWriter is the handler's side of RoundTrip. The fields that the client's side reads are set before started closes.
type pipeWriter struct {
	header  http.Header
	body    *io.PipeWriter
	head    bool // no body is sent
	written int64

	started chan struct{}
	once    sync.Once
	status  int // 0: the connection ended without an answer
	sent    http.Header
	length  int64 // -1: not announced

	bodiless bool // by its status
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		w.sent = w.header.Clone()
		w.length = -1
		switch n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64); {
		case status == http.StatusNoContent, status == http.StatusNotModified:
			// As net/http has it: neither a body nor a word about one.
			w.bodiless, w.length = true, 0
			w.sent.Del("Content-Length")
			if status == http.StatusNotModified {
				w.sent.Del("Content-Type")
			}
		case err == nil:
			w.length = n
		}
		close(w.started)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.bodiless:
		return 0, http.ErrBodyNotAllowed
	case w.head:
		return len(b), nil
	}
	n, err := w.body.Write(b)
	w.written += int64(n)
	return n, err
}

// Flush sends the header; what is written is never held back.
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

// finish ends the answer after the handler has returned, or panicked with v. A client whose context is done gets the
// context's error, however the handler took it.
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
	case aborted, !w.head && w.written < w.length:
		_ = w.body.CloseWithError(io.ErrUnexpectedEOF)
	default:
		_ = w.body.Close()
	}
}
