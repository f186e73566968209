package searchtoken_test

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/searchtoken/searchtoken"
)

// BenchmarkSweep replaces a million users who have expired by others, and
// reports the longest time that a Set took: no lock is held for longer. It is
// the CPU time of its thread, without garbage collection, to leave out what
// else the machine does.
func BenchmarkSweep(b *testing.B) {
	const users = 1_000_000
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for b.Loop() {
		c := searchtoken.NewMemoryCache(users)
		var longest time.Duration
		set := func(i int, life time.Duration) {
			key := searchtoken.Key{User: sha256.Sum256(fmt.Append(nil, i))}
			t := searchtoken.Token{Value: "token", Issued: time.Now(), Expiry: time.Now().Add(life)}
			began := threadTime(b)
			if _, err := c.Set(b.Context(), key, t, 0); err != nil {
				b.Fatal(err)
			}
			longest = max(longest, threadTime(b)-began)
		}
		const life = 10 * time.Second // longer than the first round takes
		for i := range users {
			set(i, life)
		}
		time.Sleep(life) // a benchmark has no other clock than the machine's
		for i := range users {
			set(users+i, time.Hour)
		}
		b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
		runtime.GC()
	}
}

// threadTime is the CPU time of this thread, which getrusage knows to some
// milliseconds only.
func threadTime(b *testing.B) time.Duration {
	const threadCPUTime = 3
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadCPUTime, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		b.Fatal(errno)
	}
	return time.Duration(t.Nano())
}
