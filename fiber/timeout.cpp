#include "fiber/timeout.hpp"

#include <exception>

#include "fiber/detail/result.hpp"
#include "fiber/this_fiber.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/timer_queue.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

using engine::task_slot;

timeout_scope::timeout_scope(detail::time_limit limit) : timer(&fired), deadline_(limit.deadline) {
    engine::worker* here = engine::worker::current();
    task_ = here != nullptr ? here->current_task() : nullptr;
    if (task_ == nullptr) [[unlikely]]
        throw usage_error(
            "fiber: with_timeout() and wait_for(limit, f) work by cancelling the running task: call them on a fiber");
    const std::uint64_t seen = task_->state.load(std::memory_order_relaxed);
    cancelling_on_entry_ = static_cast<unsigned>((seen & task_slot::cancel_mask) / task_slot::cancel_one);
    pending_on_entry_ = (seen & task_slot::cancel_pending) != 0;
    innermost_ = &here->innermost_scope();
    outer_ = static_cast<timeout_scope*>(std::exchange(*innermost_, this));
    arm(limit.past);
}

void timeout_scope::arm(bool past) noexcept {
    if (past) return expire();
    armed_ = deadline_ != engine::never;
    if (armed_) engine::worker::current()->arm(*this, deadline_);
}

// false: the timer has fired; its callback has returned.
inline bool timeout_scope::disarm() noexcept {
    return !std::exchange(armed_, false) || engine::timer_queue::cancel(*this);
}

// On some worker. leave() waits for its end: the task cannot be gone.
bool timeout_scope::fired(timer& self) noexcept {
    static_cast<timeout_scope&>(self).expire();
    return true;
}

void timeout_scope::expire() noexcept {
    state_.store(state::expiring, std::memory_order_relaxed);  // disarm(), or the wake, carries it to the task
    (void)engine::cancel(*task_, nullptr);
}

bool timeout_scope::leave(leaving how) noexcept {
    *innermost_ = outer_;
    (void)disarm();
    if (state_.load(std::memory_order_relaxed) == state::entered) [[likely]] {
        state_.store(state::left, std::memory_order_relaxed);
        return false;
    }
    return leave_expired(how);
}

// An outer scope whose deadline is no later than that of an inner one that has expired has expired, too, even if no
// worker has come round to it. Returns whether it is so. The task itself only.
bool timeout_scope::expire_with_inner(engine::nanos inner) noexcept {
    if (deadline_ > inner) return false;
    if (disarm() && state_.load(std::memory_order_relaxed) == state::entered) expire();
    return true;
}

// As asyncio decides it: the cancellation is this scope's own if no other request is left than those on entry.
bool timeout_scope::leave_expired(leaving how) noexcept {
    state_.store(state::left_expired, std::memory_order_relaxed);
    const bool delivered = how == leaving::by_cancellation || !task_->is(task_slot::cancel_pending);
    bool outer_expired = false;
    for (timeout_scope* outer = outer_; outer != nullptr && outer->task_ == task_; outer = outer->outer_) {
        outer_expired |= outer->expire_with_inner(deadline_);
    }
    const bool own = engine::uncancel(*task_) <= cancelling_on_entry_;
    // One `cancelled` is delivered for all scopes that expire together; and none that was not, once its scope is left.
    if ((own && !pending_on_entry_) || (outer_expired && delivered)) {
        task_->state.fetch_and(~task_slot::cancel_pending, std::memory_order_acq_rel);
    }
    return own;
}

void timeout_scope::check_active() const {
    const engine::worker* here = engine::worker::current();
    if (here == nullptr || here->current_task() != task_) {
        throw usage_error("fiber: timeout_scope::reschedule() was called by another task than the one that entered it");
    }
    if (state_.load(std::memory_order_relaxed) >= state::left) {
        throw usage_error("fiber: timeout_scope::reschedule() after the scope was left");
    }
}

void timeout_scope::reschedule_to(detail::time_limit limit) {
    check_active();
    (void)disarm();
    if (state_.load(std::memory_order_relaxed) == state::expiring) {
        if (!task_->is(task_slot::cancel_pending)) {
            throw usage_error("fiber: timeout_scope::reschedule() after the scope has expired");
        }
        // Nobody has seen the expiry yet: it is taken back.
        state_.store(state::entered, std::memory_order_relaxed);
        if (engine::uncancel(*task_) <= cancelling_on_entry_ && !pending_on_entry_) {
            task_->state.fetch_and(~task_slot::cancel_pending, std::memory_order_acq_rel);
        }
    }
    deadline_ = limit.deadline;
    arm(limit.past);
}

std::optional<std::chrono::steady_clock::time_point> timeout_scope::when() const noexcept {
    if (deadline_ == engine::never) return std::nullopt;
    using std::chrono::steady_clock;
    return steady_clock::time_point(
        std::chrono::duration_cast<steady_clock::duration>(std::chrono::nanoseconds(deadline_)));
}

namespace detail {

void throw_timeout() { std::throw_with_nested(timeout_error()); }

void throw_timeout_before_start() {
    this_fiber::check_cancelled();
    try {
        throw cancelled();
    } catch (const cancelled&) {
        throw_timeout();
    }
}

namespace {

// Requires: it ended as cancelled.
[[noreturn]] void throw_timeout_of(task_slot& slot) {
    try {
        rethrow_result(result_base::of(slot));
    } catch (const cancelled&) {
        throw_timeout();
    }
}

void await_on_thread(task_slot& slot, engine::nanos deadline) {
    if (engine::join_until(slot, deadline) == engine::join_verdict::finished) return;
    const bool taken = engine::cancel(slot, nullptr);
    (void)engine::join(slot, engine::interruptible::no);
    if (taken && slot.is(task_slot::was_cancelled)) throw_timeout_of(slot);
}

}  // namespace

void await_within(task_slot& slot, time_limit limit) {
    if (!this_fiber::on_fiber()) return await_on_thread(slot, limit.deadline);
    timeout_scope scope(limit);
    const bool joined = engine::join(slot) != engine::join_verdict::cancelled;  // or `itself`: get() complains
    const bool ended_cancelled = slot.is(task_slot::was_cancelled);
    using leaving = timeout_scope::leaving;
    const bool expired = scope.leave(joined && !ended_cancelled ? leaving::otherwise : leaving::by_cancellation);
    if (expired && ended_cancelled) throw_timeout_of(slot);
    if (joined || expired) return;  // also when it finished just as the time was up: its result is not lost
    throw cancelled(engine::cancel_message(*engine::worker::current()->current_task()));
}

}  // namespace detail

}  // namespace fiber
