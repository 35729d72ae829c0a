// How every operation on a descriptor runs: try, and if it would block, park until an edge, and try again.
// Not for users: only .cpp files include it.
//
// System calls return their result or -errno, and are never inlined: compilers keep the address of errno, which is the
// thread's, across calls, and a fiber that has waited may be on another thread.
#pragma once

#include <cerrno>
#include <cstddef>
#include <string>
#include <sys/socket.h>
#include <sys/types.h>
#include <system_error>

#include "fiber/io_error.hpp"
#include "fiber/sleep.hpp"
#include "fiber/this_fiber.hpp"
#include "scheduler/core/io_wait.hpp"

namespace fiber::detail {

// --- system calls: the result, or -errno; never EINTR ---

long read_now(int fd, void* into, std::size_t size) noexcept;
long write_now(int fd, const void* from, std::size_t size) noexcept;
long receive_now(int fd, void* into, std::size_t size, int flags) noexcept;
long send_now(int fd, const void* from, std::size_t size, int flags) noexcept;  // MSG_NOSIGNAL is added
long receive_message_now(int fd, msghdr& message, int flags) noexcept;
long send_message_now(int fd, const msghdr& message, int flags) noexcept;  // MSG_NOSIGNAL is added
long accept_now(int fd, sockaddr* from, socklen_t* length) noexcept;       // non-blocking, close-on-exec
bool is_readable_now(int fd, int& error) noexcept;                         // poll(2) without waiting; error: 0 or errno
bool is_writable_now(int fd, int& error) noexcept;

// --- outcomes that are no errno, beside -errno ---

inline constexpr long was_closed = -100'001;
inline constexpr long timed_out = -100'002;

// From a negative outcome.
std::error_code error_of(long outcome) noexcept;
// Throws what it stands for: timeout_error, or std::system_error with `what` before the cause.
[[noreturn]] void throw_io_error(const std::error_code& error, const std::string& what);

// A use of a source, between enter() and leave().
class io_use {
 public:
    io_use(engine::io_source& source, engine::io_direction direction, bool taking) noexcept
        : source_(source), entered_(source.state().enter(direction, taking)) {}
    ~io_use() {
        if (entered_ != engine::enter_verdict::closed) source_.leave();
    }
    io_use(const io_use&) = delete;
    io_use& operator=(const io_use&) = delete;

    engine::enter_verdict verdict() const noexcept { return entered_; }

 private:
    engine::io_source& source_;
    const engine::enter_verdict entered_;
};

// One that is never hindered lets others run now and then. Before the operation: it may throw `cancelled`.
inline void let_others_run(engine::io_source& source) {
    constexpr unsigned most_unhindered = 64;
    if (source.count_unhindered() < most_unhindered) [[likely]]
        return;
    source.forget_unhindered();
    yield();
}

// Parks until there is something to try, and takes it. 0, or an outcome. Cancellation point.
long wait_to_try(engine::io_source& source, engine::io_direction direction, engine::nanos deadline);

// Calls `call` until it does something else than to block. Returns its result, -errno, was_closed or timed_out.
// A read takes readiness before it tries: whoever finds that there is more to read owes raise_and_wake().
// `call`: fd -> result or -errno. Cancellation point at its beginning and while it waits.
template <class Call>
long perform(engine::io_source& source, engine::io_direction direction, engine::nanos deadline, Call call) {
    this_fiber::check_cancelled();
    let_others_run(source);
    bool taken = direction == engine::io_direction::read;
    const io_use here(source, direction, taken);
    if (here.verdict() == engine::enter_verdict::closed) [[unlikely]]
        return was_closed;
    bool may_try = here.verdict() == engine::enter_verdict::ready;
    for (;;) {
        if (may_try) {
            const long done = call(source.fd());
            if (done != -EAGAIN) [[likely]]
                return done;
            // It blocks: to wait, `ready` must have been taken before the last try.
            if (!taken || source.state().has_ended(direction)) {
                source.state().take_all(direction);
                taken = true;
                continue;
            }
        }
        if (const long failed = wait_to_try(source, direction, deadline)) {
            if (failed != timed_out) return failed;
            // A limit of zero only looks: so it does look, whatever edge is still on its way.
            const long done = call(source.fd());
            return done == -EAGAIN ? timed_out : done;
        }
        may_try = taken = true;
    }
}

// A read of a byte stream: fewer bytes than there was room for means that nothing is left, and the next read waits
// without asking the kernel. All else puts `ready` back.
template <class Call>
long perform_read(engine::io_source& source, std::size_t room, engine::nanos deadline, Call call) {
    const long done = perform(source, engine::io_direction::read, deadline, call);
    const bool drained = done > 0 && static_cast<std::size_t>(done) < room;
    if (!drained && done != timed_out && done != was_closed) {
        engine::raise_and_wake(source, engine::io_direction::read);
    }
    return done;
}

}  // namespace fiber::detail
