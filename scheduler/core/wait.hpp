// The one way to wait. A waiter stands in the frame of whoever waits, fiber or plain thread; notify, time-out and
// cancellation race for it, and its park state picks one winner. Every primitive of the library is built on it.
//
// Life: begin(), then let others know of it (a list under the primitive's lock, an observer, a timer), then wait(),
// then make sure that nobody knows of it any more before the frame ends.
//
// Rules that keep a frame from being touched after it left:
//   * claim() is called under the lock that also guards the place where the waiter is known. A waiter that was not
//     notified takes the same lock to remove itself.
//   * The winner calls complete() exactly once, after it has written what it hands over; until then the waiter stays.
#pragma once

#include <cstdint>

#include "scheduler/base/atomic.hpp"
#include "scheduler/base/clock.hpp"
#include "scheduler/base/intrusive_list.hpp"
#include "scheduler/core/task.hpp"

namespace fiber::engine {

enum class interruptible : bool { no, yes };  // may cancellation end this wait?

class waiter : public list_node {
 public:
    // For the calling fiber or thread, which alone may call begin() and wait().
    waiter() noexcept;
    // For the running task, which the caller knows already.
    explicit waiter(task_slot& running) noexcept : task_(&running), state_(&running.park) {}

    // Opens the wait. interruptible::yes is lowered to `no` inside uncancellable scopes and while the stack unwinds.
    void begin(interruptible) noexcept;
    // The same for one who has asked whether cancellation may end it.
    void begin(bool cancellable) noexcept { epoch_ = state_->begin(cancellable); }

    // Any thread, under the lock that guards where the waiter is known. true: this caller ends the wait and owes
    // complete().
    [[nodiscard]] bool claim(wake_reason reason) noexcept {
        const claim_verdict verdict = state_->claim(epoch_, reason);
        if (verdict == claim_verdict::lost) return false;
        verdict_ = verdict;
        return true;
    }

    // claim() is near: it is going to wait for one cache line.
    void prefetch_for_claim() const noexcept { __builtin_prefetch(state_, 1); }

    // The winner of claim(), once. The waiter may be gone when this returns.
    void complete() noexcept;

    // Parks until someone has claimed and completed, `deadline` (monotonic) at the latest. Returns the winner's reason.
    wake_reason wait(nanos deadline = never) noexcept;

    void* handed = nullptr;  // what primitive and winner agree on; written between claim() and complete()

 private:
    friend class wake_list;

    wake_reason wait_on_thread(nanos deadline) noexcept;
    wake_reason wait_on_fiber_until(nanos deadline) noexcept;

    task_slot* task_;  // nullptr: a plain thread
    park_state* state_;
    park_epoch epoch_ = 0;
    guarded<claim_verdict> verdict_ = claim_verdict::lost;
    // A link of its own: a waiter may be claimed while it still stands in another's list.
    guarded<waiter*> next_to_wake_ = nullptr;
};

// What an observer wants done after the lock has gone. Called once; it may delete itself.
struct deferred_call {
    void (*call)(deferred_call*) noexcept;
    deferred_call* next = nullptr;
};

// Claimed waiters on their way to complete(), in the order in which they were claimed; then the deferred calls.
class wake_list {
 public:
    void push_back(waiter& claimed) noexcept {
        *end_ = &claimed;
        end_ = &claimed.next_to_wake_;
    }

    void push_back(deferred_call& later) noexcept {
        *end_of_calls_ = &later;
        end_of_calls_ = &later.next;
    }

    // Completes each. Called once, after the lock under which they were claimed has been released.
    void complete_all() noexcept {
        for (waiter* next = first_; next != nullptr;) {
            waiter& claimed = *next;
            next = claimed.next_to_wake_;  // before complete(): afterwards the waiter may be gone
            claimed.complete();
        }
        for (deferred_call* next = calls_; next != nullptr;) {
            deferred_call* later = next;
            next = later->next;
            later->call(later);
        }
    }

    wake_list() = default;
    wake_list(const wake_list&) = delete;
    wake_list& operator=(const wake_list&) = delete;

 private:
    guarded<waiter*> first_ = nullptr;
    guarded<waiter*>* end_ = &first_;
    deferred_call* calls_ = nullptr;
    deferred_call** end_of_calls_ = &calls_;
};

// Someone who is told once that a task finished: a join, a gather's counter, a callback.
class observer : public list_node {
 public:
    // Called under the finished task's lock: claims waiters into `to_wake`, and does nothing longer than that.
    using callback = void (*)(observer&, wake_list& to_wake) noexcept;
    explicit observer(callback told) noexcept : on_finished(told) {}
    const callback on_finished;
};

enum class wait_verdict : std::uint8_t { notified, timed_out, cancelled };

// A FIFO of waiters, guarded by its primitive's lock. The lock is any with lock()/unlock().
class wait_queue {
 public:
    constexpr wait_queue() noexcept = default;
    ~wait_queue() { FIBER_ASSERT(waiters_.empty()); }  // somebody waits for what is being destroyed

    bool empty() const noexcept { return waiters_.empty(); }

    // Parks the caller at the end of the queue. Called with the lock held, returns with it released. `handed`, if
    // given, is set before and read after the wait (see waiter::handed). A fiber or a plain thread.
    template <class Lock>
    [[nodiscard]] wait_verdict wait_and_unlock(Lock& lock, nanos deadline, interruptible mode,
                                               void** handed = nullptr) noexcept {
        waiter self;
        if (handed != nullptr) self.handed = *handed;
        self.begin(mode);
        waiters_.push_back(self);
        lock.unlock();
        const wake_reason reason = self.wait(deadline);
        if (reason != wake_reason::notified) {
            lock.lock();
            if (self.linked()) self.unlink();
            lock.unlock();
        }
        if (handed != nullptr) *handed = self.handed;
        return reason == wake_reason::notified    ? wait_verdict::notified
               : reason == wake_reason::timed_out ? wait_verdict::timed_out
                                                  : wait_verdict::cancelled;
    }

    // The first in the queue, who may have timed out already; nullptr: nobody. Requires: the lock is held.
    waiter* first_locked() const noexcept { return waiters_.empty() ? nullptr : &waiters_.front(); }

    // Takes it out of the queue. true: it is claimed, and the caller owes it complete(), after unlocking. false: it has
    // timed out. Requires: the lock is held, it stands in this queue.
    [[nodiscard]] bool claim_locked(waiter& waiting) noexcept {
        waiting.unlink();
        return waiting.claim(wake_reason::notified);
    }

    // Claims the first waiter that is still to be had. nullptr: nobody. The caller owes it complete(), after unlocking.
    // Requires: the lock is held.
    [[nodiscard]] waiter* claim_first_locked() noexcept {
        while (waiter* first = first_locked()) {
            if (claim_locked(*first)) return first;
        }
        return nullptr;
    }

    // Claims all that wait now into `claimed`. Requires: the lock is held.
    void claim_all_locked(wake_list& claimed) noexcept {
        while (waiter* first = claim_first_locked()) claimed.push_back(*first);
    }

 private:
    intrusive_list<waiter> waiters_;
};

}  // namespace fiber::engine
