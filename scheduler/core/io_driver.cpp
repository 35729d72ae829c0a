#include "scheduler/core/io_driver.hpp"

#include "scheduler/core/edge_wait.hpp"

namespace fiber::engine {

namespace {
// Under load events wait at most so long beyond a beat; asking more often would cost short turns dearly.
constexpr nanos poll_interval = 20'000;
}  // namespace

io_driver::~io_driver() {
    if (reactor* made = reactor_.load(std::memory_order_relaxed)) made->release();
}

reactor& io_driver::get() {
    reactor* made = reactor_.load(std::memory_order_acquire);
    if (made != nullptr) [[likely]]
        return *made;
    std::lock_guard guard(making_);
    made = reactor_.load(std::memory_order_relaxed);
    if (made == nullptr) {
        made = reactor::make();
        reactor_.store(made, std::memory_order_release);  // P1
    }
    return *made;
}

void io_driver::poll_if_due() noexcept {
    const nanos now = monotonic_now();
    if (now - polled_at_.load(std::memory_order_relaxed) < poll_interval) return;
    reactor& from = made();
    if (!from.try_lock()) return;
    polled_at_.store(now, std::memory_order_relaxed);
    if (from.collect(0) != 0) {
        deliver(from);
    } else {
        from.unlock();
    }
}

void io_driver::end() noexcept {
    reactor* last = made_before();
    if (last == nullptr) return;
    wake_list to_wake;
    last->raise_all([&to_wake](list_node& node, bool alone) { return claim_for_edge(to_wake, node, alone); });
    to_wake.complete_all();
}

bool io_driver::collect(nanos deadline) noexcept {
    if (made().collect(deadline) != 0) return true;
    made().unlock();
    return false;
}

// Releases the poll lock before it wakes: what runs then may take it.
void io_driver::deliver(reactor& from) noexcept {
    wake_list to_wake;
    from.deliver([&to_wake](list_node& node, bool alone) { return claim_for_edge(to_wake, node, alone); });
    from.unlock();
    to_wake.complete_all();
}

}  // namespace fiber::engine
