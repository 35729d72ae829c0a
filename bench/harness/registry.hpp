// The list of everything that can be measured: one entry per case and system, in the order of registration.
// A case file adds its entries before main() by initialising a namespace-scope constant with add<…>(); main() turns the
// list into Google Benchmark's `case/system/workers:N`, once per worker count asked for.
// Thread safety: none needed; entries are added during static initialisation and read by main().
#pragma once

#include <benchmark/benchmark.h>
#include <functional>
#include <string>
#include <vector>

namespace bench {

// How Google Benchmark is to time a case.
struct timing {
    benchmark::TimeUnit unit = benchmark::kNanosecond;
    bool manual = false;  // the case calls SetIterationTime()
    bool once = false;    // one iteration per repetition: the case is long, or needs a fresh runtime each time
    bool serial = false;  // more workers cannot help and are not asked for
};

inline constexpr timing per_operation{};
inline constexpr timing own_clock{.manual = true, .once = true};
inline constexpr timing whole_ms{.unit = benchmark::kMillisecond, .once = true};
inline constexpr timing own_clock_ms{.unit = benchmark::kMillisecond, .manual = true, .once = true};

using body = std::function<void(benchmark::State&, int workers)>;

struct entry {
    std::string name;
    std::string system;
    timing how;
    body run;
};

std::vector<entry>& entries();

// Adds `generic.operator()<System>(state, workers)` for each of the systems that this build has.
template <class... Systems, class Generic>
bool add(const char* name, timing how, Generic generic) {
    auto one = [&]<class System>() {
        if constexpr (System::available) {
            entries().push_back({name, System::name, how, [generic](benchmark::State& state, int workers) {
                                     generic.template operator()<System>(state, workers);
                                 }});
        }
    };
    (one.template operator()<Systems>(), ...);
    return true;
}

}  // namespace bench
