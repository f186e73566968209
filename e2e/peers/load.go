//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// run is the result of loading a server once.
type run struct {
	Pages    int
	Failed   int
	Seconds  float64
	P50, P99 float64 // latencies in milliseconds

	cpu        time.Duration // CPU time of the server's process
	tokenCalls int           // token calls to the platform
}

// perSecond returns the pages per second, cpuEach the CPU time per page in
// microseconds.
func (r run) perSecond() float64 { return float64(r.Pages) / r.Seconds }
func (r run) cpuEach() float64   { return float64(r.cpu.Microseconds()) / float64(r.Pages) }

// load requests the page as each user in turn, as fast as the server responds.
func (p *peer) load(seconds int, platform *peer) (r run) {
	time.Sleep(time.Second) // until the previous server has finished its requests
	var cookies strings.Builder
	for i := range users {
		fmt.Fprintln(&cookies, cookie(i))
	}
	wrk := exec.Command("wrk", "-t1", fmt.Sprint("-c", connections), fmt.Sprint("-d", seconds),
		"--timeout", "10s", "-s", "peers/load.lua", p.url)
	wrk.Stdin, wrk.Stderr = strings.NewReader(cookies.String()), os.Stderr

	// Token calls for pages that are unfinished at the end count too: at most
	// one for each connection.
	calls, cpu := must(strconv.Atoi(string(platform.get(0)))), p.cpu()
	out := bytes.TrimSpace(must(wrk.Output()))
	r.cpu, r.tokenCalls = p.cpu()-cpu, must(strconv.Atoi(string(platform.get(0))))-calls

	report := out[bytes.LastIndexByte(out, '\n')+1:]
	if err := json.Unmarshal(report, &r); err != nil || r.Failed > 0 || r.Pages == 0 {
		log.Fatalf("%s: pages failed:\n%s", p.name, out)
	}
	return r
}

// cpu returns the CPU time of the server's process so far.
func (p *peer) cpu() time.Duration {
	stat := must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid)))
	// After the command's name, which may contain blanks, utime and stime are
	// the fields 12 and 13, in hundredths of a second.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	ticks := must(strconv.Atoi(string(fields[11]))) + must(strconv.Atoi(string(fields[12])))
	return time.Duration(ticks) * 10 * time.Millisecond
}

// peakMemory returns the peak resident memory of the server's process, in MB.
func (p *peer) peakMemory() (mb float64) {
	_, line, _ := strings.Cut(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid)))), "VmHWM:")
	must(fmt.Sscan(line, &mb)) // in kB
	return mb / 1000
}
