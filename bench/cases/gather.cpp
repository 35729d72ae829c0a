// gather: 100,000 tasks that each sleep for 1 ms, spawned and gathered. Figure: wall time / task, from the first spawn
// to the return of gather, in a runtime that has done the same once before. Systems without gather join one after the
// other. Threads: 2,000 tasks.
#include <chrono>
#include <type_traits>
#include <vector>

#include "bench/harness/process.hpp"
#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::gather_case {

template <class System>
void gather_sleepers(int count) {
    std::vector<decltype(System::spawn([] {}))> all;
    all.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i)
        all.push_back(System::spawn([] { System::sleep_for(std::chrono::milliseconds(1)); }));
#if defined(BENCH_HAVE_FIBER)
    if constexpr (std::is_same_v<System, fibers>) {
        fiber::gather(std::move(all));
        return;
    }
#endif
    for (auto& one : all) one.get();
}

const bool added =
    add<fibers, threads, boost_fibers>("gather", own_clock, []<class System>(benchmark::State& state, int workers) {
        const int count = std::is_same_v<System, threads> ? 2'000 : 100'000;
        System::run(workers, [&] {
            gather_sleepers<System>(count);
            for (auto _ : state) {
                const stopwatch watch;
                gather_sleepers<System>(count);
                watch.finish(state, count);
            }
        });
    });

}  // namespace bench::gather_case
