// A spin lock and 63 bits of state in one word: the ground of every lock, semaphore and event.
// Whoever finds the word unlocked may change the state by one CAS (the fast paths). Whoever needs more than that, a
// queue of waiters for example, takes the lock bit first; meanwhile every CAS of a fast path fails.
//
// Invariant: unlock() publishes the new state in the very store that releases the lock, and touches nothing after it.
// So who sees the state knows that the one who wrote it has left, and may destroy what the word guards.
//
// Orders, by pair:
//   P1  unlock: release store, or release CAS of a fast path  ->  lock: acquire CAS, acquire CAS of a fast path, or
//       acquire load.
#pragma once

#include <atomic>
#include <cstdint>

#include "scheduler/base/atomic.hpp"
#include "scheduler/base/spin_lock.hpp"

namespace fiber::engine {

template <template <class> class Atomic = atomic, class Spin = polite_spin>
class basic_guarded_word {
 public:
    static constexpr std::uint64_t locked = 1;  // the state is what stands in the other bits

    constexpr explicit basic_guarded_word(std::uint64_t state = 0) noexcept : word_(state) {}
    basic_guarded_word(const basic_guarded_word&) = delete;
    basic_guarded_word& operator=(const basic_guarded_word&) = delete;

    // The state, and perhaps the lock bit. Any thread.
    std::uint64_t load(std::memory_order order = std::memory_order_acquire) const noexcept {  // P1
        return word_.load(order);
    }

    // A fast path: from `seen` to `next`, if that is the word and it is not locked. Otherwise `seen` is what was found.
    // May fail for no reason. Any thread.
    [[nodiscard]] bool try_change(std::uint64_t& seen, std::uint64_t next, std::memory_order order) noexcept {
        return !(seen & locked) && word_.compare_exchange_weak(seen, next, order, std::memory_order_relaxed);  // P1
    }
    // The same, and never fails for no reason. Requires: `expected` is unlocked.
    [[nodiscard]] bool change(std::uint64_t expected, std::uint64_t next, std::memory_order order) noexcept {
        return word_.compare_exchange_strong(expected, next, order, std::memory_order_relaxed);  // P1
    }

    // Returns the state. Until unlock() it is the caller's. Any thread; nothing that parks, allocates or calls out.
    [[nodiscard]] std::uint64_t lock() noexcept {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while (!try_change(seen, seen | locked, std::memory_order_acquire)) {
            if (!(seen & locked)) continue;
            Spin::until([this] { return !(word_.load(std::memory_order_relaxed) & locked); });
            seen = word_.load(std::memory_order_relaxed);
        }
        return seen;
    }

    // Publishes and releases. The holder of the lock. Requires: `state` is unlocked.
    void unlock(std::uint64_t state) noexcept { word_.store(state, std::memory_order_release); }  // P1

 private:
    Atomic<std::uint64_t> word_;
};

using guarded_word = basic_guarded_word<>;

// A held guarded_word in the shape of a std lock: what unlock() publishes is `state`. For wait_queue.
template <class Word>
struct basic_word_holder {
    Word& word;
    std::uint64_t state;

    void lock() noexcept { state = word.lock(); }
    void unlock() noexcept { word.unlock(state); }
};

using word_holder = basic_word_holder<guarded_word>;

}  // namespace fiber::engine
