// From std::chrono to the engine's nanoseconds. Durations saturate instead of overflowing; NaN is an error.
#pragma once

#include <chrono>
#include <limits>
#include <optional>
#include <type_traits>

#include "scheduler/base/clock.hpp"

namespace fiber::detail {

[[noreturn]] void throw_not_a_number();
engine::nanos current_time() noexcept;  // of the current runtime; a plain thread: of the monotonic clock

template <class Rep, class Period>
engine::nanos to_nanos(const std::chrono::duration<Rep, Period>& length) {
    if constexpr (std::is_floating_point_v<Rep>) {
        if (length.count() != length.count()) throw_not_a_number();
    }
    // long double holds every 64-bit count exactly, so the comparison that guards the cast is exact where it matters.
    using wide = std::chrono::duration<long double, std::nano>;
    const long double exact = std::chrono::duration_cast<wide>(length).count();
    if (exact >= static_cast<long double>(std::numeric_limits<engine::nanos>::max())) return engine::never;
    if (exact <= static_cast<long double>(std::numeric_limits<engine::nanos>::min())) {
        return std::numeric_limits<engine::nanos>::min();
    }
    if constexpr (std::is_floating_point_v<Rep>) {
        return static_cast<engine::nanos>(exact);  // in Rep the product could be rounded up to the next power of two
    } else {
        return std::chrono::duration_cast<std::chrono::duration<engine::nanos, std::nano>>(length).count();
    }
}

template <class Rep, class Period>
engine::nanos deadline_after(const std::chrono::duration<Rep, Period>& length) {
    const engine::nanos nanos = to_nanos(length);
    return nanos == engine::never ? engine::never : engine::saturating_add(current_time(), nanos);
}

// Another clock's time point is taken relative to that clock's now: a clock that is set meanwhile is not followed.
template <class Clock, class Duration>
engine::nanos deadline_at(const std::chrono::time_point<Clock, Duration>& when) {
    if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
        return to_nanos(when.time_since_epoch());  // the engine's clock counts from the same start
    } else {
        // Both are brought into range first: `when - now` would overflow at the ends of the clock's.
        const engine::nanos then = to_nanos(when.time_since_epoch());
        if (then == engine::never) return engine::never;
        return engine::saturating_add(current_time(),
                                      engine::saturating_subtract(then, to_nanos(Clock::now().time_since_epoch())));
    }
}

// How long to wait at most, as the verbs with a time-out take it: a duration, a time point, std::nullopt (without end),
// or a std::optional of one of the first two.
struct time_limit {
    engine::nanos deadline = engine::never;
    bool past = false;  // it had come already
};

template <class Rep, class Period>
time_limit limit_of(const std::chrono::duration<Rep, Period>& length) {
    return {deadline_after(length), to_nanos(length) <= 0};
}
template <class Clock, class Duration>
time_limit limit_of(const std::chrono::time_point<Clock, Duration>& when) {
    const engine::nanos deadline = deadline_at(when);
    return {deadline, deadline <= current_time()};
}
inline time_limit limit_of(std::nullopt_t) { return {}; }
template <class Limit>
time_limit limit_of(const std::optional<Limit>& limit) {
    return limit ? limit_of(*limit) : time_limit{};
}

// Throws std::invalid_argument for NaN, as limit_of() does, without a look at the clock.
template <class L>
void require_number(const L& limit) {
    if constexpr (requires { limit.time_since_epoch(); }) {
        (void)to_nanos(limit.time_since_epoch());
    } else if constexpr (requires { limit.count(); }) {
        (void)to_nanos(limit);
    } else if constexpr (requires { *limit; }) {
        if (limit) require_number(*limit);
    }
}

template <class L>
concept limits_time = requires(const L& limit) {
    detail::limit_of(limit);
};

}  // namespace fiber::detail
