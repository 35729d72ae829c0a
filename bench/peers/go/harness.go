// Runs Go's side of the benchmarks and prints Google Benchmark's JSON, as far as bench/report.py reads it.
// GOMAXPROCS is the worker count; bench/run restricts the process to as many CPUs.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// figures of one repetition: "time" in seconds per operation, and counters.
type figures map[string]float64

// A benchmark returns one repetition's figures. A fresh one runs in a process of its own, a helper only for another one.
type benchmark struct {
	name string
	kind kind
	run  func() figures
}

type kind int

const (
	plain kind = iota
	fresh
	helper
)

// perOperation times `batch`, which does n operations, after one warm-up, for at least 30 ms.
func perOperation(n int, batch func()) func() figures {
	return func() figures {
		batch()
		count := 0
		start, cpu := time.Now(), cpuSeconds(0)
		for count == 0 || time.Since(start) < 30*time.Millisecond {
			batch()
			count += n
		}
		n := float64(count)
		return figures{"time": time.Since(start).Seconds() / n, "cpu_ns": (cpuSeconds(0) - cpu) / n * 1e9}
	}
}

// inChild runs one repetition of a benchmark in a new process.
func inChild(name string, workers int) (figures, error) {
	command := exec.Command(os.Args[0], "-child", name, "-workers", strconv.Itoa(workers))
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, err
	}
	var result figures
	err = json.Unmarshal(out, &result)
	return result, err
}

func find(name string) benchmark {
	for _, b := range benchmarks {
		if b.name == name {
			return b
		}
	}
	panic("no such benchmark: " + name)
}

func main() {
	filter := flag.String("filter", ".", "regular expression over case/system/workers:N")
	repetitions := flag.Int("repetitions", 5, "repetitions of each case")
	workers := flag.Int("workers", 1, "GOMAXPROCS")
	child := flag.String("child", "", "run one repetition of this case and print its figures")
	flag.Parse()
	runtime.GOMAXPROCS(*workers)
	if *child != "" {
		must(json.NewEncoder(os.Stdout).Encode(find(*child).run()))
		return
	}

	pattern := regexp.MustCompile(*filter)
	rows := []map[string]any{}
	for _, b := range benchmarks {
		full := fmt.Sprintf("%s/go/workers:%d", b.name, *workers)
		if b.kind == helper || !pattern.MatchString(full) {
			continue
		}
		for i := 0; i < *repetitions; i++ {
			row := map[string]any{"run_name": full, "run_type": "iteration", "repetition_index": i, "time_unit": "ns"}
			result, err := one(b, *workers)
			if err != nil {
				row["error_occurred"], row["error_message"] = true, strings.TrimSpace(err.Error())
			}
			for name, value := range result {
				row[name] = value
			}
			row["real_time"] = result["time"] * 1e9
			delete(row, "time")
			rows = append(rows, row)
		}
	}
	configuration := fmt.Sprintf("%s, GOMAXPROCS = workers, default garbage collector", runtime.Version())
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"context": map[string]string{"system:go": configuration}, "benchmarks": rows}))
}

func one(b benchmark, workers int) (figures, error) {
	if b.kind == fresh {
		return inChild(b.name, workers)
	}
	runtime.GC()
	return b.run(), nil
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
