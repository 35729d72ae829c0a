// post_wake: a thread outside of the runtime wakes a fiber, which wakes the thread: promise/future pairs both ways,
// made beforehand. Everything on one CPU, since waking an idle one measures the machine and not the library. Figure:
// wall time of a round trip, µs. Threads: std::promise and std::future between two threads. post_wake_free: the same
// without the restriction to one CPU; for reference, compared with nothing.
#include <thread>
#include <vector>

#include "bench/harness/process.hpp"
#include "bench/harness/registry.hpp"
#include "bench/harness/statistics.hpp"
#include "bench/peers/systems.hpp"

namespace bench::post_wake_case {

constexpr std::size_t rounds = 2'000;

// One promise and its future per round, so that no round has to allocate.
template <class System>
struct wire {
    std::vector<typename System::template promise<int>> promises{rounds};
    std::vector<typename System::template future<int>> futures;
    wire() {
        futures.reserve(rounds);
        for (auto& promise : promises) futures.push_back(promise.get_future());
    }
};

// Wall and CPU seconds for all rounds.
struct cost {
    double wall = 0, cpu = 0;
};

template <class System>
cost round_trips() {
    wire<System> there, back;
    cost result;
    std::thread outside([&] {
        const auto start = steady::now();
        const double cpu = process_cpu_seconds();
        for (std::size_t i = 0; i < rounds; ++i) {
            there.promises[i].set_value(1);
            back.futures[i].get();
        }
        result = {seconds_since(start), process_cpu_seconds() - cpu};
    });
    for (std::size_t i = 0; i < rounds; ++i) {
        there.futures[i].get();
        back.promises[i].set_value(1);
    }
    outside.join();
    return result;
}

template <class System>
figures measure(int workers, int cpus) {
    cost all;
    System::run(
        workers, [&] { all = round_trips<System>(); }, cpus);
    return {{"time", all.wall / rounds}, {"cpu_ns", all.cpu / rounds * 1e9}};
}

constexpr timing one_worker_us{.unit = benchmark::kMicrosecond, .manual = true, .once = true, .serial = true};

const bool pinned_added = add<fibers, threads, boost_fibers>(
    "post_wake", one_worker_us, []<class System>(benchmark::State& state, int workers) {
        iterate_in_child(state, [&] { return measure<System>(workers, 1); });
    });

const bool free_added = add<fibers, threads, boost_fibers>(
    "post_wake_free", one_worker_us, []<class System>(benchmark::State& state, int workers) {
        iterate_in_child(state, [&] { return measure<System>(workers, CPU_SETSIZE); });
    });

}  // namespace bench::post_wake_case
