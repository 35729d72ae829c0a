#include "scheduler/core/ambient.hpp"

#include <utility>

#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

namespace {

struct thread_attachments {
    ~thread_attachments() {
        while (locals != nullptr) release_attachment(locals);
        while (context != nullptr) release_attachment(context);
    }
    task_attachment* context = nullptr;
    task_attachment* locals = nullptr;
    std::uint64_t uses = 0;
};
thread_local thread_attachments this_thread;

task_slot* running_task() noexcept {
    worker* here = worker::current();
    return here != nullptr ? here->current_task() : nullptr;
}

}  // namespace

__attribute__((noinline)) task_attachment*& ambient_context() noexcept {
    task_slot* task = running_task();
    return task != nullptr ? task->context : this_thread.context;
}

__attribute__((noinline)) task_attachment*& ambient_locals() noexcept {
    task_slot* task = running_task();
    return task != nullptr ? task->locals : this_thread.locals;
}

ambient_owner current_ambient_owner() noexcept {
    const task_slot* task = running_task();
    if (task != nullptr) return {task, task->id.load(std::memory_order_relaxed)};
    return {&this_thread, this_thread.uses};
}

borrowed_context::borrowed_context(task_attachment* context) noexcept
    : own_(std::exchange(this_thread.context, context)) {
    ++this_thread.uses;
}

borrowed_context::~borrowed_context() {
    while (this_thread.context != nullptr) release_attachment(this_thread.context);
    this_thread.context = own_;
    ++this_thread.uses;
}

}  // namespace fiber::engine
