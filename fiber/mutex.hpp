// Locks that park a fiber, or block a plain thread, until they are free: asyncio.Lock
// (https://docs.python.org/3/library/asyncio-sync.html#lock) in the shape of std::mutex and std::timed_mutex, so that
// std::lock_guard, std::unique_lock and std::scoped_lock work on them.
//
// Fair: who waits is served in the order of arrival, and unlock() hands the lock straight to the first; nobody who
// comes later slips in between. A fiber may unlock on another thread than the one it locked on: the owner is the task.
// Thread safety: all members from any number of fibers and plain threads at once. Destroying a mutex that somebody
// waits for is a defect of the caller; one who has just locked and unlocked it may destroy it, as with std's.
#pragma once

#include "fiber/duration.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/caller.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

// A mutual exclusion lock, not recursive.
class mutex {
 public:
    constexpr mutex() noexcept = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;

    // Waits until the lock is the caller's. A fiber or a plain thread.
    // Throws std::system_error (resource_deadlock_would_occur) when it is the caller's already.
    // No cancellation point: a cancellation waits for the next one, so that clean-up can rely on locks.
    void lock() {
        const engine::caller_tag me = engine::current_caller();
        if (!word_.change(0, me, std::memory_order_acquire)) [[unlikely]]
            lock_slowly(me);
    }

    // Takes the lock if it is free and nobody waits for it. Never parks. A fiber or a plain thread.
    [[nodiscard]] bool try_lock() noexcept {
        return word_.change(0, engine::current_caller(), std::memory_order_acquire);
    }

    // Hands the lock to the first who waits. Never parks.
    // Throws std::system_error (operation_not_permitted) when the caller does not hold it.
    void unlock() {
        const engine::caller_tag me = engine::current_caller();
        if (!word_.change(me, 0, std::memory_order_release)) [[unlikely]]
            unlock_slowly(me);
    }

 protected:
    // true: the lock is the caller's. Throws as lock().
    [[nodiscard]] bool lock_until(engine::nanos deadline);
    bool held_by(engine::caller_tag caller) const noexcept {
        return engine::same_caller(word_.load(std::memory_order_relaxed),
                                   caller);  // nobody else writes the caller's tag
    }

 private:
    // The word: the owner's tag, or 0 when the lock is free; more in detail/mutex_protocol.hpp.
    static constexpr std::uint8_t most_patience = 32;

    void lock_slowly(engine::caller_tag me);
    bool spin(engine::caller_tag me) noexcept;
    bool wait_in_queue(engine::caller_tag me, engine::nanos deadline);
    void unlock_slowly(engine::caller_tag me);

    engine::guarded_word word_;
    engine::wait_queue waiters_;                         // guarded by word_
    std::atomic<std::uint8_t> patience_{most_patience};  // looks before parking
};

// A mutex that can be waited for with a limit.
class timed_mutex : private mutex {
 public:
    constexpr timed_mutex() noexcept = default;

    using mutex::lock;
    using mutex::try_lock;
    using mutex::unlock;

    // Waits for at most `limit`; zero or less does not wait. false: the time is up. A fiber or a plain thread.
    // Throws as lock(), std::invalid_argument for NaN. No cancellation point.
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& limit) {
        detail::require_number(limit);
        return try_lock() || lock_until(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
        detail::require_number(when);
        return try_lock() || lock_until(detail::deadline_at(when));
    }
};

}  // namespace fiber
