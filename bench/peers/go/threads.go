// The cases that involve an OS thread outside of Go's scheduling. A goroutine locked to its thread is Go's form of it.
package main

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"
)

type call struct {
	argument int
	result   chan int
}

// offload hands tiny calls to 6 goroutines that are locked to OS threads, from 100 goroutines at once.
func offload() figures {
	calls := make(chan call, 100)
	for t := 0; t < 6; t++ {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for c := range calls {
				c.result <- c.argument + 1
			}
		}()
	}
	defer close(calls)
	return perOperation(100*200, func() {
		together(100, func(int) {
			result := make(chan int, 1)
			for i := 0; i < 200; i++ {
				calls <- call{i, result}
				expect(<-result == i+1)
			}
		})
	})()
}

// postWake: the outside thread is a goroutine locked to its thread.
func postWake() figures {
	there, back := make(chan int, 1), make(chan int, 1)
	go func() {
		for range there {
			back <- 1
		}
		close(back)
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(there)
	return perOperation(2_000, func() {
		for i := 0; i < 2_000; i++ {
			there <- 1
			<-back
		}
	})()
}

// idleProcess has worked and sleeps for an hour; idle watches it from outside.
func idleProcess() figures {
	together(1_000, func(int) { runtime.Gosched() })
	time.Sleep(time.Hour)
	return nil
}

func idle() figures {
	command := exec.Command(os.Args[0], "-child", "idle_process", "-workers", strconv.Itoa(runtime.GOMAXPROCS(0)))
	must(command.Start())
	pid := command.Process.Pid
	time.Sleep(250 * time.Millisecond)
	cpu, woken := schedulerSeconds(pid), voluntarySwitches(pid)
	time.Sleep(500 * time.Millisecond)
	cpu, woken = schedulerSeconds(pid)-cpu, voluntarySwitches(pid)-woken
	must(command.Process.Kill())
	_ = command.Wait()
	return figures{"time": cpu / 0.5, "cpu_us": cpu / 0.5 * 1e6, "wakeups": woken / 0.5}
}
