#include "fiber/detail/io_call.hpp"

#include <atomic>
#include <csignal>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fiber/error.hpp"
#include "scheduler/base/sanitizers.hpp"

namespace fiber::detail {

namespace {

template <class Call>
inline long uninterrupted(Call call) noexcept {
    for (;;) {
        const long done = call();
        if (done >= 0) return done;
        if (errno != EINTR) return -errno;
    }
}

// Writes with SIGPIPE blocked for this thread. The signal that a broken pipe raised is taken away again; one that was
// pending before stays, and only one that was blocked before can have been pending.
long write_with_signal_blocked(int fd, const void* from, std::size_t size) noexcept {
    sigset_t broken_pipe;
    sigset_t before;
    ::sigemptyset(&broken_pipe);
    ::sigaddset(&broken_pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    bool was_pending = false;
    if (::sigismember(&before, SIGPIPE) == 1) {
        sigset_t pending;
        ::sigpending(&pending);
        was_pending = ::sigismember(&pending, SIGPIPE) == 1;
    }
    const long done = uninterrupted([&] { return ::write(fd, from, size); });
    constexpr timespec at_once{};
    while (done == -EPIPE && !was_pending && ::sigtimedwait(&broken_pipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return done;
}

// Linux 6.18 has a flag that does it in one system call instead of three: 64 bytes through a pipe cost 390 ns with a
// plain write, 440 with the flag, 630 with the signal blocked, and 910 if one always looks for pending signals before
// and after. TSan does not know that call, and would not see that what is read comes after what was written.
constexpr int without_signal = 0x100;  // RWF_NOSIGNAL
std::atomic<bool> kernel_knows_flag{!FIBER_TSAN};

bool is_pipe(int fd) noexcept {
    struct stat what {};
    return ::fstat(fd, &what) == 0 && S_ISFIFO(what.st_mode);
}

bool is_ready_now(int fd, short what, int& error) noexcept {
    pollfd wanted{fd, what, 0};
    const long reported = uninterrupted([&] { return ::poll(&wanted, 1, 0); });
    error = reported < 0 ? static_cast<int>(-reported) : (wanted.revents & POLLNVAL) ? EBADF : 0;
    return reported > 0;
}

}  // namespace

#define FIBER_SYSTEM_CALL __attribute__((noinline))

FIBER_SYSTEM_CALL long read_now(int fd, void* into, std::size_t size) noexcept {
    return uninterrupted([&] { return ::read(fd, into, size); });
}

FIBER_SYSTEM_CALL long write_now(int fd, const void* from, std::size_t size) noexcept {
    if (kernel_knows_flag.load(std::memory_order_relaxed)) {
        const iovec piece{const_cast<void*>(from), size};
        const long done = uninterrupted([&] { return ::pwritev2(fd, &piece, 1, -1, without_signal); });
        if (done != -EOPNOTSUPP && done != -ENOSYS) return done;
        // What is no pipe may refuse any flag.
        if (is_pipe(fd)) kernel_knows_flag.store(false, std::memory_order_relaxed);
    }
    return write_with_signal_blocked(fd, from, size);
}

#if !FIBER_INLINE_SYSTEM_CALL
FIBER_SYSTEM_CALL long receive_now(int fd, void* into, std::size_t size, int flags) noexcept {
    return uninterrupted([&] { return ::recv(fd, into, size, flags); });
}

FIBER_SYSTEM_CALL long send_now(int fd, const void* from, std::size_t size, int flags) noexcept {
    return uninterrupted([&] { return ::send(fd, from, size, flags | MSG_NOSIGNAL); });
}
#endif

FIBER_SYSTEM_CALL long receive_message_now(int fd, msghdr& message, int flags) noexcept {
    return uninterrupted([&] { return ::recvmsg(fd, &message, flags); });
}

FIBER_SYSTEM_CALL long send_message_now(int fd, const msghdr& message, int flags) noexcept {
    return uninterrupted([&] { return ::sendmsg(fd, &message, flags | MSG_NOSIGNAL); });
}

FIBER_SYSTEM_CALL long accept_now(int fd, sockaddr* from, socklen_t* length) noexcept {
    return uninterrupted([&] { return ::accept4(fd, from, length, SOCK_NONBLOCK | SOCK_CLOEXEC); });
}

FIBER_SYSTEM_CALL long shut_down_now(int fd) noexcept {
    return uninterrupted([&] { return ::shutdown(fd, SHUT_WR); });
}

FIBER_SYSTEM_CALL long set_option_now(int fd, int level, int option, const void* value, socklen_t size) noexcept {
    return uninterrupted([&] { return ::setsockopt(fd, level, option, value, size); });
}

FIBER_SYSTEM_CALL long connect_now(int fd, const sockaddr* to, socklen_t size) noexcept {
    return uninterrupted([&] { return ::connect(fd, to, size); });
}

FIBER_SYSTEM_CALL bool is_readable_now(int fd, int& error) noexcept {
    return is_ready_now(fd, POLLIN | POLLRDHUP, error);
}

FIBER_SYSTEM_CALL bool is_writable_now(int fd, int& error) noexcept { return is_ready_now(fd, POLLOUT, error); }

#undef FIBER_SYSTEM_CALL

std::error_code error_of(long outcome) noexcept {
    if (outcome == was_closed) return io::errc::closed;
    if (outcome == timed_out) return std::make_error_code(std::errc::timed_out);
    return {static_cast<int>(-outcome), std::generic_category()};
}

void throw_io_error(const std::error_code& error, const std::string& what) {
    if (error == std::make_error_code(std::errc::timed_out)) throw timeout_error(what + ": timed out");
    throw std::system_error(error, what);
}

long wait_to_try(io_use& use, engine::io_direction direction, engine::nanos deadline) {
    use.source.forget_unhindered();
    for (;;) {
        int error = 0;
        switch (engine::wait_ready(use.source, direction, deadline, engine::interruptible::yes, use.user, error)) {
            case engine::io_wait_verdict::ready:
                return 0;
            case engine::io_wait_verdict::closed:
                return was_closed;
            case engine::io_wait_verdict::timed_out:
                return timed_out;
            case engine::io_wait_verdict::failed:
                return -error;
            case engine::io_wait_verdict::cancelled:
                this_fiber::check_cancelled();  // goes on if it was taken back meanwhile
        }
    }
}

}  // namespace fiber::detail
