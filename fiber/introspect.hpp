// Looking at what runs: asyncio.all_tasks().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fiber {

enum class task_state : unsigned char {
    queued,   // spawned, not started
    running,  // runs, or is in a queue to go on
    parked,   // waits for something
};

struct task_info {
    std::uint64_t id = 0;
    std::string name;  // empty if none
    task_state state = task_state::queued;
    const char* file = nullptr;  // where it was spawned; nullptr if not known
    std::uint32_t line = 0;
};

// The unfinished tasks of the current runtime, the caller's included. A snapshot: others go on meanwhile.
// On a fiber. Throws usage_error outside a runtime, std::bad_alloc.
std::vector<task_info> all_tasks();

const char* to_string(task_state state) noexcept;

}  // namespace fiber
