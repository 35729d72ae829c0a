// harness: the cost of the measuring loop itself, per operation, with nothing in it but a value the optimiser must
// keep. It is contained in every other figure and subtracted from none.
#include "bench/harness/registry.hpp"

namespace bench::harness_case {

struct empty_loop {
    static constexpr const char* name = "loop";
    static constexpr bool available = true;
};

constexpr timing one_worker{.serial = true};

const bool added = add<empty_loop>("harness", one_worker, []<class System>(benchmark::State& state, int) {
    int value = 0;
    while (state.KeepRunningBatch(100))
        for (int i = 0; i < 100; ++i) benchmark::DoNotOptimize(++value);
});

}  // namespace bench::harness_case
