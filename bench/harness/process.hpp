// What the kernel knows about a process: CPU time, memory, wake-ups; and running a measurement in a process of its own.
// A case needs its own process where the state before it matters (cold stacks, memory), or where it may not end well.
// Thread safety: in_child() only while the process has no other running threads that the child would need.
#pragma once

#include <benchmark/benchmark.h>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <sys/types.h>

namespace bench {

struct memory_use {
    std::int64_t resident = 0;       // VmRSS, bytes
    std::int64_t peak = 0;           // VmHWM, bytes
    std::int64_t page_tables = 0;    // VmPTE, bytes
    std::int64_t kernel_stacks = 0;  // of the whole machine, bytes: no file shows one process's share
};

memory_use memory_now();

// Seconds of CPU that the process has used, all threads, user and system.
double process_cpu_seconds();
double process_cpu_seconds(pid_t process);

// Times that a thread of the process went to sleep and was woken again, over all threads that still exist.
std::int64_t voluntary_switches(pid_t process);

// Wall and CPU time since its construction, for cases that use their own clock.
class stopwatch {
 public:
    stopwatch() : wall_(std::chrono::steady_clock::now()), cpu_(process_cpu_seconds()) {}

    // Ends the iteration of `state`: so much time for `operations`, as its time and as counter cpu_ns.
    void finish(benchmark::State& state, double operations) const;

 private:
    std::chrono::steady_clock::time_point wall_;
    double cpu_;
};

using figures = std::map<std::string, double>;

// Runs `measure` in a forked child and brings back what it returned or gave to finish_child().
// The child leaves by _exit(), so that no destructor of the parent's objects runs twice.
// Throws std::runtime_error, with the reason, if the child throws, dies or takes longer than `limit_seconds`.
figures in_child(const std::function<figures()>& measure, unsigned limit_seconds = 120);

// In the child, from anywhere inside `measure`: sends the figures and ends the process, with whatever is still running.
[[noreturn]] void finish_child(const figures& result);

// The same, as the one iteration of `state`: figure "time" (seconds) becomes the time, all others become counters.
void iterate_in_child(benchmark::State& state, const std::function<figures()>& measure);

}  // namespace bench
