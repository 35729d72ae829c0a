// Locks for one writer or many readers: std::shared_mutex and std::shared_timed_mutex; std::shared_lock works on them.
// asyncio has none.
//
// Fair: readers and writers are served in the order of arrival, readers that stand next to each other together. A
// reader that comes while a writer waits stands behind it, so neither side starves.
// Thread safety: all members from any number of fibers and plain threads at once. Destroying one that somebody waits
// for is a defect of the caller.
#pragma once

#include "fiber/duration.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/caller.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

class shared_mutex {
 public:
    constexpr shared_mutex() noexcept = default;
    shared_mutex(const shared_mutex&) = delete;
    shared_mutex& operator=(const shared_mutex&) = delete;

    // Waits until the lock is the caller's alone. A fiber or a plain thread. No cancellation point.
    // Throws std::system_error (resource_deadlock_would_occur) when it is already; that the caller is one of the
    // readers cannot be told.
    void lock() {
        const engine::caller_tag me = engine::current_caller();
        if (!word_.change(0, me, std::memory_order_acquire)) [[unlikely]]
            (void)lock_slowly(me, engine::never);
    }
    // Never parks.
    [[nodiscard]] bool try_lock() noexcept {
        return word_.change(0, engine::current_caller(), std::memory_order_acquire);
    }
    // Hands the lock to those who come next. Never parks.
    // Throws std::system_error (operation_not_permitted) when the caller does not hold it alone.
    void unlock() {
        const engine::caller_tag me = engine::current_caller();
        if (!word_.change(me, 0, std::memory_order_release)) [[unlikely]]
            unlock_slowly(me);
    }

    // Waits until the caller may read along. A fiber or a plain thread. No cancellation point.
    // Throws std::system_error (resource_deadlock_would_occur) when the lock is the caller's alone.
    void lock_shared() {
        if (!try_lock_shared()) [[unlikely]]
            (void)lock_shared_slowly(engine::never);
    }
    // Fails also when somebody waits. Never parks.
    [[nodiscard]] bool try_lock_shared() noexcept {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while (seen == 0 || (seen & (shared | contended)) == shared) {
            if (word_.try_change(seen, (seen | shared) + one_reader, std::memory_order_acquire)) return true;
            if (seen & engine::guarded_word::locked) break;
        }
        return false;
    }
    // The last reader hands the lock to those who come next. Never parks.
    // Throws std::system_error (operation_not_permitted) when there is no reader.
    void unlock_shared() {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while ((seen & (shared | contended | engine::guarded_word::locked)) == shared) {
            if (word_.try_change(seen, without_one_reader(seen), std::memory_order_release)) return;
        }
        unlock_shared_slowly();
    }

 protected:
    // true: the lock is the caller's. Throw as lock() and lock_shared().
    [[nodiscard]] bool lock_until(engine::nanos deadline) { return lock_slowly(engine::current_caller(), deadline); }
    [[nodiscard]] bool lock_shared_until(engine::nanos deadline) { return lock_shared_slowly(deadline); }

 private:
    // The word: 0 when the lock is free; the tag of its one owner; or `shared` and the number of readers times
    // `one_reader`. `contended`: somebody may stand in the queue.
    static constexpr std::uint64_t contended = 2;
    static constexpr std::uint64_t one_reader = 4;
    static constexpr std::uint64_t shared = std::uint64_t{1} << 63;  // in no tag

    static constexpr std::uint64_t without_one_reader(std::uint64_t state) noexcept {
        const std::uint64_t next = state - one_reader;
        return (next & ~contended) == shared ? next & contended : next;
    }

    bool lock_slowly(engine::caller_tag me, engine::nanos deadline);
    bool lock_shared_slowly(engine::nanos deadline);
    void unlock_slowly(engine::caller_tag me);
    void unlock_shared_slowly();
    bool wait_in_queue(engine::word_holder& held, void* as, engine::nanos deadline);
    void admit_and_unlock(std::uint64_t state) noexcept;

    engine::guarded_word word_;
    engine::wait_queue waiters_;  // guarded by word_; a writer's `handed` is its tag, a reader's is nullptr
};

// A shared_mutex that can be waited for with a limit.
class shared_timed_mutex : private shared_mutex {
 public:
    constexpr shared_timed_mutex() noexcept = default;

    using shared_mutex::lock;
    using shared_mutex::lock_shared;
    using shared_mutex::try_lock;
    using shared_mutex::try_lock_shared;
    using shared_mutex::unlock;
    using shared_mutex::unlock_shared;

    // As timed_mutex::try_lock_for.
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& limit) {
        return lock_until(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
        return lock_until(detail::deadline_at(when));
    }
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& limit) {
        return lock_shared_until(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& when) {
        return lock_shared_until(detail::deadline_at(when));
    }
};

}  // namespace fiber
