// Small arithmetic that several cases share: a clock in seconds, percentiles, and random sleeping times that are the
// same in every run and for every system.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace bench {

using steady = std::chrono::steady_clock;

inline double seconds_since(steady::time_point start) {
    return std::chrono::duration<double>(steady::now() - start).count();
}

// The value that `fraction` of all values do not exceed. Requires: values is not empty.
template <class T>
T percentile(std::vector<T> values, double fraction) {
    const auto index = static_cast<std::size_t>(fraction * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
    return values[index];
}

// The i-th sleeping time, uniform over 1 to 100 ms in steps of a microsecond (splitmix64, so that any i can be asked
// for).
inline std::chrono::microseconds sleeping_time(std::uint64_t i) {
    std::uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return std::chrono::microseconds(1'000 + z % 99'001);
}

}  // namespace bench
