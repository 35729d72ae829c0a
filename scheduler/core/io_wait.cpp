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

io_wait_verdict wait_registered(worker& here, io_source& source, io_direction direction, nanos deadline,
                                interruptible mode, io_user& user) noexcept {
    for (worker* on = &here;; on = worker::current()) {
        task_slot& self = *on->current_task();
        const bool cancellable = mode == interruptible::yes && on->may_be_interrupted(self);
        if (const auto verdict = wait_for_edge(source.state(), self, direction, deadline, cancellable, user)) [[likely]]
            return *verdict;
    }
}

// The first wait for this direction, or one in another runtime; or a plain thread's.
__attribute__((noinline)) io_wait_verdict wait_unregistered(io_source& source, io_direction direction, nanos deadline,
                                                            interruptible mode, io_user& user, int& error) noexcept {
    readiness& state = source.state();
    if (user == io_user::not_yet) {
        const enter_verdict entered = state.enter(direction, true);
        if (entered == enter_verdict::closed) return io_wait_verdict::closed;
        user = io_user::entered;
        if (entered == enter_verdict::ready) return io_wait_verdict::ready;
    }
    worker* here = worker::current();
    if (here != nullptr && here->current_task() != nullptr) {
        if (!watch_here(source, direction, error)) return io_wait_verdict::failed;
        return wait_registered(*here, source, direction, deadline, mode, user);
    }
    while (!state.take(direction)) {
        const io_wait_verdict verdict = wait_on_thread(source, direction, deadline, error);
        if (verdict != io_wait_verdict::ready) return verdict;
    }
    return io_wait_verdict::ready;
}

}  // namespace

io_wait_verdict wait_ready(io_source& source, io_direction direction, nanos deadline, interruptible mode, io_user& user,
                           int& error) noexcept {
    worker* here = worker::current();
    if (here != nullptr && here->current_task() != nullptr &&
        source.is_watched_by(here->home().io().made_before(), direction)) [[likely]] {
        return wait_registered(*here, source, direction, deadline, mode, user);
    }
    return wait_unregistered(source, direction, deadline, mode, user, error);
}

bool close_and_wake(io_source& source) noexcept {
    wake_list to_wake;
    const bool first = source.close([&](list_node& node, bool alone) { return claim_for_edge(to_wake, node, alone); });
    to_wake.complete_all();
    return first;
}

void raise_and_wake(io_source& source, io_direction direction) noexcept {
    wake_list to_wake;
    source.state().raise(readiness::ready(direction),
                         [&](list_node& node, bool alone) { return claim_for_edge(to_wake, node, alone); });
    to_wake.complete_all();
}

}  // namespace fiber::engine
