#include "fiber/detail/asio_support.hpp"

#include "fiber/error.hpp"
#include "fiber/this_fiber.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::detail {

namespace {
thread_local bool calls_off_fiber = false;  // a plain thread, in call_off_fiber()

bool is_cancelled() noexcept {
    return engine::worker::current()->current_task()->is(engine::task_slot::cancel_pending);
}

}  // namespace

void completion::come() noexcept {
    engine::wake_list woken;
    (void)word_.lock();
    waiters_.claim_all_locked(woken);
    word_.unlock(has_come);
    woken.complete_all();
}

bool completion::wait(engine::interruptible mode) noexcept {
    while (!(word_.load() & has_come)) {
        engine::word_holder held{word_, word_.lock()};
        if (held.state & has_come) {
            held.unlock();
            break;
        }
        switch (waiters_.wait_and_unlock(held, engine::never, mode)) {
            case engine::wait_verdict::cancelled:
                if (is_cancelled()) return false;
                break;  // it was taken back meanwhile
            case engine::wait_verdict::notified:
            case engine::wait_verdict::timed_out:
                break;
        }
    }
    return true;
}

void call_off_fiber(void (*call)(void*) noexcept, void* argument) noexcept {
    engine::worker* here = engine::worker::current();
    if (here != nullptr) return here->stand_aside([=] { call(argument); });
    calls_off_fiber = true;
    call(argument);
    calls_off_fiber = false;
}

void check_may_wait_for_asio() {
    const engine::worker* here = engine::worker::current();
    if (here != nullptr ? here->current_task() == nullptr : calls_off_fiber) {
        throw usage_error(
            "fiber: use_fiber in a handler that an asio_driver runs would wait for that driver, which waits for the "
            "handler: spawn a fiber there");
    }
    this_fiber::check_cancelled();
}

}  // namespace fiber::detail
