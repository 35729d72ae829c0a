// Who is told of a cancellation at once, and how the telling waits until the caller holds no lock.
#include <utility>

#include "scheduler/core/lifecycle.hpp"

namespace fiber::engine {

namespace {

struct telling {
    int depth = 0;  // how many deferred_listeners stand
    std::shared_ptr<cancel_listener> first;
};
thread_local telling waiting;

}  // namespace

deferred_listeners::deferred_listeners() noexcept { ++waiting.depth; }

deferred_listeners::~deferred_listeners() {
    if (--waiting.depth != 0) return;
    while (waiting.first != nullptr) {
        const std::shared_ptr<cancel_listener> next = std::exchange(waiting.first, nullptr);
        waiting.first = std::move(next->next_);
        next->on_cancel();
    }
}

void deferred_listeners::tell(std::shared_ptr<cancel_listener> listener) noexcept {
    if (listener->told_.exchange(true, std::memory_order_relaxed)) return;  // its link belongs to the first
    if (waiting.depth == 0) return listener->on_cancel();
    listener->next_ = std::move(waiting.first);
    waiting.first = std::move(listener);
}

}  // namespace fiber::engine
