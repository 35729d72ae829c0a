// mutex: 8 fibers (threads) that each lock, increment a shared counter, unlock, 2,000 times a batch. Figure: wall time
// per locked section. mutex_handover: 2 of them, each yielding while it holds the lock, so that the other always waits
// and every unlock hands over. Figure: wall time per locked section.
#include <cstdint>
#include <vector>

#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::mutex_case {

constexpr int sections = 2'000;

template <class System>
void measure(benchmark::State& state, int workers, int contenders, bool hand_over) {
    System::run(workers, [&] {
        typename System::mutex mutex;
        std::int64_t counter = 0;
        while (state.KeepRunningBatch(contenders * sections)) {
            std::vector<decltype(System::spawn([] {}))> all;
            for (int c = 0; c < contenders; ++c)
                all.push_back(System::spawn([&] {
                    for (int i = 0; i < sections; ++i) {
                        mutex.lock();
                        counter += 1;
                        benchmark::DoNotOptimize(counter);
                        if (hand_over) System::yield();
                        mutex.unlock();
                    }
                }));
            for (auto& one : all) one.get();
        }
        if (counter % (contenders * sections) != 0) state.SkipWithError("two owners at once");
    });
}

constexpr auto contended = []<class System>(benchmark::State& state, int workers) {
    measure<System>(state, workers, 8, false);
};
constexpr auto handed_over = []<class System>(benchmark::State& state, int workers) {
    measure<System>(state, workers, 2, true);
};

const bool peers_added = add<threads, boost_fibers>("mutex", per_operation, contended) &&
                         add<threads, boost_fibers>("mutex_handover", per_operation, handed_over);

#if defined(BENCH_HAVE_FIBER_MUTEX)
const bool fiber_added =
    add<fibers>("mutex", per_operation, contended) && add<fibers>("mutex_handover", per_operation, handed_over);
#endif

}  // namespace bench::mutex_case
