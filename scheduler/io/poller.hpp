// The kernel's side of waiting for descriptors: epoll, edge-triggered, and an eventfd that interrupts the wait. The
// seam of the reactor: whatever else is to stand under it (io_uring, say) offers these functions.
//
// Thread safety: add, change, remove and interrupt from any thread; wait() and event() by one thread at a time.
// Invariant: after remove() has returned, a wait that begins later does not report that id. One that has returned
// already may hold it: whoever reads it must look whether the id is still meant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <sys/epoll.h>

#include "scheduler/base/clock.hpp"
#include "scheduler/base/sanitizers.hpp"

namespace fiber::engine {

// What to watch for; hang-ups and errors are always reported.
struct io_interest {
    bool read = false;
    bool write = false;
    bool operator==(const io_interest&) const = default;
};

struct poll_event {
    std::uint64_t id;
    bool readable;
    bool writable;
    bool read_ended;   // the other side sends nothing more, or an error stands, or urgent data, at which reads stop
    bool write_ended;  // it takes nothing more, or an error stands
};

class poller {
 public:
    // Throws std::system_error.
    poller();
    ~poller();
    poller(const poller&) = delete;
    poller& operator=(const poller&) = delete;

    // 0, or errno: EPERM for what is always ready (a file), EEXIST, EBADF, ENOSPC (fs.epoll.max_user_watches), ENOMEM.
    // What is ready already is reported once, like an edge. `id`: any but interrupt_id.
    [[nodiscard]] int add(int fd, io_interest what, std::uint64_t id) noexcept;
    [[nodiscard]] int change(int fd, io_interest what, std::uint64_t id) noexcept;
    void remove(int fd) noexcept;

    // Ends the wait under way, or the next one.
    void interrupt() noexcept;

    // Waits until something is reported, an interrupt or a signal comes, or `deadline` (monotonic clock) has passed;
    // one of 0 or less only looks. Returns the number of events; they stand until the next wait.
    std::size_t wait(nanos deadline) noexcept;
    poll_event event(std::size_t number) const noexcept {
        const epoll_event& reported = events_[number];
        const std::uint32_t bits = reported.events;
        const bool broken = bits & (EPOLLERR | EPOLLHUP);
        return {.id = reported.data.u64,
                .readable = broken || (bits & (EPOLLIN | EPOLLRDHUP | EPOLLPRI)),
                .writable = broken || (bits & EPOLLOUT),
                .read_ended = broken || (bits & (EPOLLRDHUP | EPOLLPRI)),
                .write_ended = broken};
    }

 private:
    static constexpr std::uint64_t interrupt_id = ~std::uint64_t{0};
    static constexpr int batch = 64;  // what is ready is handed out while it is in the cache (bench echo_1000)

    // Not inlined: the address of errno must not be kept across a switch.
    __attribute__((noinline)) int wait_in_kernel(nanos deadline) noexcept;
    __attribute__((noinline)) int control(int operation, int fd, io_interest what, std::uint64_t id) noexcept;

    int epoll_;
    int interrupt_;
    // TSan knows the old call, which delivers signals at once and orders what comes through the kernel.
    bool fine_timeouts_ = !FIBER_TSAN;
    std::array<epoll_event, batch> events_;
};

}  // namespace fiber::engine
