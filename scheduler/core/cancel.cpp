// Cancellation: from cancel() down the chain of tasks that wait for each other, to the wait that it ends.
//
// Each task on the way counts the request; the last one gets it delivered: `cancel_pending` is set, and a wait that is
// open is claimed. Any thread, at any moment of those tasks.
//
// Orders, by pair:
//   C1  A task that calls another on its own stack says so by a plain store of `awaiting`, for that is on the fast path
//       of every join. deliver: RMW of the state, then load of awaiting  <>  announce_wait: RMW of awaiting, then load
//       of the state, at the latest when the called task parks. One of them sees the other: no cancellation stays with
//       a task that is in the middle of a wait. Whoever takes the pending flag back passes the cancellation on.
#include <bit>
#include <mutex>
#include <new>
#include <utility>

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

// Counts a request. false: not that task any more, or it has finished.
bool count_request(task_slot& task, std::uint32_t generation) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    std::uint64_t next = 0;
    do {
        if (generation_of(seen) != generation || (seen & task_slot::finished)) return false;
        next = (seen & task_slot::cancel_mask) == task_slot::cancel_mask ? seen : seen + task_slot::cancel_one;
    } while (!task.state.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_acquire));
    if (seen & task_slot::has_listener) [[unlikely]]
        tell_listener(task, generation);
    return true;
}

// Of a request that nobody will see: the task has finished.
void take_back_count(task_slot& task, std::uint32_t generation) noexcept {
    std::uint64_t seen = task.state.load(std::memory_order_acquire);
    while (generation_of(seen) == generation && (seen & task_slot::cancel_mask) != 0) {
        if (task.state.compare_exchange_weak(seen, seen - task_slot::cancel_one, std::memory_order_acq_rel)) return;
    }
}

// A task and the use of its slot that is meant.
struct target {
    task_slot* task;
    std::uint32_t generation;

    bool stands() const noexcept { return task->generation() == generation; }
    bool operator==(const target&) const = default;
};

// The task that `from` waits for; {nullptr, 0}: none.
target awaited_by(const target& from) noexcept {
    const std::uintptr_t awaited = from.task->awaiting.load(std::memory_order_seq_cst);  // C1
    if (awaited == 0 || (awaited & 1)) return {nullptr, 0};
    auto* task = reinterpret_cast<task_slot*>(awaited);
    const std::uint32_t generation = task->generation();
    // Read again: if it still waits for it, the generation is that of the task it waits for, or of one before it.
    if (from.task->awaiting.load(std::memory_order_acquire) != awaited || !from.stands()) return {nullptr, 0};
    return {task, generation};
}

// Takes a pending cancellation back from the task, for whoever passes it on. false: there is none (any more).
bool take_back(const target& from) noexcept {
    std::uint64_t seen = from.task->state.load(std::memory_order_acquire);
    do {
        if (generation_of(seen) != from.generation || !(seen & task_slot::cancel_pending)) return false;
    } while (!from.task->state.compare_exchange_weak(seen, seen & ~task_slot::cancel_pending, std::memory_order_acq_rel,
                                                     std::memory_order_acquire));
    return true;
}

// Nobody keeps a task alive that is reached down the chain. So under its lock it is made to finish under that lock,
// too, before anything of it but the state is touched.
void leave_message(const target& to, const char* message) noexcept {
    std::lock_guard guard(to.task->lock);
    std::uint64_t seen = to.task->state.load(std::memory_order_acquire);
    do {
        if (generation_of(seen) != to.generation || (seen & task_slot::finished)) return;
    } while (!to.task->state.compare_exchange_weak(seen, seen | task_slot::has_observers, std::memory_order_acq_rel,
                                                   std::memory_order_acquire));
    try {
        extras_locked(*to.task)->cancel_message = message;
    } catch (const std::bad_alloc&) {
        // The cancellation counts, its message is a comfort.
    }
}

// over: the task has finished meanwhile, and nobody will see the request. moved_on: it waits for another task by now,
// which has to get it.
enum class deliver_verdict : std::uint8_t { delivered, over, moved_on };

[[nodiscard]] deliver_verdict deliver(const target& to, const char* message) noexcept {
    if (message != nullptr) leave_message(to, message);
    std::uint64_t seen = to.task->state.load(std::memory_order_acquire);
    do {
        if (generation_of(seen) != to.generation || (seen & task_slot::finished)) return deliver_verdict::over;
    } while (!to.task->state.compare_exchange_weak(seen, seen | task_slot::cancel_pending, std::memory_order_seq_cst,
                                                   std::memory_order_acquire));  // C1; park state, P3
    // One that was woken by somebody else sees what is pending when it runs.
    if (claim_parked_for_cancel(*to.task, to.generation) || to.task->park.woken()) return deliver_verdict::delivered;
    const target next = awaited_by(to);
    // One that has finished lets its waiter go on: that will see what is pending.
    if (next.task == nullptr || next.task->is(task_slot::finished)) return deliver_verdict::delivered;
    return take_back(to) ? deliver_verdict::moved_on : deliver_verdict::delivered;
}

