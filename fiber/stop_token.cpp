#include "fiber/stop_token.hpp"

#include "scheduler/core/current.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

namespace {

struct stop_listener final : engine::cancel_listener {
    void on_cancel() noexcept override { source.request_stop(); }
    std::stop_source source;
};

}  // namespace

std::stop_token detail::stop_token_of(engine::task_slot& slot) {
    for (;;) {
        const auto stands = std::static_pointer_cast<stop_listener>(engine::cancel_listener_of(slot));
        // One that was requested still tells the truth as long as the request counts.
        if (stands != nullptr && (!stands->source.stop_requested() || engine::cancelling(slot) != 0)) {
            return stands->source.get_token();
        }
        const auto fresh = std::make_shared<stop_listener>();
        if (engine::replace_cancel_listener(slot, stands.get(), fresh)) return fresh->source.get_token();
    }
}

engine::task_slot& detail::running_task_for_stop() {
    engine::worker* here = engine::worker::current();
    engine::task_slot* self = here != nullptr ? here->current_task() : nullptr;
    if (self == nullptr) throw usage_error("fiber: a stop_token of the running task was asked for outside a task");
    return *self;
}

std::stop_token this_fiber::get_stop_token() { return detail::stop_token_of(detail::running_task_for_stop()); }

}  // namespace fiber
