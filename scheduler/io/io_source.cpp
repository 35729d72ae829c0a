#include "scheduler/io/io_source.hpp"

#include <cerrno>
#include <fcntl.h>
#include <mutex>
#include <unistd.h>

namespace fiber::engine {

namespace {
constexpr auto nobody = [](list_node&, bool) noexcept { return false; };

// 0, or errno. Not inlined: the address of errno must not be kept across a switch.
__attribute__((noinline)) int another_number(int fd, int& made) noexcept {
    made = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return made < 0 ? errno : 0;
}
}  // namespace

io_source::~io_source() {
    if (owns_ == ownership::owned) {
        (void)close(nobody);
    } else {
        unwatch();
    }
}

watch_verdict io_source::watch(reactor& home, io_direction direction, int& error) noexcept {
    if (is_watched_by(&home, direction)) return watch_verdict::watched;
    std::lock_guard guard(watching_);
    if (state_.is_closed()) return watch_verdict::watched;  // the wait will say so
    io_interest wanted = interest_;
    (direction == io_direction::read ? wanted.read : wanted.write) = true;
    error = move_to(home, wanted);
    if (error == EPERM) {
        state_.raise(readiness::ready(direction) | readiness::ended(direction), nobody);  // for good
        return watch_verdict::watched;
    }
    if (error != 0) return watch_verdict::failed;
    interest_ = wanted;
    watched_.fetch_or(bit_of(direction), std::memory_order_release);
    return watch_verdict::registered;
}

int io_source::move_to(reactor& home, io_interest wanted) noexcept {
    reactor* before = home_.load(std::memory_order_relaxed);
    if (before == &home) return wanted == interest_ ? 0 : home.change(watched_fd_, wanted, registration_);
    if (before != nullptr) unwatch_locked();
    const int error = register_with(home, wanted);
    if (error == 0) home_.store(&home, std::memory_order_relaxed);
    return error;
}

// A reactor knows each number once. Another source may have it: who waits for the bare number, in either direction.
int io_source::register_with(reactor& home, io_interest wanted) noexcept {
    watched_fd_ = fd_;
    int error = home.add(fd_, wanted, state_, registration_);
    if (error != EEXIST) return error;
    error = another_number(fd_, watched_fd_);
    if (error != 0) return error;
    error = home.add(watched_fd_, wanted, state_, registration_);
    if (error != 0) ::close(watched_fd_);
    return error;
}

void io_source::unwatch() noexcept {
    std::lock_guard guard(watching_);
    unwatch_locked();
}

void io_source::unwatch_locked() noexcept {
    reactor* home = home_.load(std::memory_order_relaxed);
    if (home == nullptr) return;
    watched_.store(0, std::memory_order_relaxed);
    home_.store(nullptr, std::memory_order_relaxed);
    interest_ = {};
    home->remove(watched_fd_, registration_);
    if (watched_fd_ != fd_) ::close(watched_fd_);
}

void io_source::give_back() noexcept {
    unwatch();
    if (owns_ == ownership::owned) ::close(fd_);  // EINTR: Linux has closed it all the same
}

int io_source::release() noexcept {
    if (state_.is_closed()) return -1;
    owns_ = ownership::borrowed;
    (void)close(nobody);
    return fd_;
}

}  // namespace fiber::engine
