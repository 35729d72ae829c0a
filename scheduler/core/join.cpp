// Joining, and taking a cancellation: the half of current.hpp that waits.
#include "scheduler/core/current.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

namespace {

// One join by observation. The waiter is claimed under the observed task's lock.
struct join_observer : observer {
    explicit join_observer(waiter& who) noexcept : observer(&finished), who(who) {}

    static void finished(observer& self, wake_list& to_wake) noexcept {
        waiter& joiner = static_cast<join_observer&>(self).who;
        if (joiner.claim(wake_reason::notified)) to_wake.push_back(joiner);
    }

    waiter& who;
};

// One that was cancelled before the first run would never come to its end if there is no run.
void end_before_first_run(task_slot& task) noexcept {
    if (!task.is(task_slot::injected) || !task.is(task_slot::cancel_pending)) return;
    bool mine = false;
    task.pool->visit_home([&](scheduler& home) { mine = home.withdraw(task); });
    if (mine) end_unstarted(task);
}

wake_reason wait_until_finished(task_slot& task, nanos deadline, interruptible mode) noexcept {
    end_before_first_run(task);
    waiter self;
    join_observer link(self);
    self.begin(mode);
    if (observe(task, link) == observe_verdict::already_finished) {
        const bool won = self.claim(wake_reason::notified);
        if (won) self.complete();
        return self.wait();  // returns at once, or with the cancellation that was faster
    }
    const wake_reason reason = self.wait(deadline);
    if (reason != wake_reason::notified) (void)unobserve(task, link);
    return reason;
}

}  // namespace

join_verdict join_until(task_slot& task, nanos deadline, interruptible mode) noexcept {
    worker* here = worker::current();
    task_slot* self = here != nullptr ? here->current_task() : nullptr;
    if (mode == interruptible::yes && self != nullptr && take_cancel(*self)) return join_verdict::cancelled;
    if (task.is(task_slot::finished)) return join_verdict::finished;
    if (self == &task && deadline == never) return join_verdict::itself;
    const wake_reason reason = wait_until_finished(task, deadline, mode);
    if (mode == interruptible::yes && self != nullptr && take_cancel(*self)) return join_verdict::cancelled;
    return reason == wake_reason::timed_out && !task.is(task_slot::finished) ? join_verdict::timed_out
                                                                             : join_verdict::finished;
}

namespace {

// While it stands, a cancellation of `self` goes to `target`. Slots of a pool are told apart by their generation; a
// promise's memory may vanish, so it is reached under the lock only.
class awaiting_scope {
 public:
    awaiting_scope(task_slot& self, task_slot& target) noexcept : self_(self), target_(&target) {
        if (target.pool != nullptr) {
            self.awaiting.store(reinterpret_cast<std::uintptr_t>(&target), std::memory_order_release);
        } else {
            set_forwarder(self, &forwarder_);
        }
    }
    ~awaiting_scope() {
        if (target_->pool != nullptr) {
            self_.awaiting.store(0, std::memory_order_release);
        } else {
            set_forwarder(self_, nullptr);
        }
    }

 private:
    task_slot& self_;
    task_slot* const target_;
    cancel_forwarder forwarder_{&target_, 1, [](cancel_forwarder&, const char*) noexcept {},
                                [](cancel_forwarder&) noexcept {}};
};

// Waits once, by running the task here or by parking.
void join_once(task_slot& self, task_slot& task, interruptible mode) noexcept {
    if (worker::current()->run_out_of_turn(task, mode)) return;
    if (mode == interruptible::no || !may_be_interrupted(self)) {
        (void)wait_until_finished(task, never, interruptible::no);
    } else {
        const awaiting_scope scope(self, task);
        (void)wait_until_finished(task, never, interruptible::yes);
    }
}

__attribute__((noinline)) join_verdict join_slow(task_slot* self, task_slot& task, interruptible mode) noexcept {
    if (self == nullptr) {
        if (!task.is(task_slot::finished)) (void)wait_until_finished(task, never, interruptible::no);
        return join_verdict::finished;
    }
    if (self == &task) return join_verdict::itself;
    for (;;) {
        if (mode == interruptible::yes && take_cancel(*self)) {
            const std::string message = cancel_message(*self);
            // Taken by the child: what it makes of it is what the caller sees.
            if (!cancel(task, message.empty() ? nullptr : message.c_str(), self)) return join_verdict::cancelled;
        }
        if (task.is(task_slot::finished)) return join_verdict::finished;
        join_once(*self, task, mode);
    }
}

}  // namespace

join_verdict join(task_slot& task, interruptible mode) noexcept {
    worker* here = worker::current();
    task_slot* self = here != nullptr ? here->current_task() : nullptr;
    // The common case: nobody cancels the caller, and the task has finished or is called here and now.
    // Not for itself: a task that was called by a joiner is not marked as started, and would be called once more.
    if (self != nullptr && self != &task && !self->is(task_slot::cancel_pending)) [[likely]] {
        if (task.is(task_slot::finished)) return join_verdict::finished;
        if (here->run_out_of_turn(task, mode) && !self->is(task_slot::cancel_pending)) return join_verdict::finished;
    }
    return join_slow(self, task, mode);
}

// --- cancellation ---

bool may_be_interrupted(const task_slot& self) noexcept {
    return self.uncancellable_depth == 0 && worker::current()->exceptions().uncaught == 0;
}

bool take_cancel(task_slot& self) noexcept {
    if (!self.is(task_slot::cancel_pending) || !may_be_interrupted(self)) return false;
    return self.state.fetch_and(~task_slot::cancel_pending, std::memory_order_acq_rel) & task_slot::cancel_pending;
}

}  // namespace fiber::engine
