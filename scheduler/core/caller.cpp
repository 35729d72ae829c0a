#include "scheduler/core/caller.hpp"

namespace fiber::engine {

namespace {
struct alignas(64) thread_identity {
    char unused;
};
thread_local thread_identity this_thread_identity;
}  // namespace

park_state& thread_park_state() noexcept {
    static thread_local park_state state;
    return state;
}

caller_tag thread_caller() noexcept { return reinterpret_cast<std::uintptr_t>(&this_thread_identity); }

}  // namespace fiber::engine
