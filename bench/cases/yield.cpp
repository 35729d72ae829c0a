// yield: two fibers (threads) that do nothing but yield to each other. Figure: wall time / yields of both, i.e. one
// switch. Raw: one jump_fcontext. Threads: sched_yield on as many CPUs as there are workers.
//
// yield_fp: the same, but one of the two computes 1.0/3 between its yields, which raises a sticky floating-point flag
// that the other never raised. jump_fcontext loads MXCSR at each switch, and a load that changes it is slow.
#include <cfenv>

#include "bench/harness/registry.hpp"
#include "bench/peers/systems.hpp"

namespace bench::yield_case {

constexpr int turns = 10'000;

// Inexact in every call, and never folded.
inline void divide() {
    volatile double one = 1.0;
    volatile double third = one / 3.0;
    benchmark::DoNotOptimize(third);
}

template <class System>
void plain() {
    for (int i = 0; i < turns; ++i) System::yield();
}

template <class System>
void dividing() {
    for (int i = 0; i < turns; ++i) {
        divide();
        System::yield();
    }
}

// Both sides begin with no sticky flag raised: Google Benchmark's own arithmetic may have left one.
template <class System, class First>
void measure(benchmark::State& state, int workers, First first) {
    System::run(workers, [&] {
        while (state.KeepRunningBatch(2 * turns)) {
            auto a = System::spawn([first] {
                std::feclearexcept(FE_ALL_EXCEPT);
                first();
            });
            auto b = System::spawn([] {
                std::feclearexcept(FE_ALL_EXCEPT);
                plain<System>();
            });
            a.get();
            b.get();
        }
    });
}

template <class There>
void measure_raw(benchmark::State& state, There there) {
    raw_switch::run(1, [&] {
        std::feclearexcept(FE_ALL_EXCEPT);
        raw_switch::pair<There> other(there);
        while (state.KeepRunningBatch(2 * turns)) {
            std::feclearexcept(FE_ALL_EXCEPT);
            for (int i = 0; i < turns; ++i) other.round();
        }
    });
}

const bool yield_added = add<fibers, threads, boost_fibers>(
    "yield", per_operation,
    []<class System>(benchmark::State& state, int workers) { measure<System>(state, workers, plain<System>); });

const bool yield_fp_added = add<fibers, boost_fibers>(
    "yield_fp", per_operation,
    []<class System>(benchmark::State& state, int workers) { measure<System>(state, workers, dividing<System>); });

constexpr timing one_worker{.serial = true};

const bool raw_added =
    add<raw_switch>("yield", one_worker, []<class System>(benchmark::State& state, int) { measure_raw(state, [] {}); });

const bool raw_fp_added = add<raw_switch>(
    "yield_fp", one_worker, []<class System>(benchmark::State& state, int) { measure_raw(state, divide); });

}  // namespace bench::yield_case
