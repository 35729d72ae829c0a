#include "scheduler/core/overflow_report.hpp"

#include "scheduler/context/overflow.hpp"
#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

int describe_overflow(const void* fault, char* buffer, std::size_t size) noexcept {
    constexpr std::ptrdiff_t reach = 64 * 1024;  // a large frame may step over a part of the guard
    const auto lies_below = [fault](const stack_view& stack) {
        const std::ptrdiff_t below = stack.limit - static_cast<const std::byte*>(fault);
        return below > 0 && below <= reach;
    };
    const worker* here = worker::current();
    if (here == nullptr) return 0;
    const task_slot* found = here->current_task();
    if (found == nullptr || !lies_below(here->stack_bounds())) {
        // It was leaving its stack. Slots and stacks stay mapped as long as workers run.
        found = here->departed_task();
        const fiber_stack* left = found != nullptr ? found->stack.load(std::memory_order_relaxed) : nullptr;
        if (left == nullptr || !lies_below(left->bounds)) return 0;
    }
    const task_slot& task = *found;
    signal_safe_text text(buffer, size);
    text << "fiber: stack overflow in task ";
    if (task.extras != nullptr && !task.extras->name.empty()) {
        text << "\"" << task.extras->name << "\"";
    } else {
        text << "#" << task.id.load(std::memory_order_relaxed);
    }
    text << ", stack size " << promised_size(task.stack_size_class) << " bytes";
    if (const char* file = task.site_file.load(std::memory_order_relaxed)) {
        text << ", spawned at " << file << ":" << task.site_line.load(std::memory_order_relaxed);
    }
    text << "; give it more with spawn_options::stack_size\n";
    return text.length();
}

}  // namespace fiber::engine
