// Who is told of a cancellation at once, and how the telling waits until the caller holds no lock.
#include <type_traits>
#include <utility>

#include "scheduler/core/lifecycle.hpp"

namespace fiber::engine {

namespace {

// Nothing to destroy: a thread's first use of what has a destructor allocates, and ends the program if it cannot.
struct telling {
    int depth = 0;  // how many deferred_listeners stand
    cancel_listener* first = nullptr;
};
static_assert(std::is_trivially_destructible_v<telling>);
thread_local telling waiting;

}  // namespace

deferred_listeners::deferred_listeners() noexcept { ++waiting.depth; }

deferred_listeners::~deferred_listeners() {
    if (--waiting.depth != 0) return;
    while (waiting.first != nullptr) {
        const std::shared_ptr<cancel_listener> next = std::move(waiting.first->kept_);
        waiting.first = next->next_;
        next->on_cancel();
    }
}

void deferred_listeners::tell(std::shared_ptr<cancel_listener> listener) noexcept {
    if (listener->told_.exchange(true, std::memory_order_relaxed)) return;  // its link belongs to the first
    if (waiting.depth == 0) return listener->on_cancel();
    cancel_listener& last = *listener;
    last.next_ = std::exchange(waiting.first, &last);
    last.kept_ = std::move(listener);
}

}  // namespace fiber::engine
