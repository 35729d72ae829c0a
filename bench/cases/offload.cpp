// offload: a tiny call handed to an OS thread and waited for, from 100 fibers at once, each 200 times a batch.
// Figure: wall time / call.
// Fibers: to_thread. Boost.Fiber, which has no such thing: a plain pool of 6 threads and a boost::fibers::promise per
// call. Threads: std::async(launch::async), 100 in flight, the std's way to have a call made elsewhere.
#include <future>
#include <type_traits>
#include <vector>

#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"
#include "bench/peers/thread_pool.hpp"

namespace bench::offload_case {

constexpr int in_flight = 100;
constexpr int calls = 200;

inline int tiny(int x) {
    benchmark::DoNotOptimize(x);
    return x + 1;
}

// The callers, for a system whose `call(i)` waits until a thread has run tiny(i).
template <class System, class Call>
void call_from_many(benchmark::State& state, Call call) {
    while (state.KeepRunningBatch(in_flight * calls)) {
        std::vector<decltype(System::spawn([] {}))> callers;
        callers.reserve(in_flight);
        for (int f = 0; f < in_flight; ++f)
            callers.push_back(System::spawn([&call] {
                for (int i = 0; i < calls; ++i) benchmark::DoNotOptimize(call(i));
            }));
        for (auto& one : callers) one.get();
    }
}

#if defined(BENCH_HAVE_FIBER)
const bool fiber_added = add<fibers>("offload", per_operation, []<class System>(benchmark::State& state, int workers) {
    System::run(workers, [&] {
        fiber::to_thread(tiny, 0);
        call_from_many<System>(state, [](int i) { return fiber::to_thread(tiny, i); });
    });
});
#endif

#if defined(BENCH_HAVE_BOOST_FIBER)
const bool boost_added =
    add<boost_fibers>("offload", per_operation, []<class System>(benchmark::State& state, int workers) {
        affinity on(workers);
        plain_thread_pool pool(6);
        System::run(workers, [&] {
            call_from_many<System>(state, [&pool](int i) {
                boost::fibers::promise<int> result;
                auto future = result.get_future();
                pool.submit([&result, i] { result.set_value(tiny(i)); });
                return future.get();
            });
        });
    });
#endif

const bool thread_added =
    add<threads>("offload", per_operation, []<class System>(benchmark::State& state, int workers) {
        System::run(workers, [&] {
            while (state.KeepRunningBatch(in_flight)) {
                std::vector<std::future<int>> results;
                results.reserve(in_flight);
                for (int i = 0; i < in_flight; ++i) results.push_back(std::async(std::launch::async, tiny, i));
                for (auto& one : results) benchmark::DoNotOptimize(one.get());
            }
        });
    });

}  // namespace bench::offload_case