bool cancel_promise(task_slot& promise) noexcept {
    if (!settle_begin(promise)) return false;
    promise.operations->drop(promise);
    finish_promise(promise);
    return true;
}

bool forward_under_lock(task_slot& task, std::uintptr_t tagged, const char* message) noexcept {
    const deferred_listeners until_unlocked;
    std::lock_guard guard(task.lock);
    if (task.awaiting.load(std::memory_order_relaxed) != tagged) return false;
    auto* forwarder = reinterpret_cast<cancel_forwarder*>(tagged & ~std::uintptr_t{1});
    return forwarder->forward(*forwarder, message);
}

// Those above the one that is to take a cancellation: each waits for the next. Of a long chain only the last are kept.
class chain_above {
 public:
    void push(const target& one) noexcept {
        kept_[pushed_++ % most] = one;
        if (count_ < most) ++count_;
    }
    bool empty() const noexcept { return count_ == 0; }
    target pop() noexcept {
        --count_;
        return kept_[--pushed_ % most];
    }

 private:
    static constexpr unsigned most = 16;  // so many would have to finish at the same moment to be too few
    target kept_[most];
    unsigned pushed_ = 0;
    unsigned count_ = 0;
};

// Tasks that wait for each other in a ring wait for ever; cancelling must end, and end that. Where the walk down the
// chain comes round it counts no more, and delivers to the first that can take it. That one passes it on himself, until
// it comes back to him.
class walk {
 public:
    walk(const target& top, const task_slot* asker) noexcept : top_(top), mark_(top), asker_(asker) {}

    // Is it the one who passes his own cancellation on?
    bool back_at_asker(const target& next) const noexcept { return next.task == asker_; }
    // Has it been here? A ring without the top is noticed some rounds later (Brent's algorithm).
    bool goes_round(const target& next) noexcept { return closed_ = closed_ || next == top_ || next == mark_; }
    void went_to(const target& next) noexcept {
        if (std::has_single_bit(++steps_)) mark_ = next;
    }

 private:
    const target top_;
    target mark_;
    const task_slot* const asker_;
    std::uint64_t steps_ = 0;
    bool closed_ = false;
};

enum class pass_verdict : std::uint8_t { passed, taken, stays, came_back };

// From one that has been counted to the one it waits for, which is counted, too. taken: by a forwarder, for good.
// came_back: to the asker.
pass_verdict pass_on(target& at, walk& way, const char* message) noexcept {
    const std::uintptr_t awaited = at.task->awaiting.load(std::memory_order_acquire);
    if (awaited & 1) {
        return forward_under_lock(*at.task, awaited, message) ? pass_verdict::taken : pass_verdict::stays;
    }
    const target next = awaited_by(at);
    if (next.task == nullptr) return pass_verdict::stays;
    if (way.back_at_asker(next)) return pass_verdict::came_back;
    if (way.goes_round(next)) {
        at = next;
        return pass_verdict::stays;
    }
    if (!count_request(*next.task, next.generation)) return pass_verdict::stays;
    way.went_to(next);
    at = next;
    return pass_verdict::passed;
}

}  // namespace

bool cancel(task_slot& task, const char* message, const task_slot* asker) noexcept {
    if (task.pool == nullptr) return cancel_promise(task);
    return cancel_generation(task, task.generation(), message, asker);
}

// One that has finished between the count and the delivery takes nothing any more: then the one who waited for it, and
// goes on, must not go on as if nobody had asked. It gets the delivery, or whatever it waits for by now.
bool cancel_generation(task_slot& task, std::uint32_t generation, const char* message,
                       const task_slot* asker) noexcept {
    // Told earlier, a task that looks at its stop token could end before the delivery, which then had come too late.
    const deferred_listeners until_delivered;
    const target top{&task, generation};
    if (!count_request(task, generation)) return false;
    target at = top;
    walk way(top, asker);
    chain_above above;
    for (;;) {
        const target before = at;
        const pass_verdict passed = pass_on(at, way, message);
        if (passed == pass_verdict::taken) return true;
        if (passed == pass_verdict::came_back) {
            take_back_count(*at.task, at.generation);
            while (!above.empty()) {
                at = above.pop();
                take_back_count(*at.task, at.generation);
            }
            return false;
        }
        if (passed == pass_verdict::passed) {
            above.push(before);
            continue;
        }
        deliver_verdict delivered = deliver(at, message);
        while (delivered == deliver_verdict::over) {
            if (at == top) {
                take_back_count(task, generation);
                return false;
            }
            at = above.empty() ? top : above.pop();
            delivered = deliver(at, message);
        }
        if (delivered == deliver_verdict::delivered) return true;
    }
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
