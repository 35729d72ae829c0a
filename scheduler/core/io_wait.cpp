#include "scheduler/core/io_wait.hpp"

#include <algorithm>
#include <cerrno>
#include <new>
#include <poll.h>
#include <system_error>

#include "scheduler/core/scheduler.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::engine {

namespace {

constexpr nanos thread_looks_every = 50'000'000;

io_wait_verdict wait_on_thread(io_source& source, io_direction direction, nanos deadline, int& error) noexcept {
    pollfd wanted{source.fd(), static_cast<short>(direction == io_direction::read ? POLLIN | POLLRDHUP : POLLOUT), 0};
    for (;;) {
        if (source.state().is_closed()) return io_wait_verdict::closed;
        const nanos now = monotonic_now();
        if (deadline <= now) return io_wait_verdict::timed_out;
        const nanos limit = std::min(deadline - now, thread_looks_every);
        const timespec span{0, static_cast<long>(limit)};
        const int reported = ::ppoll(&wanted, 1, &span, nullptr);
        if (reported > 0) {
            raise_and_wake(source, direction);
            return io_wait_verdict::ready;
        }
        if (reported < 0 && errno != EINTR) {
            error = errno;
            return io_wait_verdict::failed;
        }
    }
}

// The reactor of the calling fiber's runtime watches for the direction. false: `error` says why not.
bool watch_here(io_source& source, io_direction direction, int& error) noexcept {
    scheduler& home = worker::current()->home();
    try {
        switch (source.watch(home.io().get(), direction, error)) {
            case watch_verdict::watched:
                return true;
            case watch_verdict::failed:
                return false;
            case watch_verdict::registered:
                home.io_armed();
                return true;
        }
    } catch (const std::system_error& failure) {
        error = failure.code().value();
    } catch (const std::bad_alloc&) {
        error = ENOMEM;
    }
    return false;
}

bool on_a_fiber() noexcept {
    const worker* here = worker::current();
    return here != nullptr && here->current_task() != nullptr;
}

void claim_into(wake_list& to_wake, list_node& node) noexcept {
    auto& waiting = static_cast<waiter&>(node);
    if (waiting.claim(wake_reason::notified)) to_wake.push_back(waiting);
}

}  // namespace

io_wait_verdict wait_ready(io_source& source, io_direction direction, nanos deadline, interruptible mode,
                           int& error) noexcept {
    readiness& state = source.state();
    if (state.is_ready(direction)) return state.is_closed() ? io_wait_verdict::closed : io_wait_verdict::ready;
    if (!on_a_fiber()) return wait_on_thread(source, direction, deadline, error);
    if (!watch_here(source, direction, error)) return io_wait_verdict::failed;
    waiter self;
    self.begin(mode);
    if (state.await(direction, self) != await_verdict::waiting && self.claim(wake_reason::notified)) self.complete();
    const wake_reason reason = self.wait(deadline);
    if (reason != wake_reason::notified) state.withdraw(self);
    if (state.is_closed()) return io_wait_verdict::closed;
    return reason == wake_reason::notified    ? io_wait_verdict::ready
           : reason == wake_reason::timed_out ? io_wait_verdict::timed_out
                                              : io_wait_verdict::cancelled;
}

bool close_and_wake(io_source& source) noexcept {
    wake_list to_wake;
    const bool first = source.close([&to_wake](list_node& node) { claim_into(to_wake, node); });
    to_wake.complete_all();
    return first;
}

void raise_and_wake(io_source& source, io_direction direction) noexcept {
    wake_list to_wake;
    source.state().raise(readiness::ready(direction), [&to_wake](list_node& node) { claim_into(to_wake, node); });
    to_wake.complete_all();
}

}  // namespace fiber::engine
