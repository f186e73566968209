package redisserver

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards TCP connections to a server. It can hold back data, delay it,
// and break the connections.
type Proxy struct {
	Addr string // host:port

	mu    sync.Mutex    // guards the fields below
	gate  chan struct{} // nil: data passes
	delay time.Duration
	conns []net.Conn
}

// StartProxy starts a proxy in front of the server at target. It stops when the
// test ends.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: listener.Addr().String()}
	t.Cleanup(func() {
		listener.Close()
		p.Unblock()
		p.Break()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			go p.forward(client, server)
			go p.forward(server, client)
		}
	}()
	return p
}

func (p *Proxy) forward(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		gate, delay := p.gate, p.delay
		p.mu.Unlock()
		if delay > 0 {
			<-time.After(delay)
		}
		if gate != nil {
			<-gate
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// Block holds back all data and keeps the connections open, as a firewall does
// that drops packets.
func (p *Proxy) Block() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// Unblock forwards the data that Block held back, and all later data.
func (p *Proxy) Unblock() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil {
		close(p.gate)
		p.gate = nil
	}
}

// Delay delays all later data, in both directions.
func (p *Proxy) Delay(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// Break closes all connections. New connections are accepted.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}
