package snippet

import "sync"

// What exceeds these limits is compiled for each request.
const (
	maxSnippets = 1024
	maxSize     = 32 << 10 // bytes
)

// A Cache keeps up to 1,024 compiled snippets of up to 32 KiB each. The zero
// Cache is empty and ready to use. It is safe for concurrent use.
type Cache[K comparable] struct {
	mu sync.RWMutex
	m  map[K]*Snippet // guarded by mu
}

// Get returns the snippet of key. If the Cache does not have it, Get calls
// compile and keeps its result. If the Cache is full, Get removes another
// snippet, any one. Concurrent calls may compile the same snippet.
func (c *Cache[K]) Get(key K, compile func() (*Snippet, error)) (*Snippet, error) {
	c.mu.RLock()
	s := c.m[key]
	c.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	s, err := compile()
	if err != nil || s.size > maxSize {
		return s, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[K]*Snippet{}
	}
	for other := range c.m {
		if len(c.m) < maxSnippets {
			break
		}
		delete(c.m, other)
	}
	c.m[key] = s
	return s, nil
}
