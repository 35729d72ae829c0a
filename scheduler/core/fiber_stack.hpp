// A stack with what is suspended on it: either a fiber (the task on top of it has parked there) or a worker's loop,
// waiting to be lent out. It stands at the base of its own stack, so that a parked fiber touches one page. Owned by:
// the worker that runs on it, or has it in its pool; while a fiber is parked on it, the parked task.
#pragma once

#include <new>

#include "scheduler/context/context.hpp"
#include "scheduler/context/stack.hpp"
#include "scheduler/context/stack_arena.hpp"

namespace fiber::engine {

struct fiber_stack {
    context where;
    fiber_stack* next = nullptr;  // link in a worker's pool
    stack_view bounds;            // without this header
    std::byte* mapped_base = nullptr;
    stack_class size_class = 0;
    void* innermost_scope = nullptr;  // the floor above's: scopes of the tasks on this stack, the latest first

    // Throws stack_exhausted.
    static fiber_stack* acquire(stack_arena& arena, stack_class size, context::entry loop) {
        stack_view whole = arena.acquire(size);
        std::byte* header = whole.base - ((sizeof(fiber_stack) + 15) & ~std::size_t{15});
        auto* made = new (header) fiber_stack;
        made->bounds = {whole.limit, header};
        made->mapped_base = whole.base;
        made->size_class = size;
        made->where.make(made->bounds, loop);
        return made;
    }

    // Requires: a loop is suspended on it. The whole stack again, for the arena.
    stack_view discard() noexcept {
        where.discard();
        return {bounds.limit, mapped_base};
    }
};

}  // namespace fiber::engine
