#include "fiber/semaphore.hpp"

#include <algorithm>

#include "fiber/detail/blocking.hpp"
#include "fiber/this_fiber.hpp"

namespace fiber::detail {

void semaphore_core::refuse_start() {
    throw_invalid("fiber: a semaphore starts with at least 0 and at most max() permits");
}

void semaphore_core::acquire() {
    this_fiber::check_cancelled();
    if (!try_acquire()) (void)acquire_slowly(engine::never);
}

bool semaphore_core::acquire_until(engine::nanos deadline) {
    this_fiber::check_cancelled();
    return try_acquire() || acquire_slowly(deadline);
}

bool semaphore_core::try_acquire_slowly() noexcept {
    const std::uint64_t state = word_.lock();
    word_.unlock(state >= one ? state - one : state);
    return state >= one;
}

bool semaphore_core::acquire_slowly(engine::nanos deadline) {
    for (;;) {
        const bool expired = has_passed(deadline);
        engine::word_holder held{word_, word_.lock()};
        if (held.state >= one || expired) {
            const bool taken = held.state >= one;
            word_.unlock(taken ? held.state - one : held.state);
            return taken;
        }
        held.state |= waiting;
        switch (waiters_.wait_and_unlock(held, deadline, engine::interruptible::yes)) {
            case engine::wait_verdict::notified:
                // asyncio's order: a cancellation that comes before the fiber has run again wins, and the permit goes
                // on.
                try {
                    this_fiber::check_cancelled();
                } catch (...) {
                    pass_on();
                    throw;
                }
                return true;
            case engine::wait_verdict::timed_out:
                this_fiber::check_cancelled();
                return false;
            case engine::wait_verdict::cancelled:
                this_fiber::check_cancelled();  // returns if it was withdrawn meanwhile
        }
    }
}

void semaphore_core::release_slowly(std::ptrdiff_t permits) {
    if (permits < 0) throw_invalid("fiber: semaphore::release() of a negative number of permits");
    const std::uint64_t state = word_.lock();
    if (permits > max_ - static_cast<std::ptrdiff_t>(state / one)) {
        word_.unlock(state);
        throw_misuse("fiber: a semaphore was released above its maximum");
    }
    hand_out(state, permits);
}

// Requires: word_ is held, with `state`. Releases it.
void semaphore_core::hand_out(std::uint64_t state, std::ptrdiff_t permits) noexcept {
    engine::wake_list served;
    while (permits > 0) {
        engine::waiter* first = waiters_.claim_first_locked();
        if (first == nullptr) break;
        served.push_back(*first);
        --permits;
    }
    const std::uint64_t left = state / one + static_cast<std::uint64_t>(permits);
    word_.unlock(left * one | (waiters_.empty() ? 0 : waiting));
    served.complete_all();
}

// A permit comes back from one who was cancelled. More than the maximum there are not: it may have been filled up
// since.
void semaphore_core::pass_on() noexcept {
    const std::uint64_t state = word_.lock();
    hand_out(state, std::min<std::ptrdiff_t>(1, max_ - static_cast<std::ptrdiff_t>(state / one)));
}

}  // namespace fiber::detail
