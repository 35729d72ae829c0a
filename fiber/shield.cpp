#include "fiber/shield.hpp"

#include "scheduler/core/worker.hpp"

namespace fiber::detail {

uncancellable_scope::uncancellable_scope() noexcept {
    engine::worker* here = engine::worker::current();
    task_ = here != nullptr ? here->current_task() : nullptr;
    if (task_ != nullptr) ++task_->uncancellable_depth;
}

uncancellable_scope::~uncancellable_scope() {
    if (task_ != nullptr) --task_->uncancellable_depth;
}

}  // namespace fiber::detail
