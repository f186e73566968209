//go:build linux

// Command peers puts load on several servers of the same search page, one after
// the other, and prints the results as a Markdown table:
//
//	cd e2e && go run ./peers
//
// It needs Linux, wrk, Node.js, and npm ci in peers/express.
//
// Each server runs in a separate process, and so does the stand-in for the
// platform, because the real platform runs elsewhere. The CPU time and the
// memory of a server do not include the platform's. Pages per second do: all
// processes share the machine, so a server that calls the platform more often
// gets less of it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

func init() {
	log.SetFlags(0)
	log.SetPrefix("peers: ")
	runtime.LockOSThread() // see peer.start
}

func main() {
	rounds := flag.Int("rounds", 3, "`number` of rounds for the medians, at least 1")
	seconds := flag.Int("seconds", 5, "`seconds` of load for each server in a round")
	serve := flag.String("serve", "", "`name` of a server to run; used internally")
	flag.Parse()
	if *serve != "" {
		log.Fatal(serveAs(*serve))
	}
	if err := requirements(); err != nil {
		log.Fatal(err)
	}

	platform, peers := newPeers(must(os.Executable()))
	platform.start("")
	platformURL := strings.TrimSuffix(platform.url, platform.path)
	for _, p := range peers {
		p.start(platformURL)
		p.check()
	}
	// The first round is extra: just-in-time compilers warm up in it. Only its
	// token calls count.
	for round := range max(*rounds, 1) + 1 {
		for i := range peers {
			p := peers[(i+round)%len(peers)] // a different server is first in each round
			r := p.load(*seconds, platform)
			fmt.Fprintf(os.Stderr, "round %d: %6.0f/s  %s\n", round, r.perSecond(), p.name)
			p.runs = append(p.runs, r)
		}
	}
	fmt.Printf("Medians of %d rounds of %d s. %d connections, %d users. A token call takes %v. ",
		len(peers[0].runs)-1, *seconds, connections, users, tokenLatency)
	fmt.Printf("All processes share %d CPUs; Node.js uses one. %s.\n\n", runtime.NumCPU(), runtime.Version())
	printTable(peers)
}

// requirements returns an error that lists what is missing, and how to install
// it.
func requirements() (missing error) {
	const packages = "peers/express/node_modules"
	if _, err := os.Stat(packages); err != nil {
		missing = errors.New(packages + " is missing; run npm ci --prefix peers/express in e2e")
	}
	for command, remedy := range map[string]string{"wrk": "apt-get install wrk", "node": "apt-get install nodejs npm"} {
		if _, err := exec.LookPath(command); err != nil {
			missing = errors.Join(missing, fmt.Errorf("%s is missing; run %s", command, remedy))
		}
	}
	return missing
}

// printTable prints the results of all peers. "of the limit" compares pages per
// second with the first peer in the same round.
func printTable(peers []*peer) {
	fmt.Println("| server | pages per second | of the limit | p50 ms | p99 ms | CPU µs per page " +
		"| peak memory MB | token calls per 10,000 pages | bytes per page |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, p := range peers {
		calls, pages := 0, 0
		for _, r := range p.runs {
			calls, pages = calls+r.tokenCalls, pages+r.Pages
		}
		var ofLimit []float64
		for i, r := range p.runs[1:] {
			ofLimit = append(ofLimit, r.perSecond()/peers[0].runs[1:][i].perSecond())
		}
		fmt.Printf("| %s | %.0f | %.2f | %.1f | %.1f | %.0f | %.0f | %.1f | %d |\n",
			p.name, p.median(run.perSecond), median(ofLimit),
			p.median(func(r run) float64 { return r.P50 }), p.median(func(r run) float64 { return r.P99 }),
			p.median(run.cpuEach), p.peakMemory(), float64(calls)/float64(pages)*1e4, p.bytes)
	}
}

// median returns the median of a figure over all runs except the first.
func (p *peer) median(figure func(run) float64) float64 {
	var figures []float64
	for _, r := range p.runs[1:] {
		figures = append(figures, figure(r))
	}
	return median(figures)
}

func median(figures []float64) float64 {
	slices.Sort(figures)
	return (figures[(len(figures)-1)/2] + figures[len(figures)/2]) / 2
}

// must returns v. If err is not nil, it ends the command and with it all
// servers.
func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
