#include "fiber/wait.hpp"

#include <string>

#include "fiber/detail/completions.hpp"
#include "fiber/error.hpp"
#include "scheduler/core/task.hpp"

namespace fiber::detail {

namespace {

completions::goal goal_of(return_when when) {
    switch (when) {
        case first_completed:
            return completions::goal::one;
        case first_exception:
            return completions::goal::one_failed;
        case all_completed:
            return completions::goal::all;
    }
    throw invalid_option("fiber: wait(): return_when is " + std::to_string(static_cast<int>(when)) +
                         ": must be first_completed, first_exception or all_completed");
}

}  // namespace

void throw_null_handle() { throw invalid_option("fiber: a nullptr stands in a range of pointers to tasks or futures"); }

std::vector<bool> wait_for_some(const std::vector<engine::task_slot*>& slots, return_when when,
                                engine::nanos deadline) {
    const completions::goal goal = goal_of(when);
    if (slots.empty()) throw invalid_option("fiber: wait() was given an empty range: there is nothing to wait for");
    std::vector<bool> ended(slots.size());
    completions watched(slots.data(), slots.size());
    (void)watched.wait(goal, deadline);
    for (std::size_t i = 0; i < slots.size(); ++i) ended[i] = watched.ended(i);
    return ended;
}

}  // namespace fiber::detail
