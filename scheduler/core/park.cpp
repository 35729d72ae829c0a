#include "scheduler/base/futex.hpp"
#include "scheduler/core/caller.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/timer_queue.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

waiter::waiter() noexcept {
    worker* here = worker::current();
    task_ = here != nullptr ? here->current_task() : nullptr;
    state_ = task_ != nullptr ? &task_->park : &thread_park_state();
}

void waiter::begin(interruptible mode) noexcept {
    epoch_ = state_->begin(mode == interruptible::yes && task_ != nullptr && may_be_interrupted(*task_));
}

void waiter::complete() noexcept {
    if (task_ != nullptr) {
        task_slot& task = *task_;  // before complete(): afterwards this frame may be gone
        if (state_->complete(verdict_) == complete_verdict::enqueue) make_runnable(task);
        return;
    }
    park_state* state = state_;
    state->complete_for_thread();
    futex_wake(state->futex_word(), 1);
}

wake_reason waiter::wait(nanos deadline) noexcept {
    if (task_ == nullptr) return wait_on_thread(deadline);
    if (deadline != never) return wait_on_fiber_until(deadline);
    worker::park();
    return state_->finish();
}

wake_reason waiter::wait_on_fiber_until(nanos deadline) noexcept {
    timer limit(*this);
    worker::current()->arm(limit, deadline);
    worker::park();
    const wake_reason reason = state_->finish();
    if (reason != wake_reason::timed_out) timer_queue::cancel(limit);
    return reason;
}

wake_reason waiter::wait_on_thread(nanos deadline) noexcept {
    if (state_->commit() == commit_verdict::parked) {
        for (;;) {
            const std::uint32_t seen = state_->futex_value();
            if (state_->completed()) break;
            if (futex_wait(state_->futex_word(), seen, deadline) == futex_verdict::timed_out &&
                claim(wake_reason::timed_out)) {
                break;
            }
        }
    }
    return state_->finish();
}

}  // namespace fiber::engine
