// The engine's time: nanoseconds of the monotonic clock since an arbitrary start, as one signed 64-bit number.
// std::chrono stays in the public headers; the floors below take and return `nanos`, so that a test can be the clock.
#pragma once

#include <cstdint>
#include <limits>

#include <time.h>

namespace fiber::engine {

using nanos = std::int64_t;

inline constexpr nanos never = std::numeric_limits<nanos>::max();

// Any thread. About 22 ns: not to be called once per switch.
inline nanos monotonic_now() noexcept {
    timespec t;
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<nanos>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// `start + length` without overflow: what lies beyond the clock's range is `never`.
constexpr nanos saturating_add(nanos start, nanos length) noexcept {
    nanos sum = 0;
    return __builtin_add_overflow(start, length, &sum) ? (length > 0 ? never : std::numeric_limits<nanos>::min()) : sum;
}

// `end - start` likewise.
constexpr nanos saturating_subtract(nanos end, nanos start) noexcept {
    nanos difference = 0;
    return __builtin_sub_overflow(end, start, &difference) ? (end > 0 ? never : std::numeric_limits<nanos>::min())
                                                           : difference;
}

}  // namespace fiber::engine
