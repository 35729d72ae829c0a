// One turn through the queue: the running task goes to its end. In two calls, with the jump to whoever comes next
// between them in the caller itself (why: scheduler/context/jump.hpp):
//
//   const turn mine = begin_turn();
//   const bool look = mine.to != nullptr ? end_turn(jump(mine.to, mine.handed)) : mine.look();
//
// look: a cancellation is pending, or nobody has had a turn because the caller is no task.
//
// Thread safety: the calling task or thread. Between begin_turn() and the jump nothing else may be called: the worker
// is on its way already.
#pragma once

#include <cstdint>

#include "scheduler/context/jump.hpp"

namespace fiber::engine {

struct turn {
    void* to;      // nullptr: there is nobody to jump to, or it has been done
    void* handed;  // without a jump: whether to look

    static turn without_jump(bool look) noexcept { return {nullptr, reinterpret_cast<void*>(std::uintptr_t{look})}; }
    bool look() const noexcept { return handed != nullptr; }
};

[[nodiscard]] turn begin_turn() noexcept;
// Possibly on another thread.
[[nodiscard]] bool end_turn(landing here) noexcept;

}  // namespace fiber::engine
