#include "scheduler/core/caller.hpp"

#include "scheduler/core/worker.hpp"

namespace fiber::engine {

namespace {
struct alignas(64) thread_identity {
    char unused;
};
thread_local thread_identity this_thread_identity;
}  // namespace

__attribute__((noinline)) caller_tag current_caller() noexcept {
    const worker* here = worker::current();
    const task_slot* task = here != nullptr ? here->current_task() : nullptr;
    if (task == nullptr) [[unlikely]]
        return reinterpret_cast<std::uintptr_t>(&this_thread_identity);
    return reinterpret_cast<std::uintptr_t>(task) | (((here->index() & 7) | 8) << 2);
}

}  // namespace fiber::engine
