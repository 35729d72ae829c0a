// The two system calls under every sleep of an OS thread: wait while a word has a value, wake who waits there.
// Process-private. Spurious returns are normal: callers re-check in a loop.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "scheduler/base/clock.hpp"
#include "scheduler/base/sanitizers.hpp"

namespace fiber::engine {

enum class futex_verdict { woken, timed_out };

// Any thread. Blocks while *word == expected, until `deadline` (monotonic clock) at the latest.
// `woken` also for a value that differed at once and for spurious wake-ups.
[[nodiscard]] inline futex_verdict futex_wait(const std::atomic<std::uint32_t>* word, std::uint32_t expected,
                                              nanos deadline = never) noexcept {
#if FIBER_TSAN
    // TSan keeps a signal back until the thread calls something that TSan knows, and it does not know this system call:
    // a program that sleeps would not hear of it. So nobody sleeps for long.
    constexpr nanos longest = 20'000'000;
    if (deadline - monotonic_now() > longest) {
        const futex_verdict verdict = futex_wait(word, expected, monotonic_now() + longest);
        ::usleep(0);  // known
        return verdict == futex_verdict::timed_out ? futex_verdict::woken : verdict;
    }
#endif
    timespec until{};
    const timespec* limit = nullptr;
    if (deadline != never) {
        const nanos clamped = deadline < 0 ? 0 : deadline;
        until = {static_cast<time_t>(clamped / 1'000'000'000), static_cast<long>(clamped % 1'000'000'000)};
        limit = &until;
    }
    // FUTEX_WAIT_BITSET takes an absolute time, so that a spurious return need not compute what is left.
    const long result =
        ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
    return result == -1 && errno == ETIMEDOUT ? futex_verdict::timed_out : futex_verdict::woken;
}

// Any thread. The word's memory may already be gone: the kernel then wakes nobody.
inline void futex_wake(const std::atomic<std::uint32_t>* word, int count) noexcept {
    ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

}  // namespace fiber::engine
