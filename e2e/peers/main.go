//go:build linux

// Command peers loads servers of the same search page in turn, and prints what
// each of them can do as a Markdown table:
//
//	cd e2e && go run ./peers
//
// It needs Linux, wrk, Node.js, and npm ci in peers/express.
//
// Every server is a process of its own, and so is the stand-in for the platform:
// a real one runs elsewhere, and nobody is charged its CPU time and memory here.
// All share the machine with it and the load generator, though, which takes more
// from servers that call the platform more often. CPU time per page has none of
// that in it.
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
	rounds := flag.Int("rounds", 3, "rounds that the medians are taken of, at least `1`")
	seconds := flag.Int("seconds", 5, "seconds for each server in a round")
	serve := flag.String("serve", "", "be this server (the command starts itself so)")
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
	// One round more: in the first, just-in-time compilers warm up. It counts for
	// the calls of the platform only.
	for round := range max(*rounds, 1) + 1 {
		for i := range peers {
			p := peers[(i+round)%len(peers)] // each goes first once
			r := p.load(*seconds, platform)
			fmt.Fprintf(os.Stderr, "round %d: %6.0f/s  %s\n", round, r.perSecond(), p.name)
			p.runs = append(p.runs, r)
		}
	}
	fmt.Printf("Medians of %d rounds of %d s. %d connections, %d users; a token call takes %v. %d CPUs for all, of which Node.js uses one; %s.\n\n",
		len(peers[0].runs)-1, *seconds, connections, users, tokenLatency, runtime.NumCPU(), runtime.Version())
	printTable(peers)
}

// requirements says what is missing, and how to get it.
func requirements() (missing error) {
	const packages = "peers/express/node_modules"
	if _, err := os.Stat(packages); err != nil {
		missing = errors.New(packages + " is missing: in the folder e2e, npm ci --prefix peers/express, or make bench")
	}
	for command, remedy := range map[string]string{"wrk": "apt-get install wrk", "node": "apt-get install nodejs npm"} {
		if _, err := exec.LookPath(command); err != nil {
			missing = errors.Join(missing, fmt.Errorf("%s is missing: %s, or make bench", command, remedy))
		}
	}
	return missing
}

// printTable prints what the peers did, and how it compares with the first in the
// same round.
func printTable(peers []*peer) {
	fmt.Println("| server | per second | of the limit | p50 ms | p99 ms | CPU µs each | peak memory MB | token calls per 10,000 | bytes |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, p := range peers {
		calls, pages := 0, 0
		for _, r := range p.runs {
			calls, pages = calls+r.calls, pages+r.Pages
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

// median is that of a figure of all runs but the first.
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

// must ends the command, and all servers with it, where there is an error.
func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
