// A test-and-test-and-set lock for sections of a few dozen instructions that never park, allocate or call out.
// One atomic RMW to lock, one store to unlock. A waiter stays away for longer each time, then gives its time slice
// away: the holder may be preempted, and on a machine with fewer cores than threads spinning on would keep it from
// finishing.
#pragma once

#include <atomic>
#include <cstddef>
#include <sched.h>

namespace fiber::engine {

inline constexpr std::size_t cache_line = 64;

inline void cpu_pause() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#endif
}

// How a thread waits for a lock.
struct polite_spin {
    template <class Condition>
    static void until(Condition condition) noexcept {
        for (int spins = 0; !condition(); ++spins) {
            if (spins < 100) {
                cpu_pause();
            } else {
                ::sched_yield();
            }
        }
    }
};

class spin_lock {
 public:
    spin_lock() = default;
    spin_lock(const spin_lock&) = delete;
    spin_lock& operator=(const spin_lock&) = delete;

    void lock() noexcept {
        if (!try_lock()) [[unlikely]]
            lock_contended();
    }

    // acquire pairs with unlock()'s release.
    bool try_lock() noexcept { return !held_.exchange(true, std::memory_order_acquire); }

    void unlock() noexcept { held_.store(false, std::memory_order_release); }

 private:
    // Who looks again at once takes the line from the holder, and so do all that the lock guards: each section then
    // costs what moving them costs. Away for some microseconds, he lets the other run through a hundred at the speed of
    // its cache (bench channel_mpmc, two workers: 70 ns an item to 30).
    __attribute__((noinline)) void lock_contended() noexcept {
        int pauses = 4;
        do {
            for (int i = 0; i < pauses; ++i) cpu_pause();
            if (pauses < most_pauses) {
                pauses *= 2;
            } else {
                ::sched_yield();
            }
        } while (held_.load(std::memory_order_relaxed) || !try_lock());
    }

    static constexpr int most_pauses = 128;

    std::atomic<bool> held_{false};
};

}  // namespace fiber::engine
