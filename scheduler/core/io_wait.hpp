// Waiting for a descriptor: the waiter in the frame of whoever waits meets the readiness of the descriptor.
// Edge, time-out, cancellation and close() race for it; one wins.
#pragma once

#include <cstdint>

#include "scheduler/base/clock.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/io/io_source.hpp"

namespace fiber::engine {

// ready: an operation may be tried (and may say EAGAIN all the same). failed: it cannot be watched.
enum class io_wait_verdict : std::uint8_t { ready, closed, timed_out, cancelled, failed };

// Parks until an edge of the direction has come since `ready` was taken from its readiness, `deadline` at the latest.
// A fiber: its runtime's reactor watches the source, from the first wait on. A plain thread blocks, and looks every
// 50 ms whether the source was closed. failed: `error` is errno. Requires: the caller is a user of the source.
[[nodiscard]] io_wait_verdict wait_ready(io_source& source, io_direction direction, nanos deadline, interruptible mode,
                                         int& error) noexcept;

// Closes the source and wakes all who wait for it. false: it was closed before.
bool close_and_wake(io_source& source) noexcept;

// Puts `ready` back (readiness, I1) and wakes all who wait for it.
void raise_and_wake(io_source& source, io_direction direction) noexcept;

}  // namespace fiber::engine
