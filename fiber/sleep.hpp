// Letting time pass, letting others run, and asking the time: asyncio.sleep
// (https://docs.python.org/3/library/asyncio-task.html#sleeping) and loop.time.
#pragma once

#include <chrono>

#include "fiber/duration.hpp"
#include "scheduler/core/turn.hpp"

namespace fiber {

namespace detail {
void sleep_until_nanos(engine::nanos deadline);
void after_turn();  // on a fiber throws a pending cancellation; lets other threads run where there is no fiber
}

// The time that all waits go by: the steady clock's; on a fiber of a runtime with virtual_time, that runtime's, which
// starts at the clock's epoch. Never waits. Any thread. asyncio: loop.time().
inline std::chrono::steady_clock::time_point now() noexcept {
    return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(detail::current_time()));
}

// Goes to the end of the queue: one turn for whoever else is runnable. asyncio.sleep(0).
// On a fiber; on a plain thread std::this_thread::yield(). Cancellation point: throws `cancelled`.
inline void yield() {
    const engine::turn mine = engine::begin_turn();
    const bool look = mine.to != nullptr ? engine::end_turn(engine::jump(mine.to, mine.handed)) : mine.look();
    if (look) [[unlikely]]
        detail::after_turn();
}

// Parks for at least `length`; zero or less is one yield(). It is late by the timer's grain, some 16 us, and by the
// load. On a fiber; a plain thread sleeps. Throws std::invalid_argument for NaN; what exceeds the clock's range never
// ends. Cancellation point: throws `cancelled` and leaves no timer behind.
template <class Rep, class Period>
void sleep_for(const std::chrono::duration<Rep, Period>& length) {
    if (detail::to_nanos(length) <= 0) return yield();
    detail::sleep_until_nanos(detail::deadline_after(length));
}

// The same until a point in time; one that has passed is one yield().
template <class Clock, class Duration>
void sleep_until(const std::chrono::time_point<Clock, Duration>& when) {
    const engine::nanos deadline = detail::deadline_at(when);
    if (deadline <= detail::current_time()) return yield();
    detail::sleep_until_nanos(deadline);
}

}  // namespace fiber
