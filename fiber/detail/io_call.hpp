// How every operation on a descriptor runs: try, and if it would block, park until an edge, and try again.
// Not for users: only .cpp files include it.
//
// System calls return their result or -errno, and those that ask errno are never inlined: compilers keep its address,
// which is the thread's, across calls, and a fiber that has waited may be on another thread.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <system_error>

#include "fiber/io_error.hpp"
#include "fiber/sleep.hpp"
#include "fiber/this_fiber.hpp"
#include "scheduler/base/system_call.hpp"
#include "scheduler/core/io_wait.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::detail {

// --- system calls: the result, or -errno; never EINTR ---

long read_now(int fd, void* into, std::size_t size) noexcept;
long write_now(int fd, const void* from, std::size_t size) noexcept;
long receive_message_now(int fd, msghdr& message, int flags) noexcept;
long send_message_now(int fd, const msghdr& message, int flags) noexcept;  // MSG_NOSIGNAL is added
long accept_now(int fd, sockaddr* from, socklen_t* length) noexcept;       // non-blocking, close-on-exec
long shut_down_now(int fd) noexcept;                                       // the sending half
long set_option_now(int fd, int level, int option, const void* value, socklen_t size) noexcept;
long connect_now(int fd, const sockaddr* to, socklen_t size) noexcept;
bool is_readable_now(int fd, int& error) noexcept;  // poll(2) without waiting; error: 0 or errno
bool is_writable_now(int fd, int& error) noexcept;

#if FIBER_INLINE_SYSTEM_CALL
// Inline: the two that every request makes.
inline long receive_now(int fd, void* into, std::size_t size, int flags) noexcept {
    for (;;) {
        const long done =
            engine::system_call(SYS_recvfrom, fd, reinterpret_cast<long>(into), static_cast<long>(size), flags, 0, 0);
        if (done != -EINTR) [[likely]]
            return done;
    }
}
inline long send_now(int fd, const void* from, std::size_t size, int flags) noexcept {
    for (;;) {
        const long done = engine::system_call(SYS_sendto, fd, reinterpret_cast<long>(from), static_cast<long>(size),
                                              flags | MSG_NOSIGNAL, 0, 0);
        if (done != -EINTR) [[likely]]
            return done;
    }
}
#else
long receive_now(int fd, void* into, std::size_t size, int flags) noexcept;
long send_now(int fd, const void* from, std::size_t size, int flags) noexcept;
#endif

// --- outcomes that are no errno, beside -errno ---

inline constexpr long was_closed = -100'001;
inline constexpr long timed_out = -100'002;

// From a negative outcome.
std::error_code error_of(long outcome) noexcept;
// A count, or 0 and what went wrong.
inline std::size_t settled(long outcome, std::error_code& error) noexcept {
    if (outcome < 0) [[unlikely]] {
        error = error_of(outcome);
        return 0;
    }
    error.clear();
    return static_cast<std::size_t>(outcome);
}
// Throws what it stands for: timeout_error, or std::system_error with `what` before the cause.
[[noreturn]] void throw_io_error(const std::error_code& error, const std::string& what);

// A use of a source, which ends with leave() if it has come to enter().
struct io_use {
    explicit io_use(engine::io_source& source) noexcept : source(source) {}
    ~io_use() {
        if (user == engine::io_user::entered) source.leave();
    }
    io_use(const io_use&) = delete;
    io_use& operator=(const io_use&) = delete;

    // Becomes a user. closed: it does not.
    engine::enter_verdict enter(engine::io_direction direction, bool taking) noexcept {
        const engine::enter_verdict entered = source.state().enter(direction, taking);
        if (entered != engine::enter_verdict::closed) user = engine::io_user::entered;
        return entered;
    }

    engine::io_source& source;
    engine::io_user user = engine::io_user::not_yet;
};

