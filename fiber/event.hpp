// A flag that can be waited for: asyncio.Event (https://docs.python.org/3/library/asyncio-sync.html#event).
// Thread safety: all members from any number of fibers and plain threads at once. Destroying an event that somebody
// waits for is a defect of the caller; one who has seen it set may destroy it, also while that set() is still
// returning.
#pragma once

#include "fiber/duration.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

// Starts unset.
class event {
 public:
    constexpr event() noexcept = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    // All that wait now go on, even if the event is cleared at once. Who waits later does not wait until clear().
    // Never parks.
    void set() noexcept;

    // From now on wait() waits. Never parks.
    void clear() noexcept;

    // One look; never parks. What was written before the set() that it sees is seen, too.
    bool is_set() const noexcept { return word_.load() & flag; }

    // Returns once the event is set, or was while the caller waited. A fiber or a plain thread.
    // Cancellation point: throws `cancelled`.
    void wait() { (void)wait_until_nanos(engine::never); }

    // The same for at most `limit`; zero or less only looks. false: the time is up.
    // Throws std::invalid_argument for NaN. Cancellation point.
    template <class Rep, class Period>
    [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& limit) {
        return wait_until_nanos(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& when) {
        return wait_until_nanos(detail::deadline_at(when));
    }

 private:
    static constexpr std::uint64_t flag = 2;

    bool wait_until_nanos(engine::nanos deadline);

    engine::guarded_word word_;   // flag or 0
    engine::wait_queue waiters_;  // guarded by word_; empty while the flag is set
};

}  // namespace fiber
