// fib: fib(25) where each call spawns fib(n - 1), computes fib(n - 2) itself and joins. Figure: wall time / spawns
// (121,392). Threads: fib(13), 376 spawns, because each spawn is an OS thread and all of them are alive at once.
//
// skynet: a tree with 10 children per node, spawned and joined, down to 1,000,000 leaves, which return their number;
// the sum is checked. Figure: ms for the whole tree (1,111,110 spawns). Threads: a tree of 1,000 leaves, times 1,000.
#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <type_traits>

#include "bench/harness/process.hpp"
#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::fork_join_case {

template <class System, class F>
auto fork(F&& f) {
    if constexpr (std::is_same_v<System, boost_fibers>)
        return System::fork(std::forward<F>(f));
    else
        return System::spawn(std::forward<F>(f));
}

constexpr std::int64_t spawns_of_fib(int n) { return n < 2 ? 0 : 1 + spawns_of_fib(n - 1) + spawns_of_fib(n - 2); }
static_assert(spawns_of_fib(25) == 121'392);

template <class System>
std::int64_t fib(int n) {
    if (n < 2) return n;
    std::int64_t a = 0;
    auto child = fork<System>([&a, n] { a = fib<System>(n - 1); });
    const std::int64_t b = fib<System>(n - 2);
    child.get();
    return a + b;
}

template <class System>
std::int64_t skynet(std::int64_t number, std::int64_t leaves) {
    if (leaves == 1) return number;
    using handle = decltype(fork<System>([] {}));
    std::array<std::int64_t, 10> sums;
    std::array<std::optional<handle>, 10> children;
    for (std::size_t i = 0; i < 10; ++i) {
        const auto first = number + static_cast<std::int64_t>(i) * (leaves / 10);
        children[i].emplace(
            fork<System>([&sum = sums[i], first, leaves] { sum = skynet<System>(first, leaves / 10); }));
    }
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < 10; ++i) {
        children[i]->get();
        sum += sums[i];
    }
    return sum;
}

#if defined(BENCH_HAVE_TBB)
template <>
std::int64_t fib<tbb_tasks>(int n) {
    if (n < 2) return n;
    std::int64_t a = 0;
    tbb_tasks::task_group group;
    group.run([&a, n] { a = fib<tbb_tasks>(n - 1); });
    const std::int64_t b = fib<tbb_tasks>(n - 2);
    group.wait();
    return a + b;
}

template <>
std::int64_t skynet<tbb_tasks>(std::int64_t number, std::int64_t leaves) {
    if (leaves == 1) return number;
    std::array<std::int64_t, 10> sums;
    tbb_tasks::task_group group;
    for (std::size_t i = 0; i < 10; ++i) {
        const auto first = number + static_cast<std::int64_t>(i) * (leaves / 10);
        group.run([&sum = sums[i], first, leaves] { sum = skynet<tbb_tasks>(first, leaves / 10); });
    }
    group.wait();
    std::int64_t sum = 0;
    for (const auto one : sums) sum += one;
    return sum;
}
#endif

template <class System>
constexpr std::int64_t leaves_of = 1'000'000;
template <>
constexpr std::int64_t leaves_of<threads> = 1'000;
template <>
constexpr std::int64_t leaves_of<boost_fibers> = 100'000;

inline void expect(bool right) {
    if (!right) throw std::runtime_error("wrong result");
}

const bool fib_added = add<fibers, threads, boost_fibers, tbb_tasks>(
    "fib", per_operation, []<class System>(benchmark::State& state, int workers) {
        const int n = std::is_same_v<System, threads> ? 13 : 25;
        System::run(workers, [&] {
            const auto right = std::is_same_v<System, threads> ? 233 : 75'025;
            while (state.KeepRunningBatch(spawns_of_fib(n))) expect(fib<System>(n) == right);
        });
    });

const bool skynet_added = add<fibers, threads, boost_fibers, tbb_tasks>(
    "skynet", own_clock_ms, []<class System>(benchmark::State& state, int workers) {
        const std::int64_t leaves = leaves_of<System>;
        System::run(workers, [&] {
            for (auto _ : state) {
                const stopwatch watch;
                expect(skynet<System>(0, leaves) == leaves * (leaves - 1) / 2);
                watch.finish(state, static_cast<double>(leaves) * 1e-6);
            }
        });
    });

}  // namespace bench::fork_join_case
