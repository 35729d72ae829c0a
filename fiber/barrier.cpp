#include "fiber/barrier.hpp"

#include "fiber/detail/blocking.hpp"

namespace fiber::detail {

barrier_core::barrier_core(std::ptrdiff_t expected) : expected_(expected), missing_(expected) {
    if (expected < 1) throw_invalid("fiber: a barrier expects at least one");
}

barrier_core::arrival barrier_core::arrive(std::ptrdiff_t count, staying mode) {
    if (count < 1) throw_invalid("fiber: barrier::arrive() counts at least one");
    for (;;) {
        const std::uint64_t phase = word_.lock();
        if (missing_ == 0 && count <= expected_) {  // the phase is just being completed, the next one is meant
            word_.unlock(phase);
            (void)wait_until(phase, engine::never);
            continue;
        }
        if (count > missing_) {
            word_.unlock(phase);
            throw_misuse("fiber: more arrived at a barrier than it expects");
        }
        missing_ -= count;
        if (mode == staying::no) --expected_;
        const bool last = missing_ == 0;
        word_.unlock(phase);
        return {phase, last};
    }
}

barrier_core::arrival barrier_core::arrive_unless_cancelled() {
    this_fiber::check_cancelled();
    return arrive(1, staying::yes);
}

void barrier_core::begin_next_phase() noexcept {
    engine::wake_list woken;
    const std::uint64_t phase = word_.lock();
    missing_ = expected_;
    waiters_.claim_all_locked(woken);
    word_.unlock(phase + one_phase);
    woken.complete_all();
}

bool barrier_core::wait_until(std::uint64_t phase, engine::nanos deadline) {
    return wait_for_state(word_, waiters_, deadline,
                          [phase](std::uint64_t state) { return (state & ~engine::guarded_word::locked) != phase; });
}

void barrier_core::wait_or_take_back(std::uint64_t phase) {
    try {
        (void)wait_until(phase, engine::never);
    } catch (...) {
        take_back(phase);
        throw;
    }
}

// The count is left whole: another may arrive in the place of one who was cancelled. Once the phase is complete the
// arrival stands, for the others have gone on because of it.
void barrier_core::take_back(std::uint64_t phase) noexcept {
    const std::uint64_t now = word_.lock();
    if (now == phase && missing_ > 0) ++missing_;
    word_.unlock(now);
}

}  // namespace fiber::detail
