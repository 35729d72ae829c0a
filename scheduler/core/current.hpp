// The verbs of whoever runs now, on the current worker: spawn, join, take a cancellation. What the public templates
// call.
#pragma once

#include "scheduler/core/lifecycle.hpp"

namespace fiber::engine {

class scheduler;

// A slot of a class (slot_class_for(payload size)) for a task of the current scheduler; `size`: a stack_class, or the
// runtime's default. nullptr on a thread that is no worker. Throws std::bad_alloc.
inline constexpr std::uint8_t runtime_default = 0xff;
[[nodiscard]] task_slot* allocate_task(const task_operations& operations, std::uint8_t slot_class, std::uint8_t size,
                                       call_site site);
// The same for `home`, from any thread.
[[nodiscard]] task_slot& allocate_task_for(scheduler& home, const task_operations& operations, std::uint8_t slot_class,
                                           std::uint8_t size, call_site site);
// The current worker's queue gets the task. On a worker thread of the task's scheduler.
void submit(task_slot& task) noexcept;
// The queue of its own scheduler gets it, from anywhere. false: that has stopped, and the task is still the caller's.
[[nodiscard]] bool submit_anywhere(task_slot& task) noexcept;

// Ends a task that nobody has started, and nobody can start any more, as cancelled. The destructor of its callable is
// the user's: it may wait, in the name of whoever calls this. A fiber or a plain thread.
void end_unstarted(task_slot& task) noexcept;

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

// May the running task be interrupted now: not in an uncancellable scope, not while its stack unwinds?
bool may_be_interrupted(const task_slot& self) noexcept;
// Takes a cancellation that is to be delivered now. true: the caller throws it, or passes it on. The running task only.
[[nodiscard]] bool take_cancel(task_slot& self) noexcept;

}  // namespace fiber::engine
