// A counter that is waited for until it is zero, once: std::latch. asyncio has none; the nearest is a TaskGroup.
// Thread safety: all members from any number of fibers and plain threads at once. Destroying a latch that somebody
// waits for is a defect of the caller; one who has seen it at zero may destroy it, also while the count_down() that
// brought it there is still returning.
#pragma once

#include <cstddef>
#include <limits>

#include "fiber/duration.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

// A count that goes down to zero, and stays there.
class latch {
 public:
    // Throws invalid_option for a negative number.
    constexpr explicit latch(std::ptrdiff_t expected) : word_(static_cast<std::uint64_t>(checked(expected)) * one) {}
    latch(const latch&) = delete;
    latch& operator=(const latch&) = delete;

    // The largest count.
    static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

    // Takes `by` off the counter; at zero all that wait go on. Never parks. Throws, and changes nothing: invalid_option
    // when `by` is negative, usage_error when it is more than is left.
    void count_down(std::ptrdiff_t by = 1);

    // Is the counter zero?
    [[nodiscard]] bool try_wait() const noexcept { return word_.load() < one; }

    // Waits until the counter is zero. A fiber or a plain thread. Cancellation point: throws `cancelled`.
    void wait() { (void)wait_until_nanos(engine::never); }

    // The same for at most `limit`; zero or less only looks. false: the time is up.
    // Throws std::invalid_argument for NaN. Cancellation point.
    template <class Rep, class Period>
    [[nodiscard]] bool try_wait_for(const std::chrono::duration<Rep, Period>& limit) {
        return wait_until_nanos(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_wait_until(const std::chrono::time_point<Clock, Duration>& when) {
        return wait_until_nanos(detail::deadline_at(when));
    }

    // count_down(by), then wait(). Cancellation point: what was counted stays counted when the wait is cancelled; a
    // cancellation that was there before counts nothing.
    void arrive_and_wait(std::ptrdiff_t by = 1);

 private:
    static constexpr std::uint64_t one = 2;

    static constexpr std::ptrdiff_t checked(std::ptrdiff_t expected) {
        if (expected < 0) refuse_start();
        return expected;
    }
    [[noreturn]] static void refuse_start();
    bool wait_until_nanos(engine::nanos deadline);

    engine::guarded_word word_;   // the counter, times `one`
    engine::wait_queue waiters_;  // guarded by word_
};

}  // namespace fiber
