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

// run is what a server did under load.
type run struct {
	Pages    int
	Failed   int
	Seconds  float64
	P50, P99 float64 // latencies in milliseconds

	cpu   time.Duration // of the server's process
	calls int           // of the platform
}

func (r run) perSecond() float64 { return float64(r.Pages) / r.Seconds }
func (r run) cpuEach() float64   { return float64(r.cpu.Microseconds()) / float64(r.Pages) }

// load asks for the page, as all users in turn, as fast as the server answers.
func (p *peer) load(seconds int, platform *peer) (r run) {
	time.Sleep(time.Second) // until the server before has done what was left
	var cookies strings.Builder
	for i := range users {
		fmt.Fprintln(&cookies, cookie(i))
	}
	wrk := exec.Command("wrk", "-t1", fmt.Sprint("-c", connections), fmt.Sprint("-d", seconds), "--timeout", "10s", "-s", "peers/load.lua", p.url)
	wrk.Stdin, wrk.Stderr = strings.NewReader(cookies.String()), os.Stderr

	// The calls for pages that are under way at the end, one for each connection
	// at most, count as well.
	calls, cpu := must(strconv.Atoi(string(platform.get(0)))), p.cpu()
	out := bytes.TrimSpace(must(wrk.Output()))
	r.cpu, r.calls = p.cpu()-cpu, must(strconv.Atoi(string(platform.get(0))))-calls

	report := out[bytes.LastIndexByte(out, '\n')+1:]
	if err := json.Unmarshal(report, &r); err != nil || r.Failed > 0 || r.Pages == 0 {
		log.Fatalf("%s: pages failed:\n%s", p.name, out)
	}
	return r
}

// cpu is the CPU time of the server's process so far.
func (p *peer) cpu() time.Duration {
	stat := must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid)))
	// After the command's name, which may have blanks, utime and stime are the
	// 12th and the 13th, in hundredths of a second.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	ticks := must(strconv.Atoi(string(fields[11]))) + must(strconv.Atoi(string(fields[12])))
	return time.Duration(ticks) * 10 * time.Millisecond
}

// peakMemory is the most memory that the server's process has had, in MB.
func (p *peer) peakMemory() (mb float64) {
	_, line, _ := strings.Cut(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid)))), "VmHWM:")
	must(fmt.Sscan(line, &mb)) // in kB
	return mb / 1000
}
