// The running task, asked about itself. asyncio.current_task().
#pragma once

#include <cstdint>
#include <string>

namespace fiber::this_fiber {

// Is the caller a task of some runtime? false on plain threads. The functions below throw usage_error there, except
// where noted.
bool on_fiber() noexcept;

// Unique within the runtime, never 0. On a plain thread 0.
std::uint64_t id() noexcept;

// The name it was spawned with; empty if none.
std::string name();

// Asks the running task to end: takes effect at its next cancellation point; if it returns first, it ends as cancelled.
// asyncio: current_task().cancel(). cancelling() and uncancel() as task<T>'s. None of them waits.
bool cancel();
bool cancel(const std::string& message);
unsigned cancelling();
unsigned uncancel();

// A cancellation point and nothing else: throws `cancelled` if one is to be delivered, for computations that never
// wait. On a plain thread nothing. asyncio has none; the nearest is sleep(0).
void check_cancelled();

}  // namespace fiber::this_fiber
