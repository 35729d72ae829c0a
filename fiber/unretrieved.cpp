#include "fiber/unretrieved.hpp"

#include <cstdio>
#include <mutex>
#include <string>

#include "fiber/detail/describe.hpp"
#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

namespace {

// The one piece of process-wide state above the floor of the engine: the handler for those who chose none per runtime.
struct process_handler {
    std::mutex lock;
    unretrieved_exception_handler handler;
};
process_handler& process_wide() {
    static auto* const one = new process_handler;  // never destroyed: tasks may end during static destruction
    return *one;
}

void write_line(const unretrieved_exception& what) {
    std::string line = "fiber: an exception was never retrieved: " + detail::describe(what.exception);
    if (what.task_id != 0) {  // a promise's or a callback's is of no task
        line += " (task ";
        line += what.task_name.empty() ? "#" + std::to_string(what.task_id) : "\"" + std::string(what.task_name) + "\"";
        if (what.file != nullptr) line += ", spawned at " + std::string(what.file) + ":" + std::to_string(what.line);
        line += ")";
    }
    std::fputs((line + "\n").c_str(), stderr);
}

}  // namespace

unretrieved_exception_handler set_unretrieved_exception_handler(unretrieved_exception_handler handler) {
    std::lock_guard guard(process_wide().lock);
    return std::exchange(process_wide().handler, std::move(handler));
}

namespace detail {

namespace {

void report(const unretrieved_exception& what, unretrieved_exception_handler handler) {
    if (!handler) {
        std::lock_guard guard(process_wide().lock);
        handler = process_wide().handler;
    }
    handler ? handler(what) : write_line(what);
}

// The handler of the task's runtime; of what belongs to none, a promise or a callback, that of the runtime where it is
// noticed. It is kept beside the tasks, for they may outlive the runtime.
unretrieved_exception_handler runtime_handler(const engine::task_pool* pool) {
    const engine::worker* here = pool == nullptr ? engine::worker::current() : nullptr;
    if (here != nullptr) pool = &here->home().tasks();
    const void* kept = pool != nullptr ? pool->companion() : nullptr;
    return kept != nullptr ? *static_cast<const unretrieved_exception_handler*>(kept) : unretrieved_exception_handler();
}

}  // namespace

// In both: if the report of last resort fails, for want of memory or in the handler, there is nobody left to tell.
void report_unretrieved(engine::task_slot& slot, const std::exception_ptr& exception) noexcept {
    try {
        const std::string name = engine::name_of(slot);
        report({exception, name, slot.id.load(std::memory_order_relaxed),
                slot.site_file.load(std::memory_order_relaxed), slot.site_line.load(std::memory_order_relaxed)},
               runtime_handler(slot.pool));
    } catch (...) {
    }
}

void report_unretrieved(std::exception_ptr exception) noexcept {
    try {
        report({.exception = std::move(exception), .task_name = {}}, runtime_handler(nullptr));
    } catch (...) {
    }
}

}  // namespace detail

}  // namespace fiber
