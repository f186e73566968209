package searchtoken

import (
	"context"
	"fmt"
)

// contextKey is the key of the *Page in a request's context, and requestKey
// that of the *pageContext.
type (
	contextKey struct{}
	requestKey struct{}
)

// pageContext is the context of a request with a page. It also holds the
// request for the page's token and the values of the page's headers, so that
// all of them take one allocation.
type pageContext struct {
	context.Context
	page    Page
	request tokenRequest
	headers [2]string
}

// Value returns the page, the context itself, or a value of the request's own
// context.
func (c *pageContext) Value(key any) any {
	switch key {
	case contextKey{}:
		return &c.page
	case requestKey{}:
		return c
	}
	return c.Context.Value(key)
}

// String and GoString keep fmt from printing the page with its token.
func (c *pageContext) String() string   { return fmt.Sprintf("%v.searchtoken", c.Context) }
func (c *pageContext) GoString() string { return c.String() }

// FromContext returns the [Page] of a request that passed through
// [Middleware.Handler], from the request's context. Without a Handler it
// returns nil and false. On an Optional route the page may have no token;
// Page.Err then says why.
func FromContext(ctx context.Context) (*Page, bool) {
	page, ok := ctx.Value(contextKey{}).(*Page)
	return page, ok && page != nil
}

// NewContext returns a context in which [FromContext] finds p: in tests of your
// handlers, with routers that do not pass the context of [Middleware.Handler]
// on, and for [Middleware.Transport] in workers. Transport needs p.Token, and
// p.Identity to renew it.
func NewContext(ctx context.Context, p *Page) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}
