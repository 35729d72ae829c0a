#include "scheduler/core/current.hpp"

#include "scheduler/core/ambient.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

task_slot* allocate_task(const task_operations& operations, std::uint8_t slot_class, std::uint8_t size,
                         call_site site) {
    worker* here = worker::current();
    if (here == nullptr) [[unlikely]]
        return nullptr;
    task_slot& slot = here->take_slot(slot_class);
    prepare(slot, operations, site);
    if (const task_slot* parent = here->current_task(); parent != nullptr && parent->context != nullptr) [[unlikely]]
        slot.context = share(parent->context);
    slot.stack_size_class = size == runtime_default ? here->default_class() : size;
    slot.id.store(here->next_task_id(), std::memory_order_relaxed);
    return &slot;
}

task_slot& allocate_task_for(scheduler& home, const task_operations& operations, std::uint8_t slot_class,
                             std::uint8_t size, call_site site) {
    task_slot& slot = home.tasks().take(slot_class);
    prepare(slot, operations, site);
    slot.context = share(ambient_context());
    slot.stack_size_class = size == runtime_default ? home.settings().default_class : size;
    slot.id.store(home.next_outside_id(), std::memory_order_relaxed);
    return slot;
}

void submit(task_slot& task) noexcept { worker::current()->push_fresh(task); }

void end_unstarted(task_slot& task) noexcept {
    worker* here = worker::current();
    task_slot* self = here != nullptr ? here->current_task() : nullptr;
    if (self != nullptr) ++self->uncancellable_depth;  // what is thrown in a destructor would end the program
    task.operations->drop(task);
    if (self != nullptr) --self->uncancellable_depth;
    finish(task);
}

bool submit_anywhere(task_slot& task) noexcept {
    worker* here = worker::current();
    if (here != nullptr && &here->home().tasks() == task.pool) {
        submit(task);
        return true;
    }
    if (task.pool->home().submit_outside(task) == submit_outside_verdict::accepted) return true;
    task.state.fetch_and(~task_slot::queued, std::memory_order_relaxed);
    return false;
}

}  // namespace fiber::engine
