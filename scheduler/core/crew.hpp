// Runs a scheduler: makes its workers, starts their threads, and brings them home.
#pragma once

#include "scheduler/core/scheduler.hpp"

namespace fiber::engine {

// Runs until `main` has finished, then cancels what is left and waits for it. The calling thread is worker 0; one
// worker starts no thread. Requires: the calling thread is no worker; no other run of this scheduler is active. Throws
// std::system_error when a thread, stack_exhausted when a stack cannot be had, std::bad_alloc: then nothing has run,
// `main` neither, which is still the caller's.
void run_to_end(scheduler& home, task_slot& main);

}  // namespace fiber::engine
