// What the kernel knows about a process, as bench/harness/process.cpp reads it.
package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"
)

// numberIn returns the number behind `key:` in a file, 0 if there is none.
func numberIn(path, key string) float64 {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), key+":") {
			var n float64
			fmt.Sscanf(lines.Text()[len(key)+1:], "%f", &n)
			return n
		}
	}
	return 0
}

func memory(key string) float64 { return numberIn("/proc/self/status", key) * 1024 }

func cpuSeconds(who int) float64 {
	var use syscall.Rusage
	must(syscall.Getrusage(who, &use))
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + 1e-6*float64(t.Usec) }
	return seconds(use.Utime) + seconds(use.Stime)
}

// schedulerSeconds is the CPU time of another process, summed over its threads.
func schedulerSeconds(pid int) float64 {
	sum := 0.0
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range files {
		text, _ := os.ReadFile(name)
		var ns float64
		fmt.Sscan(string(text), &ns)
		sum += ns * 1e-9
	}
	return sum
}

func voluntarySwitches(pid int) float64 {
	sum := 0.0
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, name := range files {
		sum += numberIn(name, "voluntary_ctxt_switches")
	}
	return sum
}

// sleepingTime is bench/harness/statistics.hpp's, to the number.
func sleepingTime(i int) time.Duration {
	z := (uint64(i) + 1) * 0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	return time.Duration(1000+z%99001) * time.Microsecond
}

func percentile(values []float64, fraction float64) float64 {
	sort.Float64s(values)
	return values[int(fraction*float64(len(values)-1))]
}
