// The cases, as Go programmers would write them. What each measures stands at the head of the file of the same name in
// bench/cases.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

var benchmarks = []benchmark{
	{"yield", plain, perOperation(20_000, yieldPair)},
	{"yield_many", plain, yieldMany},
	{"spawn_one", plain, perOperation(1_000, spawnOne)},
	{"spawn_join", plain, perOperation(1_000, spawnJoin)},
	{"fib", plain, perOperation(121_392, func() { expect(fib(25) == 75_025) })},
	{"skynet", plain, skynetTree},
	{"gather", plain, gather},
	{"sleep_storm_cold", fresh, func() figures { return lastStorm(100_000, 1, "cpu_ms", 1e-3) }},
	{"sleep_storm_warm", fresh, func() figures { return lastStorm(100_000, 2, "cpu_ms", 1e-3) }},
	{"sleep_10k", fresh, func() figures { return lastStorm(10_000, 1, "p99_us", 1e-6) }},
	{"parked_memory", fresh, parkedMemory},
	{"offload", plain, offload},
	{"post_wake", plain, postWake},
	{"idle", plain, idle},
	{"idle_process", helper, idleProcess},
	{"mutex", plain, perOperation(16_000, func() { lockFrom(8, false) })},
	{"mutex_handover", plain, perOperation(4_000, func() { lockFrom(2, true) })},
	{"pingpong", plain, perOperation(5_000, pingpong)},
	{"channel_mpmc", plain, perOperation(40_000, channelMPMC)},
	{"timer_cancel", plain, perOperation(5_000, timerCancel)},
}

func expect(right bool) {
	if !right {
		panic("wrong result")
	}
}

// together runs f(0) … f(n-1) as goroutines and waits for all.
func together(n int, f func(int)) {
	var all sync.WaitGroup
	all.Add(n)
	for i := 0; i < n; i++ {
		go func(i int) {
			f(i)
			all.Done()
		}(i)
	}
	all.Wait()
}

func yieldPair() {
	together(2, func(int) {
		for i := 0; i < 10_000; i++ {
			runtime.Gosched()
		}
	})
}

func yieldMany() figures {
	const count, turns = 10_000, 20
	var started, begun int32
	left := int32(count)
	var begin time.Time
	var seconds, cpu float64
	together(count, func(int) {
		atomic.AddInt32(&started, 1)
		for atomic.LoadInt32(&started) < count {
			runtime.Gosched()
		}
		if atomic.SwapInt32(&begun, 1) == 0 {
			begin, cpu = time.Now(), cpuSeconds(0)
		}
		for t := 0; t < turns; t++ {
			runtime.Gosched()
		}
		if atomic.AddInt32(&left, -1) == 0 {
			seconds, cpu = time.Since(begin).Seconds(), cpuSeconds(0)-cpu
		}
	})
	return figures{"time": seconds / (count * turns), "cpu_ns": cpu / (count * turns) * 1e9}
}

func spawnOne() {
	result := 0
	done := make(chan struct{})
	for i := 0; i < 1_000; i++ {
		go func() {
			result++
			done <- struct{}{}
		}()
		<-done
	}
}

func spawnJoin() {
	var results [1_000]int
	together(len(results), func(i int) { results[i]++ })
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	a := make(chan int, 1)
	go func() { a <- fib(n - 1) }()
	b := fib(n - 2)
	return <-a + b
}

func skynet(result chan int, number, leaves int) {
	if leaves == 1 {
		result <- number
		return
	}
	children := make(chan int, 10)
	for i := 0; i < 10; i++ {
		go skynet(children, number+i*(leaves/10), leaves/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-children
	}
	result <- sum
}

func skynetTree() figures {
	result := make(chan int, 1)
	start, cpu := time.Now(), cpuSeconds(0)
	skynet(result, 0, 1_000_000)
	expect(<-result == 499_999_500_000)
	return figures{"time": time.Since(start).Seconds(), "cpu_ns": (cpuSeconds(0) - cpu) * 1e9}
}

func gather() figures {
	const count = 100_000
	sleepers := func() { together(count, func(int) { time.Sleep(time.Millisecond) }) }
	sleepers()
	start, cpu := time.Now(), cpuSeconds(0)
	sleepers()
	return figures{"time": time.Since(start).Seconds() / count, "cpu_ns": (cpuSeconds(0) - cpu) / count * 1e9}
}

// lastStorm is the last of `storms` storms; `figure` times `scale` is its time in seconds.
func lastStorm(count, storms int, figure string, scale float64) figures {
	var result figures
	resident, tables := memory("VmRSS"), memory("VmPTE")
	for s := 0; s < storms; s++ {
		late := make([]float64, count)
		start, cpu := time.Now(), cpuSeconds(0)
		together(count, func(i int) {
			length := sleepingTime(i)
			begin := time.Now()
			time.Sleep(length)
			late[i] = (time.Since(begin) - length).Seconds()
		})
		result = figures{"wall_ms": time.Since(start).Seconds() * 1e3, "cpu_ms": (cpuSeconds(0) - cpu) * 1e3}
		result["p99_us"] = percentile(late, 0.99) * 1e6
	}
	result["bytes"] = (memory("VmHWM") - resident + memory("VmPTE") - tables) / float64(count)
	result["time"] = result[figure] * scale
	return result
}

func parkedMemory() figures {
	const count = 1_000_000
	var started int32
	resident, tables := memory("VmRSS"), memory("VmPTE")
	start := time.Now()
	for i := 0; i < count; i++ {
		go func() {
			atomic.AddInt32(&started, 1)
			time.Sleep(time.Hour)
		}()
	}
	for atomic.LoadInt32(&started) < count {
		runtime.Gosched()
	}
	seconds := time.Since(start).Seconds()
	time.Sleep(20 * time.Millisecond)
	bytes := memory("VmRSS") - resident + memory("VmPTE") - tables
	return figures{"time": seconds / count, "bytes": bytes / count}
}

func lockFrom(contenders int, handOver bool) {
	var mutex sync.Mutex
	counter := 0
	together(contenders, func(int) {
		for i := 0; i < 2_000; i++ {
			mutex.Lock()
			counter++
			if handOver {
				runtime.Gosched()
			}
			mutex.Unlock()
		}
	})
	expect(counter == contenders*2_000)
}

func pingpong() {
	there, back := make(chan int), make(chan int)
	together(2, func(side int) {
		for i := 0; i < 5_000; i++ {
			if side == 0 {
				there <- i
				expect(<-back == i+1)
			} else {
				back <- <-there + 1
			}
		}
	})
}

func channelMPMC() {
	channel := make(chan int, 128)
	var taken int64
	var producers, consumers sync.WaitGroup
	producers.Add(4)
	consumers.Add(4)
	for s := 0; s < 4; s++ {
		go func() {
			mine := int64(0)
			for range channel {
				mine++
			}
			atomic.AddInt64(&taken, mine)
			consumers.Done()
		}()
		go func() {
			for i := 0; i < 10_000; i++ {
				channel <- i
			}
			producers.Done()
		}()
	}
	producers.Wait()
	close(channel)
	consumers.Wait()
	expect(taken == 40_000)
}

func timerCancel() {
	const rounds = 5_000
	promises := make([]chan int, rounds)
	for i := range promises {
		promises[i] = make(chan int, 1)
	}
	together(2, func(side int) {
		for _, promise := range promises {
			if side == 0 {
				timer := time.NewTimer(10 * time.Second)
				select {
				case <-promise:
				case <-timer.C:
				}
				timer.Stop()
			} else {
				runtime.Gosched()
				promise <- 1
			}
		}
	})
}
