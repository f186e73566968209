// Package redisserver runs Redis servers for tests: single servers, sentinels
// and clusters on loopback, and a proxy in front of them. It needs the commands
// redis-server and redis-cli. A test fails if they are missing.
package redisserver

import (
	"bytes"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a Redis server on loopback.
type Server struct {
	Addr string // host:port

	t       testing.TB
	args    []string
	command *exec.Cmd
	log     *bytes.Buffer
}

// Start starts an empty server that writes nothing to disk. args are additional
// arguments of redis-server. The server is killed when the test ends.
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

// FreeAddr returns an address on loopback that nothing listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// Start starts a server that was killed, at the same address and without its
// data.
func (s *Server) Start() {
	s.t.Helper()
	s.log = new(bytes.Buffer)
	s.command = exec.Command("redis-server", s.args...)
	s.command.Stdout, s.command.Stderr = s.log, s.log
	if err := s.command.Start(); err != nil {
		s.t.Fatalf("%v (install Debian's package redis-server)", err)
	}
	Eventually(s.t, "the server answers", func() bool { return s.ask("PING") != "" })
}

// Kill ends the server without a shutdown.
func (s *Server) Kill() {
	if s.command.ProcessState == nil {
		s.Signal(syscall.SIGCONT)
		s.Signal(syscall.SIGKILL)
		_ = s.command.Wait()
	}
}

// Signal sends a signal to the server, such as SIGSTOP and SIGCONT.
func (s *Server) Signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.command.Process.Signal(signal); err != nil {
		s.t.Error(err)
	}
}

// Do sends a command and returns the answer in wire format. The parts of the
// command must not contain white space. An error answer fails the test.
func (s *Server) Do(command ...string) string {
	s.t.Helper()
	answer := s.ask(strings.Join(command, " "))
	if answer == "" || answer[0] == '-' {
		s.t.Fatalf("%s: %q", command[0], answer)
	}
	return answer
}

// ask returns "" if the server does not answer.
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
