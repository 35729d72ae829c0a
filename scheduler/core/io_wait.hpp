// Waiting for a descriptor: the waiter in the frame of whoever waits meets the readiness of the descriptor.
// Edge, time-out, cancellation and close() race for it; one wins.
#pragma once

#include <cstdint>

#include "scheduler/base/clock.hpp"
#include "scheduler/core/edge_wait.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/io/io_source.hpp"

namespace fiber::engine {

// Takes `ready` of the direction; parks until it stands, `deadline` at the latest. One who is no user becomes one,
// unless the source is closed. A fiber: its runtime's reactor watches the source, from the first wait on. A plain
// thread blocks, and looks every 50 ms whether the source was closed. failed: `error` is errno.
[[nodiscard]] io_wait_verdict wait_ready(io_source& source, io_direction direction, nanos deadline, interruptible mode,
                                         io_user& user, int& error) noexcept;

// Closes the source and wakes all who wait for it. false: it was closed before.
bool close_and_wake(io_source& source) noexcept;

// Puts `ready` back (readiness, I1) and wakes all who wait for it.
void raise_and_wake(io_source& source, io_direction direction) noexcept;

}  // namespace fiber::engine
