// An open descriptor that may be waited for: its number, its readiness, and its registration with a reactor, which is
// made at the first wait and then kept.
//
// Owner: whoever made it; those who use it between enter() and leave() keep the number from being closed under them.
// Thread safety: any thread; the destructor alone.
#pragma once

#include <atomic>
#include <cstdint>

#include "scheduler/base/spin_lock.hpp"
#include "scheduler/io/poller.hpp"
#include "scheduler/io/reactor.hpp"
#include "scheduler/io/readiness.hpp"

namespace fiber::engine {

enum class watch_verdict : std::uint8_t { watched, registered, failed };  // registered: just now

// What it means that a read gave less than it was asked for. drained: that nothing is left, so that the next read may
// wait at once. unknown: there may be more; a terminal gives line by line, what keeps messages apart one at a time, and
// a Unix socket stops at descriptors that are passed along.
enum class short_read : bool { unknown, drained };

class alignas(cache_line) io_source {
 public:
    enum class ownership : bool { borrowed, owned };  // owned: close() closes the descriptor

    io_source(int fd, ownership owns, short_read means = short_read::unknown) noexcept
        : fd_(fd), owns_(owns), short_read_(means) {}
    // Requires: nobody waits.
    ~io_source();
    io_source(const io_source&) = delete;
    io_source& operator=(const io_source&) = delete;

    // Stays the same after close(), when it says nothing any more.
    int fd() const noexcept { return fd_; }
    bool is_drained_by_short_read() const noexcept { return short_read_ == short_read::drained; }
    readiness& state() noexcept { return state_; }
    const readiness& state() const noexcept { return state_; }

    // Does the reactor watch for the direction? false after a change elsewhere that the caller has not seen yet.
    bool is_watched_by(const reactor* home, io_direction direction) const noexcept {
        // acquire pairs with watch()'s release: what is watched stands with that home.
        return (watched_.load(std::memory_order_acquire) & bit_of(direction)) &&
               home_.load(std::memory_order_relaxed) == home;
    }

    // Has `home` watch for the direction, if it does not yet: a system call the first time, none later. A source that
    // another reactor watched goes over to this one. What is always ready (a file) is made ready.
    // failed: `error` is errno. Requires: the caller is a user, or alone.
    [[nodiscard]] watch_verdict watch(reactor& home, io_direction direction, int& error) noexcept;

    // No reactor knows of it afterwards.
    void unwatch() noexcept;

    void leave() noexcept {
        if (state_.leave() == leave_verdict::give_back) give_back();
    }

    // Counts the operations that went through without a wait since the last wait, for who would starve others. A hint.
    unsigned count_unhindered() noexcept {
        const unsigned count = unhindered_.load(std::memory_order_relaxed) + 1;
        unhindered_.store(count, std::memory_order_relaxed);
        return count;
    }
    void forget_unhindered() noexcept { unhindered_.store(0, std::memory_order_relaxed); }

    // What has ended the connection behind it, for those to whom the kernel does not say it any more: errno, or 0.
    void keep_failure(int error) noexcept { failure_.store(error, std::memory_order_relaxed); }
    int kept_failure() const noexcept { return failure_.load(std::memory_order_relaxed); }

    // All who wait are handed out (see readiness::close), and the descriptor is closed as soon as nobody uses it.
    // false: it was closed before.
    template <class Claim>
    bool close(Claim claim) noexcept {
        const close_verdict verdict = state_.close(claim);
        if (verdict == close_verdict::give_back) give_back();
        return verdict != close_verdict::was_closed;
    }

    // Ends the source without closing the descriptor, whose number is returned; -1 if it is closed.
    // Requires: nobody uses it or waits.
    int release() noexcept;

 private:
    static constexpr std::uint8_t bit_of(io_direction direction) noexcept {
        return static_cast<std::uint8_t>(1u << static_cast<int>(direction));
    }
    int move_to(reactor& home, io_interest wanted) noexcept;
    int register_with(reactor& home, io_interest wanted) noexcept;
    void unwatch_locked() noexcept;
    void give_back() noexcept;

    // One cache line for what every operation touches.
    readiness state_;
    std::atomic<reactor*> home_{nullptr};
    const int fd_;
    std::atomic<unsigned> unhindered_{0};
    std::atomic<std::uint8_t> watched_{0};  // a bit for each direction, once its registration stands with home_
    ownership owns_;
    const short_read short_read_;
    // The registration, under watching_; held over system calls that do not block.
    spin_lock watching_;
    int watched_fd_ = -1;  // fd_, or another number for the same if somebody else watches that one
    io_interest interest_;
    reactor::registration registration_ = 0;
    std::atomic<int> failure_{0};
};

}  // namespace fiber::engine
