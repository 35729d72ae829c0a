// Mutexes that their owner may lock again: std::recursive_mutex and std::recursive_timed_mutex. asyncio has none.
// Everything else is as in fiber/mutex.hpp.
#pragma once

#include "fiber/detail/blocking.hpp"
#include "fiber/mutex.hpp"

namespace fiber {

// Unlocked after as many unlock() as lock().
class recursive_mutex : private mutex {
 public:
    constexpr recursive_mutex() noexcept = default;

    // Waits until the lock is the caller's. A fiber or a plain thread. No cancellation point.
    // Throws std::system_error (resource_unavailable_try_again) beyond 2^32 levels.
    void lock() {
        if (!enter_again()) mutex::lock();
    }

    // Takes the lock if it is free or the caller's. Never parks.
    [[nodiscard]] bool try_lock() { return enter_again() || mutex::try_lock(); }

    // Throws std::system_error (operation_not_permitted) when the caller does not hold it.
    void unlock() {
        if (!held_by(engine::current_caller()) || depth_ == 0) return mutex::unlock();
        --depth_;
    }

 protected:
    [[nodiscard]] bool lock_until(engine::nanos deadline) { return enter_again() || mutex::lock_until(deadline); }

 private:
    bool enter_again() {
        if (!held_by(engine::current_caller())) return false;
        if (++depth_ == 0) {
            --depth_;
            detail::throw_unavailable("fiber: a recursive_mutex was locked more than 2^32 times");
        }
        return true;
    }

    std::uint32_t depth_ = 0;  // how often beyond the first; the owner's
};

// A recursive_mutex that can be waited for with a limit.
class recursive_timed_mutex : private recursive_mutex {
 public:
    constexpr recursive_timed_mutex() noexcept = default;

    using recursive_mutex::lock;
    using recursive_mutex::try_lock;
    using recursive_mutex::unlock;

    // As timed_mutex::try_lock_for.
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& limit) {
        return lock_until(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
        return lock_until(detail::deadline_at(when));
    }
};

}  // namespace fiber
