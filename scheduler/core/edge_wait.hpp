// Where a waiter meets the readiness of a descriptor: the fiber's half, and what whoever brings an edge does with a
// waiter. Knows neither scheduler nor kernel, so that it is explored as it stands (tests/model).
#pragma once

#include <optional>

#include "scheduler/base/clock.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/io/readiness.hpp"

namespace fiber::engine {

// ready: `ready` has been taken, and an operation must be tried (it may say EAGAIN all the same). failed: it cannot be
// watched.
enum class io_wait_verdict : std::uint8_t { ready, closed, timed_out, cancelled, failed };

// Whether the caller is a user of the source (readiness::enter).
enum class io_user : bool { not_yet, entered };

// Claims a waiter that a readiness hands out; `alone`: the edge goes with it (readiness, I4), which `handed` tells it.
inline bool claim_for_edge(wake_list& to_wake, list_node& node, bool alone) noexcept {
    auto& waiting = static_cast<waiter&>(node);
    if (!waiting.claim(wake_reason::notified)) return false;
    if (alone) waiting.handed = &waiting;
    to_wake.push_back(waiting);
    return true;
}

// Takes `ready`, or parks the running task until an edge comes. One who is no user becomes one, unless it is closed.
// nullopt: woken together with others, one of whom was faster. Requires: the reactor watches for the direction.
inline std::optional<io_wait_verdict> wait_for_edge(readiness& state, task_slot& running, io_direction direction,
                                                    nanos deadline, bool cancellable, io_user& user) noexcept {
    waiter self(running);
    self.begin(cancellable);
    const await_verdict found =
        user == io_user::entered ? state.await(direction, self) : state.enter_and_await(direction, self);
    if (found != await_verdict::waiting) [[unlikely]] {
        // A cancellation may have claimed it: that is still pending, for the next cancellation point.
        if (self.claim(wake_reason::notified)) self.complete();
        (void)self.wait();
        if (found == await_verdict::closed) return io_wait_verdict::closed;
        user = io_user::entered;
        return io_wait_verdict::ready;
    }
    user = io_user::entered;
    const wake_reason reason = self.wait(deadline);
    if (reason != wake_reason::notified) [[unlikely]]
        state.withdraw(self);
    if (state.is_closed()) [[unlikely]]
        return io_wait_verdict::closed;
    if (reason == wake_reason::timed_out) return io_wait_verdict::timed_out;
    if (reason == wake_reason::cancelled) return io_wait_verdict::cancelled;
    if (self.handed != nullptr || state.take(direction)) [[likely]]
        return io_wait_verdict::ready;
    return std::nullopt;
}

}  // namespace fiber::engine
