#include "fiber/detail/hand_over.hpp"

#include "fiber/this_fiber.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::detail {

void cancellation_point() {
    engine::worker* here = engine::worker::current();
    engine::task_slot* self = here != nullptr ? here->current_task() : nullptr;
    if (self != nullptr && self->is(engine::task_slot::cancel_pending)) [[unlikely]]
        this_fiber::check_cancelled();
}

bool hand_over_base::close_locked(engine::wake_list& woken) noexcept {
    if (closed_) return false;
    closed_ = true;
    for (hand_over_list* list : {&poppers_, &pushers_}) {
        while (hand_over_entry* each = list->claim_first()) each->settle(hand_over_verdict::closed, woken);
    }
    return true;
}

hand_over_verdict hand_over_base::wait_and_unlock(hand_over_list& list, void* item, engine::nanos deadline) noexcept {
    engine::waiter self;
    hand_over_entry mine(self, item);
    self.begin(engine::interruptible::yes);
    list.push_back(mine);
    lock_.unlock();
    const engine::wake_reason reason = self.wait(deadline);
    if (reason == engine::wake_reason::notified) return mine.outcome;
    lock_.lock();
    if (mine.linked()) mine.unlink();  // not if a partner met it and failed to claim
    lock_.unlock();
    return reason == engine::wake_reason::timed_out ? hand_over_verdict::timed_out : hand_over_verdict::cancelled;
}

}  // namespace fiber::detail
