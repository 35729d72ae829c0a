#include "fiber/call_later.hpp"

#include <mutex>

#include "fiber/detail/later_calls.hpp"
#include "fiber/detail/runtime_state.hpp"
#include "fiber/future.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

using engine::task_slot;

namespace detail {

// --- the list ---

void later_calls::add(later_call& call, std::shared_ptr<later_call> owner) noexcept {
    std::lock_guard guard(lock_);
    call.listed_ = std::move(owner);
    waiting_.push_back(call);
}

// Disarmed under the lock: whoever finds the call gone from the list may destroy the queue of its timer. A timer's
// callback that cancel() waits for has seen the cancellation and does not come here.
std::shared_ptr<later_call> later_calls::take_out(later_call& call, bool disarm) noexcept {
    std::lock_guard guard(lock_);
    if (!call.linked()) return nullptr;
    call.unlink();
    if (disarm) (void)engine::timer_queue::cancel(call);
    return std::move(call.listed_);
}

void later_calls::drop_all() noexcept {
    for (;;) {
        std::shared_ptr<later_call> next;
        {
            std::lock_guard guard(lock_);
            later_call* first = waiting_.pop_front();
            if (first == nullptr) return;
            (void)engine::timer_queue::cancel(*first);
            next = std::move(first->listed_);
        }
        next->state_.store(later_call::state::cancelled, std::memory_order_relaxed);
        next->drop_task();
    }
}

// --- one call ---

bool later_call::advance(state from, state to) noexcept {
    return state_.compare_exchange_strong(from, to, std::memory_order_acq_rel, std::memory_order_relaxed);
}

bool later_call::begin() noexcept { return advance(state::submitted, state::begun); }

// Until now the task was in no queue, and to introspection and shutdown it did not exist.
void later_call::make_submittable() noexcept { slot_->state.fetch_or(task_slot::queued, std::memory_order_relaxed); }

void later_call::schedule(std::shared_ptr<later_call> self, task_slot& slot, bool due,
                          engine::nanos deadline) noexcept {
    slot_ = &slot;
    slot.state.fetch_and(~task_slot::queued, std::memory_order_relaxed);
    slot.state.fetch_or(task_slot::detached | task_slot::handle_gone, std::memory_order_relaxed);
    if (due) {
        state_.store(state::submitted, std::memory_order_relaxed);
        make_submittable();
        return engine::submit(slot);
    }
    home_->add(*this, std::move(self));
    engine::worker::current()->arm(*this, deadline);
}

// On some worker. The runtime takes nothing any more once its main task has ended: then the call is left to drop_all().
bool later_call::fired(timer& timer) noexcept {
    auto& self = static_cast<later_call&>(timer);
    if (!self.advance(state::waiting, state::submitted)) return true;
    self.make_submittable();
    if (self.scheduler_.submit_outside(*self.slot_) == engine::submit_outside_verdict::accepted) {
        return self.home_->take_out(self, false) == nullptr;  // the last owner may have gone here
    }
    self.slot_->state.fetch_and(~task_slot::queued, std::memory_order_relaxed);
    (void)self.advance(state::submitted, state::waiting);
    return true;
}

bool later_call::cancel() noexcept {
    if (advance(state::waiting, state::cancelled)) {
        if (const auto owned = home_->take_out(*this, true)) drop_task();
        return true;
    }
    return advance(state::submitted, state::cancelled);  // the task will see it
}

void later_call::drop_task() noexcept { engine::end_unstarted(*slot_); }

std::shared_ptr<later_call> make_later_call() {
    runtime_state& home = runtime_state::current();
    return std::make_shared<later_call>(home.later(), home);
}

bool begin(later_call& call) noexcept { return call.begin(); }
bool cancel(later_call& call) noexcept { return call.cancel(); }

void schedule(std::shared_ptr<later_call> call, task_slot& slot, time_limit when) noexcept {
    later_call& scheduled = *call;
    scheduled.schedule(std::move(call), slot, when.past, when.deadline);
}

}  // namespace detail

bool call_handle::cancel() {
    if (call_ == nullptr) detail::throw_no_state();
    return detail::cancel(*call_);
}

}  // namespace fiber
