// Looking at what runs: asyncio.all_tasks
// (https://docs.python.org/3/library/asyncio-task.html#introspection).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fiber {

// What a task does at the moment.
enum class task_state : unsigned char {
    queued,   // spawned, not started
    running,  // runs, or is in a queue to go on
    parked,   // waits for something
};

// An unfinished task, as all_tasks() saw it. A copy: it stays good when the task ends.
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

// "queued", "running", "parked". Any thread.
const char* to_string(task_state state) noexcept;

}  // namespace fiber
