// Package redisserver runs Redis servers for tests. A machine without the command
// redis-server fails them.
package redisserver

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 10 * time.Second // for what takes a moment

// Server is a Redis server on loopback.
type Server struct {
	// Addr is its host and port.
	Addr string

	t       testing.TB
	args    []string
	command *exec.Cmd
	log     *bytes.Buffer
}

// Start starts a server that keeps nothing on disk, with further arguments as
// redis-server takes them. It ends with the test.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	addr := FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	s := &Server{Addr: addr, t: t, args: append([]string{
		"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
	}, args...)}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// FreeAddr is an address on loopback that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// Start starts a server that was killed, empty, under the same address.
func (s *Server) Start() {
	s.t.Helper()
	s.log = new(bytes.Buffer)
	s.command = exec.Command("redis-server", s.args...)
	s.command.Stdout, s.command.Stderr = s.log, s.log
	if err := s.command.Start(); err != nil {
		s.t.Fatalf("%v (Debian's package redis-server has it)", err)
	}
	Eventually(s.t, "the server answers", func() bool { return s.ask("PING") != "" })
}

// Kill ends the server at once, as a machine does that fails.
func (s *Server) Kill() {
	if s.command.ProcessState == nil {
		s.Signal(syscall.SIGCONT)
		s.Signal(syscall.SIGKILL)
		_ = s.command.Wait()
	}
}

// Signal sends the server a signal, SIGSTOP and SIGCONT for example.
func (s *Server) Signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.command.Process.Signal(signal); err != nil {
		s.t.Error(err)
	}
}

// Do sends a command, whose parts have no white space in them, and returns the
// answer as it is on the wire.
func (s *Server) Do(command ...string) string {
	s.t.Helper()
	answer := s.ask(strings.Join(command, " "))
	if answer == "" || answer[0] == '-' {
		s.t.Fatalf("%s: %q", command[0], answer)
	}
	return answer
}

// ask returns "" where the server does not answer.
func (s *Server) ask(line string) string {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(line + "\r\nQUIT\r\n")); err != nil {
		return ""
	}
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(conn)
	return strings.TrimSuffix(answer.String(), "+OK\r\n")
}

// Eventually fails the test unless what is asked for comes true soon.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// MasterSet is the name by which a sentinel knows its primary.
const MasterSet = "primary"

// StartSentinel starts a sentinel that alone decides on the primary's failover.
func StartSentinel(t testing.TB, primary *Server) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(primary.Addr)
	config := filepath.Join(t.TempDir(), "sentinel.conf") // which it writes to
	text := fmt.Sprintf("sentinel monitor %[1]s %s %s 1\nsentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 3000\n", MasterSet, host, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: FreeAddr(t), t: t}
	_, port, _ = net.SplitHostPort(s.Addr)
	s.args = []string{config, "--sentinel", "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir()}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// StartCluster starts a cluster of n primaries, which serves what it can when one of
// them is gone.
func StartCluster(t testing.TB, n int) []*Server {
	t.Helper()
	var nodes []*Server
	create := []string{"--cluster", "create"}
	for range n {
		_, bus, _ := net.SplitHostPort(FreeAddr(t))
		node := Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", bus,
			"--cluster-require-full-coverage", "no")
		nodes = append(nodes, node)
		create = append(create, node.Addr)
	}
	if out, err := exec.Command("redis-cli", append(create, "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli: %v\n%s", err, out)
	}
	for _, node := range nodes {
		Eventually(t, "the cluster is complete", func() bool {
			info := node.Do("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))
		})
	}
	return nodes
}
