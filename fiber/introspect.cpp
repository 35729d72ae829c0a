#include "fiber/introspect.hpp"

#include "fiber/detail/runtime_state.hpp"
#include "fiber/task.hpp"

namespace fiber {

namespace {

task_state state_of(const engine::task_slot& slot, std::uint64_t seen) noexcept {
    if (slot.park.woken()) return task_state::running;
    if (slot.park.waiting() || slot.awaiting.load(std::memory_order_relaxed) != 0) return task_state::parked;
    return (seen & engine::task_slot::started) != 0 ? task_state::running : task_state::queued;
}

}  // namespace

std::vector<task_info> all_tasks() {
    std::vector<task_info> all;
    detail::runtime_state::current().tasks().for_each([&](engine::task_slot& slot) {
        const std::uint64_t seen = slot.state.load(std::memory_order_acquire);
        constexpr std::uint64_t submitted = engine::task_slot::queued | engine::task_slot::started;
        if (!(seen & submitted) || (seen & engine::task_slot::finished)) return;
        task_info info{.id = slot.id.load(std::memory_order_relaxed),
                       .name = engine::name_of(slot),
                       .state = state_of(slot, seen),
                       .file = slot.site_file.load(std::memory_order_relaxed),
                       .line = slot.site_line.load(std::memory_order_relaxed)};
        // The same use of the slot still: what was read belongs together.
        if (slot.generation() == seen >> 32) all.push_back(std::move(info));
    });
    return all;
}

const char* to_string(task_state state) noexcept {
    switch (state) {
        case task_state::queued:
            return "queued";
        case task_state::running:
            return "running";
        case task_state::parked:
            return "parked";
    }
    return "unknown";
}

}  // namespace fiber
