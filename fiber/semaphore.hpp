// Semaphores: asyncio.Semaphore and BoundedSemaphore
// (https://docs.python.org/3/library/asyncio-sync.html#semaphore) in the shape of std::counting_semaphore.
//
// Fair: permits go to those who wait in the order of arrival, and release() hands them over; nobody who comes later
// slips in between.
// Thread safety: all members from any number of fibers and plain threads at once. Destroying a semaphore that somebody
// waits for is a defect of the caller; one who acquired a permit may destroy it, also while the release() that gave it
// is still returning.
#pragma once

#include <cstddef>
#include <limits>

#include "fiber/duration.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

namespace detail {

// A semaphore whose maximum is known at run time: what the templates below share.
class semaphore_core {
 public:
    static constexpr std::ptrdiff_t most = std::numeric_limits<std::ptrdiff_t>::max() / 4;

    constexpr semaphore_core(std::ptrdiff_t permits, std::ptrdiff_t max)
        : word_(static_cast<std::uint64_t>(checked(permits, max)) * one), max_(max) {}

    void acquire();                                            // Cancellation point.
    [[nodiscard]] bool acquire_until(engine::nanos deadline);  // Cancellation point.
    [[nodiscard]] bool try_acquire() noexcept {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while (seen >= one && !(seen & engine::guarded_word::locked)) {
            if (word_.try_change(seen, seen - one, std::memory_order_acquire)) return true;
        }
        return (seen & engine::guarded_word::locked) && try_acquire_slowly();
    }
    void release(std::ptrdiff_t permits) {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while (seen % one == 0 && static_cast<std::size_t>(permits) <= static_cast<std::size_t>(max_) - seen / one) {
            const std::uint64_t next = seen + static_cast<std::uint64_t>(permits) * one;
            if (word_.try_change(seen, next, std::memory_order_release)) return;
        }
        release_slowly(permits);
    }

 private:
    // The word: the number of permits, times `one`; `waiting`: somebody may stand in the queue, and there are none.
    static constexpr std::uint64_t waiting = 2;
    static constexpr std::uint64_t one = 4;

    static constexpr std::ptrdiff_t checked(std::ptrdiff_t permits, std::ptrdiff_t max) {
        if (permits < 0 || permits > max) refuse_start();
        return permits;
    }
    [[noreturn]] static void refuse_start();
    bool try_acquire_slowly() noexcept;
    bool acquire_slowly(engine::nanos deadline);
    void release_slowly(std::ptrdiff_t permits);
    void hand_out(std::uint64_t state, std::ptrdiff_t permits) noexcept;
    void pass_on() noexcept;

    engine::guarded_word word_;
    const std::ptrdiff_t max_;
    engine::wait_queue waiters_;  // guarded by word_
};

}  // namespace detail

// Up to Max permits, to acquire and to release; whoever releases need not be who acquired.
template <std::ptrdiff_t Max = detail::semaphore_core::most>
class counting_semaphore {
    static_assert(Max >= 0 && Max <= detail::semaphore_core::most);

 public:
    // Throws invalid_option for a negative number, and for more than max().
    constexpr explicit counting_semaphore(std::ptrdiff_t permits) : core_(permits, Max) {}
    counting_semaphore(const counting_semaphore&) = delete;
    counting_semaphore& operator=(const counting_semaphore&) = delete;

    // The most permits that it can hold.
    static constexpr std::ptrdiff_t max() noexcept { return Max; }

    // Waits for a permit and takes it. A fiber or a plain thread. Cancellation point: throws `cancelled`, and then has
    // taken none; a permit that was handed over at the same moment goes to the next who waits.
    void acquire() { core_.acquire(); }

    // Takes a permit if there is one and nobody waits. Never parks.
    [[nodiscard]] bool try_acquire() noexcept { return core_.try_acquire(); }

    // Waits for at most `limit`; zero or less does not wait. false: the time is up. Throws as acquire(),
    // std::invalid_argument for NaN. Cancellation point.
    template <class Rep, class Period>
    [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& limit) {
        return core_.acquire_until(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& when) {
        return core_.acquire_until(detail::deadline_at(when));
    }

    // Hands `permits` to those who wait, first come first served, and keeps the rest. Never parks.
    // Throws, and changes nothing: usage_error when that were more than max() permits; invalid_option when negative.
    void release(std::ptrdiff_t permits = 1) { core_.release(permits); }

 private:
    detail::semaphore_core core_;
};

using binary_semaphore = counting_semaphore<1>;

}  // namespace fiber
