// yield_many: 10,000 fibers, all started and on stacks of their own, yield 20 times each.
// Figure: wall time between the first yield and the last, by the case's own clock, / yields. Starting the fibers and
// touching their stacks is not part of it (that is sleep_storm's subject). Threads: 2,000 of them.
#include <atomic>
#include <optional>
#include <type_traits>
#include <vector>

#include "bench/harness/process.hpp"
#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::yield_many_case {

constexpr int turns = 20;

// Times all yields of `count` fibers as the iteration of `state`.
template <class System>
void all_yields(benchmark::State& state, int count) {
    std::atomic<int> started{0}, left{count};
    std::atomic<bool> begun{false};
    std::optional<stopwatch> watch;
    std::vector<decltype(System::spawn([] {}))> all;
    all.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i)
        all.push_back(System::spawn([&] {
            started.fetch_add(1);
            while (started.load() < count) System::yield();
            if (!begun.exchange(true)) watch.emplace();
            for (int t = 0; t < turns; ++t) System::yield();
            if (left.fetch_sub(1) == 1) watch->finish(state, count * turns);
        }));
    for (auto& one : all) one.get();
}

const bool added =
    add<fibers, threads, boost_fibers>("yield_many", own_clock, []<class System>(benchmark::State& state, int workers) {
        const int count = std::is_same_v<System, threads> ? 2'000 : 10'000;
        System::run(workers, [&] {
            for (auto _ : state) all_yields<System>(state, count);
        });
    });

}  // namespace bench::yield_many_case
