#include "fiber/this_fiber.hpp"

#include "fiber/cancelled.hpp"
#include "fiber/error.hpp"
#include "fiber/task.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::this_fiber {

namespace {

engine::task_slot* running() noexcept {
    engine::worker* here = engine::worker::current();
    return here != nullptr ? here->current_task() : nullptr;
}

engine::task_slot& required() {
    engine::task_slot* self = running();
    if (self == nullptr) throw usage_error("fiber: a function of this_fiber was called outside a fiber");
    return *self;
}

}  // namespace

bool on_fiber() noexcept { return running() != nullptr; }

std::uint64_t id() noexcept {
    engine::task_slot* self = running();
    return self != nullptr ? self->id.load(std::memory_order_relaxed) : 0;
}

std::string name() { return engine::name_of(required()); }

bool cancel() { return engine::cancel(required(), nullptr); }
bool cancel(const std::string& message) { return engine::cancel(required(), message.c_str()); }
unsigned cancelling() { return engine::cancelling(required()); }
unsigned uncancel() { return engine::uncancel(required()); }

void check_cancelled() {
    engine::task_slot* self = running();
    if (self != nullptr && engine::take_cancel(*self)) [[unlikely]]
        throw cancelled(engine::cancel_message(*self));
}

}  // namespace fiber::this_fiber
