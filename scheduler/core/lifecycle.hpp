// The life of a task, from the slot it is built in to the last reference: what the public templates call, and what
// workers call when a task ends. Slow paths; the fast ones are in worker.
//
//   allocate -> (payload is built) -> submit -> [runs] -> finish -> release_handle
//
// A promise is a task that nobody runs: allocate_promise -> settle_begin -> (result is written) -> finish_promise ->
// release_runner. The future's side may settle it too: as cancelled.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "scheduler/base/clock.hpp"
#include "scheduler/context/stack.hpp"
#include "scheduler/core/task.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber::engine {

class scheduler;

// Told once, by the first cancel() of its task, on the thread that calls it.
class cancel_listener {
 public:
    virtual ~cancel_listener() = default;
    virtual void on_cancel() noexcept = 0;

 private:
    friend class deferred_listeners;
    std::atomic<bool> told_{false};
    std::shared_ptr<cancel_listener> kept_;  // itself, while it waits to be told
    cancel_listener* next_ = nullptr;
};

// While one stands, listeners are not called on this thread; the end of the outermost calls them. For whoever cancels
// under a lock: listeners run code of the user's.
class deferred_listeners {
 public:
    deferred_listeners() noexcept;
    ~deferred_listeners();
    deferred_listeners(const deferred_listeners&) = delete;
    deferred_listeners& operator=(const deferred_listeners&) = delete;

    static void tell(std::shared_ptr<cancel_listener> listener) noexcept;
};

// What few tasks have. Guarded by the task's lock.
struct task_extras {
    std::string name;
    std::string cancel_message;
    std::shared_ptr<cancel_listener> listener;
};

// Made at the first need. Requires: the task's lock is held. Throws std::bad_alloc.
task_extras* extras_locked(task_slot& task);

// --- birth ---

// A task in a fresh or recycled slot: `queued` from the start. Whoever took the slot.
void prepare(task_slot& slot, const task_operations& operations, call_site site) noexcept;
// A slot from the heap, for promises: any thread, no scheduler, any size. Throws std::bad_alloc.
task_slot& allocate_promise(const task_operations& operations, std::size_t payload);
// Undoes an allocation whose payload could not be built.
void abandon(task_slot& task) noexcept;
// Any time before submit. Throws std::bad_alloc.
void set_name(task_slot& task, std::string_view name);
// Empty if none. Any thread. Throws std::bad_alloc.
std::string name_of(task_slot& task);

// --- end ---

// The result stands: tells observers, and frees the slot if nobody holds it any more. The one who ran it, once.
void finish(task_slot& task) noexcept;
// The handle is given up; the result of a finished task is destroyed before this returns, that of a detached one with
// its slot. Requires: the task is finished or detached.
void release_handle(task_slot& task) noexcept;
// A promise: the two halves of finish(). The promise keeps its hold on the slot, for it may be settled from the other
// side.
void finish_promise(task_slot& promise) noexcept;
void release_runner(task_slot& promise) noexcept;
// A promise: may the caller write the result? true for the first only.
[[nodiscard]] bool settle_begin(task_slot& promise) noexcept;

// --- looking on ---

enum class observe_verdict : std::uint8_t { observing, already_finished };

// From now until unobserve() or the end of the task the observer is known to it. Any thread.
[[nodiscard]] observe_verdict observe(task_slot& task, observer& who) noexcept;
// Afterwards the observer is not called any more. false: it has been called, or was never known.
bool unobserve(task_slot& task, observer& who) noexcept;

// --- cancellation (asyncio's Task.cancel) ---

// Counts, and delivers to the wait that is open or to the next one. false: the task has finished. Any thread; the
// caller keeps the task alive. `message` may be nullptr. `asker`: the task that passes its own cancellation on by this;
// false, too, if that comes back to it, because those it waits for wait for it.
bool cancel(task_slot& task, const char* message, const task_slot* asker = nullptr) noexcept;
// The same for the task that had this generation. Nobody need keep it alive, only its pool; not for promises.
bool cancel_generation(task_slot& task, std::uint32_t generation, const char* message,
                       const task_slot* asker = nullptr) noexcept;
unsigned cancelling(const task_slot& task) noexcept;
// Returns the remaining count; at 0 an undelivered cancellation is withdrawn. The task itself or its owner.
unsigned uncancel(task_slot& task) noexcept;
// The listener of a task, and another in the place of `expected` (false: that is not the one that stands); it is told
// at once if the task has been cancelled. The task itself or its owner. Throws std::bad_alloc.
std::shared_ptr<cancel_listener> cancel_listener_of(task_slot& task) noexcept;
bool replace_cancel_listener(task_slot& task, const cancel_listener* expected, std::shared_ptr<cancel_listener> fresh);
// Empty if there is none, or no memory for the copy.
std::string cancel_message(task_slot& task) noexcept;
// Until it is taken back (nullptr), cancelling the running task goes to the children of the forwarder. Does not return
// while one of its functions is called.
void set_forwarder(task_slot& self, cancel_forwarder* forwarder) noexcept;

// --- for workers ---

// Ends an open, cancellable wait of the task of that generation, if its cancellation is pending. Returns whether it did.
bool claim_parked_for_cancel(task_slot& task, std::uint32_t generation) noexcept;
// Says that the stack of a task that parks is free. Whoever runs next on the worker that the task left; if `runnable`
// it is for the caller to run it.
[[nodiscard]] inline commit_verdict commit_park(task_slot& task) noexcept {
    const std::uint32_t generation = task.generation();  // before the commit: afterwards it may run, end and be reused
    if (task.park.commit() == commit_verdict::runnable) return commit_verdict::runnable;
    // P3 of the park state: a cancellation that came before the commit finds nobody to wake; it is this side's to see.
    if (task.state.load(std::memory_order_seq_cst) & task_slot::cancel_pending)
        (void)claim_parked_for_cancel(task, generation);
    return commit_verdict::parked;
}
// A task that its joiner took out of the queue and called on its own stack parks or yields for the first time. On its
// worker.
void mark_started_out_of_turn(task_slot& task) noexcept;
// `waiting` calls `awaited` on its own stack and has stored so in `awaiting`. From here on whoever cancels it sees that,
// or was seen here. On their worker.
void announce_wait(task_slot& waiting, task_slot& awaited) noexcept;
// An entry was dropped, and `now` is the state since: the last step to free the slot may be the caller's.
void entry_dropped(task_slot& task, std::uint64_t now) noexcept;
void release_attachment(task_attachment*& attachment) noexcept;

}  // namespace fiber::engine
