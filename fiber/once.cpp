#include "fiber/once.hpp"

#include "fiber/detail/blocking.hpp"

namespace fiber {

bool once_flag::begin() {
    const engine::caller_tag me = engine::current_caller();
    for (;;) {
        this_fiber::check_cancelled();
        engine::word_holder held{word_, word_.lock()};
        if (held.state == 0) {
            word_.unlock(me);
            return true;
        }
        if (held.state == done) {
            held.unlock();
            return false;
        }
        if (engine::same_caller(held.state, me)) {
            held.unlock();
            detail::throw_would_deadlock("fiber: call_once() from within its own call");
        }
        void* handed = reinterpret_cast<void*>(me);
        const auto verdict = waiters_.wait_and_unlock(held, engine::never, engine::interruptible::yes, &handed);
        const bool my_turn = verdict == engine::wait_verdict::notified && engine::same_caller(word_.load(), me);
        try {
            this_fiber::check_cancelled();
        } catch (...) {
            if (my_turn) give_up();
            throw;
        }
        if (verdict == engine::wait_verdict::notified) return my_turn;
    }
}

void once_flag::finish() noexcept {
    engine::wake_list woken;
    (void)word_.lock();
    waiters_.claim_all_locked(woken);
    word_.unlock(done);
    woken.complete_all();
}

void once_flag::give_up() noexcept {
    (void)word_.lock();
    engine::waiter* next = waiters_.claim_first_locked();
    word_.unlock(next != nullptr ? reinterpret_cast<engine::caller_tag>(next->handed) : 0);
    if (next != nullptr) next->complete();
}

}  // namespace fiber
