// Who calls, as one number that fits in a lock's word: the running task, or the plain thread.
//
//   bits 0-1    zero: the lock's own
//   bits 2-5    its place: 0 a plain thread, else the worker it ran on when it asked, a hint
//   bits 6-63   its identity: the address of the task's slot, or of something of the thread's; never 0
//
// A slot is used again by later tasks: an identity means something only while its task lives.
#pragma once

#include <cstdint>

#include "scheduler/park/park_state.hpp"

namespace fiber::engine {

using caller_tag = std::uint64_t;

inline constexpr caller_tag caller_place = 0b111100;
inline constexpr caller_tag caller_identity = ~caller_tag{0b111111};

// Never inlined, as worker::current(), beside which it stands. A fiber or a plain thread.
caller_tag current_caller() noexcept;

// The same for a plain thread.
caller_tag thread_caller() noexcept;

// Of the calling plain thread, for all its waits. A winner may still call the kernel with its address after the thread
// has gone on, or even ended: the kernel looks at the address only.
park_state& thread_park_state() noexcept;

constexpr caller_tag caller_place_of(unsigned worker) noexcept { return ((worker & 7) | 8) << 2; }

constexpr bool same_caller(caller_tag a, caller_tag b) noexcept { return ((a ^ b) & caller_identity) == 0; }

// May `other` be running while `self` spins? Not if both belong to one worker. A hint.
constexpr bool may_run_beside(caller_tag other, caller_tag self) noexcept {
    return (other & caller_place) == 0 || ((other ^ self) & caller_place) != 0;
}

// The tag of a task that `waker` makes runnable: that puts it in the queue of its own worker.
constexpr caller_tag woken_by(caller_tag woken, caller_tag waker) noexcept {
    const bool fibers = (woken & caller_place) != 0 && (waker & caller_place) != 0;
    return fibers ? (woken & ~caller_place) | (waker & caller_place) : woken;
}

}  // namespace fiber::engine
