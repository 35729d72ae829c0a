#include "fiber/mutex.hpp"

#include "fiber/detail/blocking.hpp"
#include "fiber/detail/mutex_protocol.hpp"

namespace fiber {

namespace {

// While the owner may be running on another core, a caller looks a while before it parks, for at most about as long as
// a wake across cores takes. The pauses are long enough for the owner to get on with many short sections between two
// looks: each look takes the cache line away from it (bench mutex, two workers: 23 ns a section; with a tenth of these
// pauses 140, for then the looks fail, everyone parks, and each unlock hands over).
constexpr int pauses_per_look = 64;

using protocol = detail::mutex_protocol<engine::guarded_word, engine::wait_queue>;

}  // namespace

void mutex::lock_slowly(engine::caller_tag me) {
    if (!spin(me)) (void)wait_in_queue(me, engine::never);
}

bool mutex::lock_until(engine::nanos deadline) {
    const engine::caller_tag me = engine::current_caller();
    return spin(me) || wait_in_queue(me, deadline);
}

// FIFO holds: nobody stands in the queue when this takes the lock. How often it looks follows what it has found: looks
// that were in vain, because the sections are long or the owner sleeps, halve the patience of those to come.
bool mutex::spin(engine::caller_tag me) noexcept {
    const int patience = patience_.load(std::memory_order_relaxed);  // a hint, written by whoever comes
    for (int look = 0; look < patience; ++look) {
        std::uint64_t seen = 0;
        if (word_.try_change(seen, me, std::memory_order_acquire)) {
            if (patience < most_patience)
                patience_.store(static_cast<std::uint8_t>(patience + 1), std::memory_order_relaxed);
            return true;
        }
        if ((seen & protocol::contended) || !engine::may_run_beside(seen, me) || engine::same_caller(seen, me))
            return false;
        for (int i = 0; i < pauses_per_look; ++i) engine::cpu_pause();
    }
    patience_.store(static_cast<std::uint8_t>((patience + 1) / 2), std::memory_order_relaxed);
    return false;
}

bool mutex::wait_in_queue(engine::caller_tag me, engine::nanos deadline) {
    const auto verdict = protocol{word_, waiters_}.acquire(me, deadline, detail::has_passed(deadline));
    if (verdict == detail::acquire_verdict::relocked) {
        detail::throw_would_deadlock("fiber: a mutex was locked again by its owner");
    }
    return verdict == detail::acquire_verdict::owned;
}

void mutex::unlock_slowly(engine::caller_tag me) {
    if (!protocol{word_, waiters_}.release(me)) {
        detail::throw_not_the_owner("fiber: a mutex was unlocked by a caller that does not hold it");
    }
}

}  // namespace fiber