// Calls `call` (fd -> 0 or -errno), which never waits; the number is not given back meanwhile. nullptr: was_closed.
template <class Call>
long call_now(engine::io_source* source, Call call) noexcept {
    if (source == nullptr) return was_closed;
    io_use here(*source);
    const bool closed = here.enter(engine::io_direction::write, false) == engine::enter_verdict::closed;
    return closed ? was_closed : call(source->fd());
}

inline void check_cancelled() {
    const engine::worker* here = engine::worker::current();
    const engine::task_slot* self = here != nullptr ? here->current_task() : nullptr;
    if (self != nullptr && self->is(engine::task_slot::cancel_pending)) [[unlikely]]
        this_fiber::check_cancelled();
}

// One that is never hindered lets others run now and then. Before the operation: it may throw `cancelled`.
inline void let_others_run(engine::io_source& source) {
    constexpr unsigned most_unhindered = 64;
    if (source.count_unhindered() < most_unhindered) [[likely]]
        return;
    source.forget_unhindered();
    yield();
}

// Becomes a user if it is none, takes readiness, and parks until there is some. 0, or an outcome. Cancellation point.
long wait_to_try(io_use& use, engine::io_direction direction, engine::nanos deadline);

// The same for the first try. Mostly there is nothing to read yet, and room to write.
inline long begin_to_try(io_use& use, engine::io_direction direction, engine::nanos deadline) {
    const bool reads = direction == engine::io_direction::read;
    if (!reads || use.source.state().is_ready(direction)) {
        const engine::enter_verdict entered = use.enter(direction, reads);
        if (entered == engine::enter_verdict::ready) [[likely]]
            return 0;
        if (entered == engine::enter_verdict::closed) return was_closed;
    }
    return wait_to_try(use, direction, deadline);
}

// After a write that went through. If `ready` was taken for it, by this one's wait or another's, there may be room for
// more, and no edge will say so: the kernel reports room only to one that has found none.
inline void put_back_room(engine::io_source& source) noexcept {
    constexpr auto write = engine::io_direction::write;
    if (!source.state().is_ready(write)) [[unlikely]]
        engine::raise_and_wake(source, write);
}

// Calls `call` until it does something else than to block. Returns its result, -errno, was_closed or timed_out.
// A read takes readiness before it tries: whoever finds that there is more to read owes raise_and_wake().
// `call`: fd -> result or -errno. Cancellation point at its beginning and while it waits.
template <class Call>
long perform(engine::io_source& source, engine::io_direction direction, engine::nanos deadline, Call call) {
    check_cancelled();
    let_others_run(source);
    io_use here(source);
    bool taken = direction == engine::io_direction::read;
    long failed = begin_to_try(here, direction, deadline);
    for (;;) {
        if (failed != 0 && failed != timed_out) [[unlikely]]
            return failed;
        // A limit of zero only looks: so it does look, whatever edge is still on its way.
        const long done = call(source.fd());
        if (done != -EAGAIN) [[likely]] {
            if (direction == engine::io_direction::write) put_back_room(source);
            return done;
        }
        if (failed != 0) return timed_out;
        // It blocks: to wait, `ready` must have been taken before the last try.
        if (!taken || source.state().has_ended(direction)) {
            source.state().take_all(direction);
            taken = true;
            continue;
        }
        failed = wait_to_try(here, direction, deadline);
    }
}

// A read. Where fewer bytes than there was room for mean that nothing is left, the next read waits without asking the
// kernel. All else puts `ready` back.
template <class Call>
long perform_read(engine::io_source& source, std::size_t room, engine::nanos deadline, Call call) {
    const long done = perform(source, engine::io_direction::read, deadline, call);
    const bool drained = done > 0 && static_cast<std::size_t>(done) < room && source.is_drained_by_short_read();
    if (!drained && done != timed_out && done != was_closed) {
        engine::raise_and_wake(source, engine::io_direction::read);
    }
    return done;
}

}  // namespace fiber::detail
