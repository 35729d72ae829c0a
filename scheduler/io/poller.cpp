#include "scheduler/io/poller.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <system_error>
#include <time.h>
#include <unistd.h>

namespace fiber::engine {

namespace {

#ifndef SYS_epoll_pwait2
constexpr long epoll_pwait2_number = 441;
#else
constexpr long epoll_pwait2_number = SYS_epoll_pwait2;
#endif

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

}  // namespace

poller::poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), interrupt_(-1) {
    if (epoll_ < 0) fail("fiber: no epoll descriptor for the reactor");
    interrupt_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event wanted{};
    wanted.events = EPOLLIN | EPOLLET;  // each write is an edge: the counter need never be read
    wanted.data.u64 = interrupt_id;
    if (interrupt_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, interrupt_, &wanted) != 0) {
        const int why = errno;
        if (interrupt_ >= 0) ::close(interrupt_);
        ::close(epoll_);
        errno = why;
        fail("fiber: no event descriptor for the reactor");
    }
}

poller::~poller() {
    ::close(interrupt_);
    ::close(epoll_);
}

int poller::control(int operation, int fd, io_interest what, std::uint64_t id) noexcept {
    epoll_event wanted{};
    wanted.events = EPOLLET;
    if (what.read) wanted.events |= EPOLLIN | EPOLLRDHUP | EPOLLPRI;
    if (what.write) wanted.events |= EPOLLOUT;
    wanted.data.u64 = id;
    return ::epoll_ctl(epoll_, operation, fd, &wanted) == 0 ? 0 : errno;
}

int poller::add(int fd, io_interest what, std::uint64_t id) noexcept { return control(EPOLL_CTL_ADD, fd, what, id); }

int poller::change(int fd, io_interest what, std::uint64_t id) noexcept { return control(EPOLL_CTL_MOD, fd, what, id); }

void poller::remove(int fd) noexcept {
    epoll_event unused{};
    (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, &unused);  // one that was closed has gone by itself
}

void poller::interrupt() noexcept {
    const std::uint64_t one = 1;
    (void)!::write(interrupt_, &one, sizeof one);
}

std::size_t poller::wait(nanos deadline) noexcept {
    const int reported = wait_in_kernel(deadline);
    if (reported <= 0) return 0;  // the time is up, or a signal
    const auto begin = events_.begin();
    const auto end =
        std::remove_if(begin, begin + reported, [](const epoll_event& each) { return each.data.u64 == interrupt_id; });
    return static_cast<std::size_t>(end - begin);
}

int poller::wait_in_kernel(nanos deadline) noexcept {
    if (deadline <= 0) return ::epoll_wait(epoll_, events_.data(), batch, 0);
    if (deadline == never) return ::epoll_wait(epoll_, events_.data(), batch, -1);
    const nanos left = std::max<nanos>(deadline - monotonic_now(), 0);
    if (fine_timeouts_) {
        const timespec limit{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
        const long reported =
            ::syscall(epoll_pwait2_number, epoll_, events_.data(), batch, &limit, nullptr, std::size_t{0});
        if (reported >= 0 || errno == EINTR) return static_cast<int>(reported);
        fine_timeouts_ = false;  // before Linux 5.11, or a filter that does not know the call
    }
    const nanos rounded_up = left / 1'000'000 + (left % 1'000'000 != 0);
    const nanos most = std::numeric_limits<int>::max();
    return ::epoll_wait(epoll_, events_.data(), batch, static_cast<int>(std::min(rounded_up, most)));
}

}  // namespace fiber::engine
