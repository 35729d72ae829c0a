// The life of a task, from the slot it is built in to the last reference: what the public templates call, and what
// workers call when a task ends. Slow paths; the fast ones are in worker.
//
//   allocate -> (payload is built) -> submit -> [runs] -> finish -> release_handle
//
// A promise is a task that nobody runs: allocate_promise -> settle_begin -> (result is written) -> finish_promise ->
// release_runner. The future's side may settle it too: as cancelled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "scheduler/base/clock.hpp"
#include "scheduler/context/stack.hpp"
#include "scheduler/core/task.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber::engine {

class scheduler;

// What few tasks have. Guarded by the task's lock.
struct task_extras {
    std::string name;
    std::string cancel_message;
};

// --- birth ---

// A slot of a class (slot_class_for(payload size)) for a task of the current scheduler; `size`: a stack_class, or the
// runtime's default. nullptr on a thread that is no worker. Throws std::bad_alloc.
inline constexpr std::uint8_t runtime_default = 0xff;
[[nodiscard]] task_slot* allocate_task(const task_operations& operations, std::uint8_t slot_class, std::uint8_t size,
                                       call_site site);
// The same for `home`, from any thread.
[[nodiscard]] task_slot& allocate_task_for(scheduler& home, const task_operations& operations, std::uint8_t slot_class,
                                           std::uint8_t size, call_site site);
// The same from the heap, for promises: any thread, no scheduler, any size.
task_slot& allocate_promise(const task_operations& operations, std::size_t payload);
// Undoes an allocation whose payload could not be built.
void abandon(task_slot& task) noexcept;
// Any time before submit. Throws std::bad_alloc.
void set_name(task_slot& task, std::string_view name);

// The current worker's queue gets the task. On a worker thread of the task's scheduler.
void submit(task_slot& task) noexcept;
// The queue of its own scheduler gets it, from anywhere. false: that has stopped, and the task is still the caller's.
[[nodiscard]] bool submit_anywhere(task_slot& task) noexcept;

// --- end ---

// The result stands: tells observers, and frees the slot if nobody holds it any more. The one who ran it, once.
void finish(task_slot& task) noexcept;
// The handle is given up; the result is destroyed with the slot. Requires: the task is finished or detached.
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

// itself: the task would wait for its own end.
enum class join_verdict : std::uint8_t { finished, timed_out, cancelled, itself };

// Waits until the task has finished. Cancelling the waiting task is passed on to the one waited for; `cancelled` says
// that the caller itself must now end with a cancellation (which it has thereby taken). A fiber or a plain thread.
// interruptible::no: nothing but the end of the task (or the deadline) ends the wait.
[[nodiscard]] join_verdict join(task_slot& task, interruptible mode = interruptible::yes) noexcept;
// The same with a deadline, never on the caller's own stack; cancellation is the caller's own affair and is not passed
// on.
[[nodiscard]] join_verdict join_until(task_slot& task, nanos deadline,
                                      interruptible mode = interruptible::yes) noexcept;

// --- cancellation (asyncio's Task.cancel) ---

// Counts, and delivers to the wait that is open or to the next one. false: the task has finished. Any thread; the
// caller keeps the task alive. `message` may be nullptr.
bool cancel(task_slot& task, const char* message) noexcept;
unsigned cancelling(const task_slot& task) noexcept;
// Returns the remaining count; at 0 an undelivered cancellation is withdrawn. The task itself or its owner.
unsigned uncancel(task_slot& task) noexcept;
// May the running task be interrupted now: not in an uncancellable scope, not while its stack unwinds?
bool may_be_interrupted(const task_slot& self) noexcept;
// Takes a cancellation that is to be delivered now. true: the caller throws it, or passes it on. The running task only.
[[nodiscard]] bool take_cancel(task_slot& self) noexcept;
// Empty if there is none, or no memory for the copy.
std::string cancel_message(task_slot& task) noexcept;
void set_cancel_message(task_slot& task, const char* message) noexcept;
// Until it is taken back (nullptr), cancelling the running task goes to the forwarder. Does not return while that is
// called.
void set_forwarder(task_slot& self, cancel_forwarder* forwarder) noexcept;

// --- for workers ---

void make_runnable(task_slot& task) noexcept;  // Any thread. The task was claimed and completed.
void claim_parked_for_cancel(task_slot& task, std::uint32_t generation) noexcept;
void mark_started_out_of_turn(task_slot& task) noexcept;
void drop_stale_entry(task_slot& entry) noexcept;
void release_attachment(task_attachment*& attachment) noexcept;

}  // namespace fiber::engine
