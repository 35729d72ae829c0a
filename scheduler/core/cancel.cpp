// Cancellation at one task: counting, delivering, taking back; its listener, its message, and what it forwards to. How
// a request finds its way from task to task is in cancel_walk.cpp.
//
// Orders, by pair:
//   C1  A task that calls another on its own stack says so by a plain store of `awaiting`, for that is on the fast path
//       of every join. deliver: RMW of the state, then load of awaiting  <>  announce_wait: RMW of awaiting, then load
//       of the state, at the latest when the called task parks. One of them sees the other: no cancellation stays with
//       a task that is in the middle of a wait. Whoever takes the pending flag back passes the cancellation on.
#include <mutex>
#include <new>
#include <utility>

#include "scheduler/core/cancel_steps.hpp"
#include "scheduler/core/lifecycle.hpp"

namespace fiber::engine {

namespace {

constexpr std::uint64_t generation_of(std::uint64_t state) noexcept { return state >> 32; }

void tell_listener(task_slot& task, std::uint32_t generation) noexcept {
    std::shared_ptr<cancel_listener> listener;
    {
        std::lock_guard guard(task.lock);
        if (task.generation() == generation && task.extras != nullptr) listener = task.extras->listener;
    }
    if (listener != nullptr) deferred_listeners::tell(std::move(listener));
}

// Takes a pending cancellation back from the task, for whoever passes it on. false: there is none (any more).
bool take_back(const cancel_target& from) noexcept {
    std::uint64_t seen = from.task->state.load(std::memory_order_acquire);
    do {
        if (generation_of(seen) != from.generation || !(seen & task_slot::cancel_pending)) return false;
    } while (!from.task->state.compare_exchange_weak(seen, seen & ~task_slot::cancel_pending, std::memory_order_acq_rel,
                                                     std::memory_order_acquire));
    return true;
}

void keep_message_locked(task_slot& task, const char* message) noexcept {
    try {
        extras_locked(task)->cancel_message = message;
    } catch (const std::bad_alloc&) {
        // The cancellation counts, its message is a comfort.
    }
}

// Nobody keeps a task alive that is reached down the chain. So under its lock it is made to finish under that lock,
// too, before anything of it but the state is touched.
void leave_message(const cancel_target& to, const char* message) noexcept {
    std::lock_guard guard(to.task->lock);
    std::uint64_t seen = to.task->state.load(std::memory_order_acquire);
    do {
        if (generation_of(seen) != to.generation || (seen & task_slot::finished)) return;
    } while (!to.task->state.compare_exchange_weak(seen, seen | task_slot::has_observers, std::memory_order_acq_rel,
                                                   std::memory_order_acquire));
    keep_message_locked(*to.task, message);
}

// Of an earlier request, which has been delivered: this one has none. Who has a message finishes under the lock.
void forget_message(const cancel_target& to) noexcept {
    std::lock_guard guard(to.task->lock);
    const std::uint64_t seen = to.task->state.load(std::memory_order_acquire);
    constexpr std::uint64_t locked_out = task_slot::finished | task_slot::cancel_pending;
    if (generation_of(seen) != to.generation || (seen & locked_out) || !(seen & task_slot::has_observers)) return;
    if (to.task->extras != nullptr) to.task->extras->cancel_message.clear();
}

}  // namespace

bool count_request(const cancel_target& at) noexcept {
    std::uint64_t seen = at.task->state.load(std::memory_order_acquire);
    std::uint64_t next = 0;
    do {
        if (generation_of(seen) != at.generation || (seen & task_slot::finished)) return false;
        next = (seen & task_slot::cancel_mask) == task_slot::cancel_mask ? seen : seen + task_slot::cancel_one;
    } while (!at.task->state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire));
    if (seen & task_slot::has_listener) [[unlikely]]
        tell_listener(*at.task, at.generation);
    return true;
}

void take_back_count(const cancel_target& at) noexcept {
    std::uint64_t seen = at.task->state.load(std::memory_order_acquire);
    while (generation_of(seen) == at.generation && (seen & task_slot::cancel_mask) != 0) {
        if (at.task->state.compare_exchange_weak(seen, seen - task_slot::cancel_one, std::memory_order_acq_rel)) return;
    }
}

cancel_target awaited_by(const cancel_target& from) noexcept {
    const std::uintptr_t awaited = from.task->awaiting.load(std::memory_order_seq_cst);  // C1
    if (awaited == 0 || (awaited & 1)) return {nullptr, 0};
    auto* task = reinterpret_cast<task_slot*>(awaited);
    const std::uint32_t generation = task->generation();
    // Read again: if it still waits for it, the generation is that of the task it waits for, or of one before it.
    if (from.task->awaiting.load(std::memory_order_acquire) != awaited || !from.stands()) return {nullptr, 0};
    return {task, generation};
}

