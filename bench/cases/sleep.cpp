// Concurrent sleepers, each sleeping once for 1 to 100 ms, uniformly distributed (the same times for every system).
//
// sleep_storm_cold: 100,000 of them, in a process and a runtime that have done nothing before. Figure: CPU ms of the
// whole process from the first spawn to the last join, page faults included. sleep_storm_warm: a second such storm in
// the same runtime, whose stacks the first one has left behind. sleep_10k: 10,000 of them, cold. Figure: the 99th
// percentile of lateness, i.e. of (time of waking - time of going to sleep - sleeping time), in µs. Counters of all:
// p99_us (that lateness), wall_ms, cpu_ms, bytes (growth of the process's resident memory at its peak plus page tables,
// per sleeper). Each repetition is a forked process. Threads: sleep_10k only; 100,000 threads exceed the default limits
// of Linux.
#include <vector>

#include "bench/harness/process.hpp"
#include "bench/harness/registry.hpp"
#include "bench/harness/statistics.hpp"
#include "bench/peers/systems.hpp"

namespace bench::sleep_case {

struct storm_result {
    double wall = 0, cpu = 0, p99 = 0;  // seconds
};

template <class System>
storm_result storm(int count) {
    const auto size = static_cast<std::size_t>(count);
    std::vector<double> late(size);
    std::vector<decltype(System::spawn([] {}))> all;
    all.reserve(size);
    const auto start = steady::now();
    const double cpu = process_cpu_seconds();
    for (std::size_t i = 0; i < size; ++i)
        all.push_back(System::spawn([&late, i] {
            const auto length = sleeping_time(i);
            const auto begin = steady::now();
            System::sleep_for(length);
            late[i] = std::chrono::duration<double>(steady::now() - begin - length).count();
        }));
    for (auto& one : all) one.get();
    storm_result result{seconds_since(start), process_cpu_seconds() - cpu, 0};
    result.p99 = percentile(std::move(late), 0.99);
    return result;
}

// The last of `storms` storms in one runtime, as counters.
template <class System>
figures last_storm(int workers, int count, int storms) {
    figures result;
    System::run(workers, [&] {
        const memory_use before = memory_now();
        storm_result last;
        for (int i = 0; i < storms; ++i) last = storm<System>(count);
        const memory_use after = memory_now();
        const auto bytes = after.peak - before.resident + after.page_tables - before.page_tables;
        result = {{"p99_us", last.p99 * 1e6},
                  {"wall_ms", last.wall * 1e3},
                  {"cpu_ms", last.cpu * 1e3},
                  {"bytes", static_cast<double>(bytes) / count}};
    });
    return result;
}

template <class System>
void measure_cpu(benchmark::State& state, int workers, int storms) {
    iterate_in_child(state, [&] {
        figures f = last_storm<System>(workers, 100'000, storms);
        f["time"] = f["cpu_ms"] * 1e-3;
        return f;
    });
}

const bool cold_added = add<fibers, boost_fibers>(
    "sleep_storm_cold", own_clock_ms,
    []<class System>(benchmark::State& state, int workers) { measure_cpu<System>(state, workers, 1); });

const bool warm_added = add<fibers, boost_fibers>(
    "sleep_storm_warm", own_clock_ms,
    []<class System>(benchmark::State& state, int workers) { measure_cpu<System>(state, workers, 2); });

constexpr timing own_clock_us{.unit = benchmark::kMicrosecond, .manual = true, .once = true};

const bool ten_thousand_added = add<fibers, threads, boost_fibers>(
    "sleep_10k", own_clock_us, []<class System>(benchmark::State& state, int workers) {
        iterate_in_child(state, [&] {
            figures f = last_storm<System>(workers, 10'000, 1);
            f["time"] = f["p99_us"] * 1e-6;
            return f;
        });
    });

}  // namespace bench::sleep_case
