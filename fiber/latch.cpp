#include "fiber/latch.hpp"

#include "fiber/detail/blocking.hpp"
#include "fiber/this_fiber.hpp"

namespace fiber {

void latch::refuse_start() { detail::throw_invalid("fiber: a latch starts at zero or more"); }

void latch::count_down(std::ptrdiff_t by) {
    if (by < 0) detail::throw_invalid("fiber: latch::count_down() by a negative number");
    const std::uint64_t less = static_cast<std::uint64_t>(by) * one;
    // release: what the caller did before is seen by those who find zero. The RMWs of the others carry it on.
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    while (seen > (less | engine::guarded_word::locked)) {
        if (word_.try_change(seen, seen - less, std::memory_order_release)) return;
        if (seen & engine::guarded_word::locked) break;
    }
    const std::uint64_t state = word_.lock();
    if (state < less) {
        word_.unlock(state);
        detail::throw_misuse("fiber: a latch was counted down below zero");
    }
    engine::wake_list woken;
    if (state == less) waiters_.claim_all_locked(woken);
    word_.unlock(state - less);
    woken.complete_all();
}

void latch::arrive_and_wait(std::ptrdiff_t by) {
    this_fiber::check_cancelled();
    count_down(by);
    wait();
}

bool latch::wait_until_nanos(engine::nanos deadline) {
    return detail::wait_for_state(word_, waiters_, deadline, [](std::uint64_t state) { return state < one; });
}

}  // namespace fiber
