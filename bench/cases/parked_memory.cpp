// parked_memory: 1,000,000 fibers with the default stack (Boost.Fiber 100,000, threads 10,000), each asleep. Figure, as
// counter `bytes`: growth of (resident memory + page tables) of the process / fibers, measured when all of them sleep.
// The time shown is the wall time to start one. Counter kernel_bytes: growth of the machine's kernel stacks / fibers,
// which the resident memory of a process does not show. Each repetition is a forked process that ends with _exit():
// nothing is taken down.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <new>
#include <type_traits>
#include <vector>

#include "bench/harness/process.hpp"
#include "bench/harness/registry.hpp"
#include "bench/harness/statistics.hpp"
#include "bench/peers/systems.hpp"

namespace bench::parked_memory_case {

template <class System>
figures park(int count) {
    std::atomic<int> started{0};
    using handle = decltype(System::spawn([] {}));
    // Leaks on purpose, and is touched before the first reading: the handles are the harness's own memory.
    auto* const all = new std::vector<std::byte>(static_cast<std::size_t>(count) * sizeof(handle), std::byte{1});
    auto* const first = reinterpret_cast<handle*>(all->data());
    const memory_use before = memory_now();
    const auto start = steady::now();
    for (int i = 0; i < count; ++i)
        new (first + i) handle(System::spawn([&started] {
            started.fetch_add(1, std::memory_order_relaxed);
            System::sleep_for(std::chrono::hours(1));
        }));
    while (started.load(std::memory_order_relaxed) < count) System::yield();
    const double seconds = seconds_since(start);
    System::sleep_for(std::chrono::milliseconds(20));  // until the last one has gone from "started" to asleep
    const memory_use after = memory_now();
    const auto bytes = after.resident - before.resident + after.page_tables - before.page_tables;
    return {{"time", seconds / count},
            {"bytes", static_cast<double>(bytes) / count},
            {"kernel_bytes", static_cast<double>(after.kernel_stacks - before.kernel_stacks) / count}};
}

template <class System>
constexpr int feasible = std::is_same_v<System, threads>        ? 10'000
                         : std::is_same_v<System, boost_fibers> ? 100'000
                                                                : 1'000'000;

const bool added = add<fibers, threads, boost_fibers>(
    "parked_memory", own_clock, []<class System>(benchmark::State& state, int workers) {
        iterate_in_child(state, [&] {
            System::run(workers, [] { finish_child(park<System>(feasible<System>)); });
            return figures{};
        });
    });

}  // namespace bench::parked_memory_case
