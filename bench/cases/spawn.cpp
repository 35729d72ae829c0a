// spawn_one: spawn a function that does next to nothing, and wait for it, one at a time. Figure: wall time / pair.
// spawn_join: spawn 1,000 of them, then wait for each in the order of spawning. Figure: wall time / 1,000.
// oneTBB: task_group::run and wait; for spawn_join one group and one wait, its documented form (no order to keep).
#include <vector>

#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::spawn_case {

constexpr int many = 1'000;

// What is spawned. Its effect is visible to the compiler's eyes only as "may read anything".
struct small_work {
    int* result;
    void operator()() const {
        *result += 1;
        benchmark::DoNotOptimize(*result);
    }
};

const bool one_added = add<fibers, threads, boost_fibers>("spawn_one", per_operation,
                                                          []<class System>(benchmark::State& state, int workers) {
                                                              System::run(workers, [&] {
                                                                  int result = 0;
                                                                  while (state.KeepRunningBatch(100))
                                                                      for (int i = 0; i < 100; ++i)
                                                                          System::spawn(small_work{&result}).get();
                                                              });
                                                          });

const bool join_added = add<fibers, threads, boost_fibers>(
    "spawn_join", per_operation, []<class System>(benchmark::State& state, int workers) {
        System::run(workers, [&] {
            std::vector<int> results(many);
            std::vector<decltype(System::spawn(small_work{nullptr}))> all;
            all.reserve(many);
            while (state.KeepRunningBatch(many)) {
                for (int& result : results) all.push_back(System::spawn(small_work{&result}));
                for (auto& one : all) one.get();
                all.clear();
            }
        });
    });

#if defined(BENCH_HAVE_TBB)
const bool tbb_one_added =
    add<tbb_tasks>("spawn_one", per_operation, []<class System>(benchmark::State& state, int workers) {
        System::run(workers, [&] {
            int result = 0;
            tbb_tasks::task_group group;
            while (state.KeepRunningBatch(100)) {
                for (int i = 0; i < 100; ++i) {
                    group.run(small_work{&result});
                    group.wait();
                }
            }
        });
    });

const bool tbb_join_added =
    add<tbb_tasks>("spawn_join", per_operation, []<class System>(benchmark::State& state, int workers) {
        System::run(workers, [&] {
            std::vector<int> results(many);
            tbb_tasks::task_group group;
            while (state.KeepRunningBatch(many)) {
                for (int& result : results) group.run(small_work{&result});
                group.wait();
            }
        });
    });
#endif

}  // namespace bench::spawn_case