deliver_verdict deliver(const cancel_target& to, const char* message) noexcept {
    if (message != nullptr) {
        leave_message(to, message);
    } else if (to.task->is(task_slot::has_observers)) {
        forget_message(to);
    }
    std::uint64_t seen = to.task->state.load(std::memory_order_acquire);
    do {
        if (generation_of(seen) != to.generation || (seen & task_slot::finished)) return deliver_verdict::over;
    } while (!to.task->state.compare_exchange_weak(seen, seen | task_slot::cancel_pending, std::memory_order_seq_cst,
                                                   std::memory_order_acquire));  // C1; park state, P3
    // One that was woken by somebody else sees what is pending when it runs.
    if (claim_parked_for_cancel(*to.task, to.generation) || to.task->park.woken()) return deliver_verdict::delivered;
    const cancel_target next = awaited_by(to);
    // One that has finished lets its waiter go on: that will see what is pending.
    if (next.task == nullptr || next.task->is(task_slot::finished)) return deliver_verdict::delivered;
    return take_back(to) ? deliver_verdict::moved_on : deliver_verdict::delivered;
}

// The hold is the flag that keeps the slot of a task that stands in a queue: no promise ever does.
bool hold_to_cancel(task_slot& promise) noexcept {
    std::uint64_t seen = promise.state.load(std::memory_order_acquire);
    do {
        if (seen & task_slot::result_taken) return false;
    } while (!promise.state.compare_exchange_weak(seen, seen | task_slot::result_taken | task_slot::queued,
                                                  std::memory_order_acq_rel, std::memory_order_acquire));
    return true;
}

void cancel_held(task_slot& promise, const char* message) noexcept {
    if (message != nullptr) {
        std::lock_guard guard(promise.lock);
        keep_message_locked(promise, message);
    }
    promise.operations->drop(promise);
    finish_promise(promise);
    const std::uint64_t before = promise.state.fetch_and(~task_slot::queued, std::memory_order_acq_rel);
    entry_dropped(promise, before & ~task_slot::queued);
}

unsigned cancelling(const task_slot& task) noexcept {
    return static_cast<unsigned>((task.state.load(std::memory_order_acquire) & task_slot::cancel_mask) >> 16);
}

unsigned uncancel(task_slot& task) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    std::uint64_t next = 0;
    do {
        if ((seen & task_slot::cancel_mask) == 0) return 0;
        next = seen - task_slot::cancel_one;
        if ((next & task_slot::cancel_mask) == 0) next &= ~task_slot::cancel_pending;
    } while (!task.state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire));
    return static_cast<unsigned>((next & task_slot::cancel_mask) >> 16);
}

std::shared_ptr<cancel_listener> cancel_listener_of(task_slot& task) noexcept {
    std::lock_guard guard(task.lock);
    return task.extras != nullptr ? task.extras->listener : nullptr;
}

bool replace_cancel_listener(task_slot& task, const cancel_listener* expected, std::shared_ptr<cancel_listener> fresh) {
    {
        std::lock_guard guard(task.lock);
        std::shared_ptr<cancel_listener>& stands = extras_locked(task)->listener;
        if (stands.get() != expected) return false;
        stands.swap(fresh);  // the one before goes after the lock
        task.state.fetch_or(task_slot::has_listener, std::memory_order_acq_rel);
    }
    // A cancel() before the flag stood did not look for a listener: it was counted.
    if (cancelling(task) != 0) tell_listener(task, task.generation());
    return true;
}

std::string cancel_message(task_slot& task) noexcept {
    std::lock_guard guard(task.lock);
    try {
        return task.extras != nullptr ? task.extras->cancel_message : std::string();
    } catch (const std::bad_alloc&) {
        return {};  // the cancellation counts, its message is a comfort
    }
}

void set_forwarder(task_slot& self, cancel_forwarder* forwarder) noexcept {
    std::lock_guard guard(self.lock);
    const std::uintptr_t before = self.awaiting.load(std::memory_order_relaxed);
    if (before & 1) {  // those that go through its children find that it has gone
        auto* stood = reinterpret_cast<cancel_forwarder*>(before & ~std::uintptr_t{1});
        while (stood->visits.pop_front() != nullptr) {
        }
    }
    const auto tagged = forwarder != nullptr ? reinterpret_cast<std::uintptr_t>(forwarder) | 1 : 0;
    self.awaiting.store(tagged, std::memory_order_release);
}

bool claim_parked_for_cancel(task_slot& task, std::uint32_t generation) noexcept {
    const claim_verdict verdict = task.park.claim_cancel([&] {
        const std::uint64_t seen = task.state.load(std::memory_order_seq_cst);
        return generation_of(seen) == generation && (seen & task_slot::cancel_pending);
    });
    if (verdict == claim_verdict::lost) return false;
    if (task.park.complete(verdict) == complete_verdict::enqueue) make_runnable(task);
    return true;
}

void announce_wait(task_slot& waiting, task_slot& awaited) noexcept {
    waiting.awaiting.exchange(reinterpret_cast<std::uintptr_t>(&awaited), std::memory_order_seq_cst);  // C1
    const std::uint64_t seen = waiting.state.load(std::memory_order_seq_cst);                          // C1
    if ((seen & task_slot::cancel_pending) && take_back({&waiting, static_cast<std::uint32_t>(generation_of(seen))})) {
        const std::string message = cancel_message(waiting);
        (void)cancel(awaited, message.empty() ? nullptr : message.c_str());
    }
    if (!waiting.is(task_slot::started)) mark_started_out_of_turn(waiting);  // called on its joiner's stack itself
}

}  // namespace fiber::engine
