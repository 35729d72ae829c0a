// What belongs to whoever calls, the running task or the plain thread: its context (the floor above keeps its context
// variables there; to the engine it is one shared thing that a new task gets from the one that spawns it) and its
// local values.
//
// Thread safety: each task and each thread reaches its own only.
#pragma once

#include <cstdint>

#include "scheduler/core/task.hpp"

namespace fiber::engine {

// nullptr: none. Never inlined, as worker::current(); not to be held across a wait.
task_attachment*& ambient_context() noexcept;
task_attachment*& ambient_locals() noexcept;

// Whose context that is: equal for two calls exactly if they come from one task, or from one piece of work of a thread.
struct ambient_owner {
    const void* place = nullptr;
    std::uint64_t use = 0;
    bool operator==(const ambient_owner&) const = default;
};
ambient_owner current_ambient_owner() noexcept;

// One owner more, of the same or of nothing.
inline task_attachment* share(task_attachment* context) noexcept {
    if (context != nullptr) context->share(context);
    return context;
}

// A plain thread that works for somebody else, in a copy of that one's context. Takes over an owner's share.
class borrowed_context {
 public:
    explicit borrowed_context(task_attachment* context) noexcept;
    ~borrowed_context();
    borrowed_context(const borrowed_context&) = delete;
    borrowed_context& operator=(const borrowed_context&) = delete;

 private:
    task_attachment* own_;
};

}  // namespace fiber::engine
