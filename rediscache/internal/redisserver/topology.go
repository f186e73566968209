package redisserver

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// MasterSet is the name under which a sentinel monitors its primary.
const MasterSet = "primary"

// StartSentinel starts a sentinel that decides alone on the failover of
// primary.
func StartSentinel(t testing.TB, primary *Server) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(primary.Addr)
	config := filepath.Join(t.TempDir(), "sentinel.conf") // the sentinel rewrites it
	lines := []string{
		fmt.Sprintf("sentinel monitor %s %s %s 1", MasterSet, host, port),
		fmt.Sprintf("sentinel down-after-milliseconds %s 500", MasterSet),
		fmt.Sprintf("sentinel failover-timeout %s 3000", MasterSet),
	}
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: FreeAddr(t), t: t}
	_, port, _ = net.SplitHostPort(s.Addr)
	s.args = []string{config, "--sentinel", "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir()}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// StartCluster starts a cluster of n primaries without replicas. If a primary
// fails, the others still serve their own keys.
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
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))
		})
	}
	return nodes
}
