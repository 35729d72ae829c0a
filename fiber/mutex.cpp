#include "fiber/mutex.hpp"

#include "fiber/detail/blocking.hpp"

namespace fiber {

namespace {

// Before it parks, a caller watches the lock for about 2 us while its owner may be running on another core: a short
// section ends sooner than a park and a wake take (bench mutex, two workers). The pauses between two looks grow, so
// that the owner gets on with many sections before the cache line is taken from it.
constexpr int spin_looks = 6;
constexpr int first_pauses = 1;

void* as_handed(engine::caller_tag tag) noexcept { return reinterpret_cast<void*>(tag); }
engine::caller_tag tag_of(const engine::waiter& waiting) noexcept {
    return reinterpret_cast<engine::caller_tag>(waiting.handed);
}

}  // namespace

void mutex::lock_slowly(engine::caller_tag me) {
    if (!spin(me)) (void)wait_in_queue(me, engine::never);
}

bool mutex::lock_until(engine::nanos deadline) {
    const engine::caller_tag me = engine::current_caller();
    return spin(me) || wait_in_queue(me, deadline);
}

// FIFO holds: nobody stands in the queue when this takes the lock.
bool mutex::spin(engine::caller_tag me) noexcept {
    for (int look = 0, pauses = first_pauses; look < spin_looks; ++look, pauses *= 2) {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        if (seen == 0 && word_.try_change(seen, me, std::memory_order_acquire)) return true;
        if ((seen & contended) || !engine::may_run_beside(seen, me) || engine::same_caller(seen, me)) return false;
        for (int i = 0; i < pauses; ++i) engine::cpu_pause();
    }
    return false;
}

bool mutex::wait_in_queue(engine::caller_tag me, engine::nanos deadline) {
    const bool expired = detail::has_passed(deadline);
    engine::word_holder held{word_, word_.lock()};
    if (held.state == 0) {
        word_.unlock(me);
        return true;
    }
    if (engine::same_caller(held.state, me)) {
        held.unlock();
        detail::throw_would_deadlock("fiber: a mutex was locked again by its owner");
    }
    if (expired) {
        held.unlock();
        return false;
    }
    held.state |= contended;
    void* handed = as_handed(me);
    return waiters_.wait_and_unlock(held, deadline, engine::interruptible::no, &handed) ==
           engine::wait_verdict::notified;
}

void mutex::unlock_slowly(engine::caller_tag me) {
    engine::word_holder held{word_, word_.lock()};
    if (!engine::same_caller(held.state, me)) {
        held.unlock();
        detail::throw_not_the_owner("fiber: a mutex was unlocked by a caller that does not hold it");
    }
    engine::waiter* next = waiters_.claim_first_locked();
    if (next == nullptr) return word_.unlock(0);
    word_.unlock(engine::woken_by(tag_of(*next), me) | (waiters_.empty() ? 0 : contended));
    next->complete();
}

}  // namespace fiber
