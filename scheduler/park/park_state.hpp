// Who wakes a parked fiber or thread: one word, one winner.
// Each task, and each plain thread that waits, owns one park_state for life. Every wait is a new epoch of it, so that a
// wake meant for an earlier wait is a harmless no-op.
//
// The word: epoch in the high half; in the low half the bits
//   waiting      a wait of this epoch is open
//   cancellable  task cancellation may claim it
//   claimed      someone has won the right to end the wait; the reason stands beside it
//   left         the waiter has left its stack (a thread: is about to sleep) and may be enqueued by another
//   complete     the winner has finished writing what it hands over
//
//   begin -> [claim -> complete] and [commit] in either order -> finish
//
// Invariant: of complete() and commit() exactly one, the later, owns the duty to make the waiter runnable. So nobody
// runs on a stack that is still in use, and the winner may write into the waiter's frame between claim() and
// complete().
//
// Orders, by pair:
//   P1  commit: RMW  ->  claim: acquire CAS. The winner sees the whole saved context.
//   P2  complete: RMW  ->  commit: RMW. The waiter sees what was handed over. If claim() saw `left`, whatever makes the
//       waiter runnable (a queue's release, the futex word) carries this instead.
//   P3  commit: seq_cst RMW, then load of the task's cancel request  <>  cancel request: seq_cst RMW, then
//       claim_cancel(). One of them sees the other: no cancellation is slept through.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "scheduler/base/atomic.hpp"
#include "scheduler/base/check.hpp"

namespace fiber::engine {

using park_epoch = std::uint32_t;

enum class wake_reason : std::uint8_t { none, notified, timed_out, cancelled };
enum class claim_verdict : std::uint8_t { lost, won_before_leaving, won_after_leaving };
enum class commit_verdict : std::uint8_t {
    parked,
    runnable
};  // runnable: a complete wake came first; the duty is the committer's
enum class complete_verdict : std::uint8_t { leave, enqueue };  // leave: the duty is the committer's

template <template <class> class Atomic = atomic>
class basic_park_state {
 public:
    // Opens a wait. Owner only. Requires: no wait is open.
    // A plain store: between waits nobody else writes the word, for every claim asks for `waiting` and its epoch.
    park_epoch begin(bool cancellable) noexcept {
        const std::uint64_t old = word_.load(std::memory_order_relaxed);
        FIBER_ASSERT((old & waiting_bit) == 0);
        const std::uint64_t next = (old & epoch_mask) + epoch_one;
        word_.store(next | waiting_bit | (cancellable ? cancellable_bit : 0), std::memory_order_release);
        return static_cast<park_epoch>(next >> 32);
    }

    // Tries to win the open wait `epoch`. Any thread. The winner must call complete().
    [[nodiscard]] claim_verdict claim(park_epoch epoch, wake_reason reason) noexcept {
        std::uint64_t seen = word_.load(std::memory_order_relaxed);
        while ((seen >> 32) == epoch && (seen & (waiting_bit | claimed)) == waiting_bit) {
            if (try_claim(seen, reason)) return verdict_of(seen);
        }
        return claim_verdict::lost;
    }

    // Tries to win whatever cancellable wait is open, if still_wanted() holds after the word was read: the epoch that
    // was read then belongs to the task that is meant. Any thread.
    template <class Predicate>
    [[nodiscard]] claim_verdict claim_cancel(Predicate still_wanted) noexcept {
        constexpr std::uint64_t asked = waiting_bit | cancellable_bit;
        std::uint64_t seen = word_.load(std::memory_order_seq_cst);  // P3
        while ((seen & (asked | claimed)) == asked && still_wanted()) {
            if (try_claim(seen, wake_reason::cancelled)) return verdict_of(seen);
        }
        return claim_verdict::lost;
    }

    // Ends the winner's part; afterwards the waiter's frame belongs to the waiter again. The winner only, once.
    [[nodiscard]] complete_verdict complete(claim_verdict won) noexcept {
        if (won == claim_verdict::won_after_leaving) return complete_verdict::enqueue;
        return (word_.fetch_or(complete_bit, std::memory_order_acq_rel) & left) ? complete_verdict::enqueue  // P2
                                                                                : complete_verdict::leave;
    }

    // Says that the waiter's stack is free. Whoever runs next on the worker that the waiter left; for a thread, itself.
    [[nodiscard]] commit_verdict commit() noexcept {
        return (word_.fetch_or(left, std::memory_order_seq_cst) & complete_bit) ? commit_verdict::runnable  // P1 P2 P3
                                                                                : commit_verdict::parked;
    }

    // Closes the wait and says how it ended. Owner only, after it was made runnable.
    wake_reason finish() noexcept {
        const std::uint64_t seen = word_.load(std::memory_order_acquire);
        FIBER_ASSERT(seen & claimed);
        word_.store(seen & epoch_mask, std::memory_order_relaxed);
        return static_cast<wake_reason>((seen >> reason_shift) & 0xff);
    }

    // For a thread's sleep: publishes completion in the futex word. The winner only, instead of complete().
    void complete_for_thread() noexcept { word_.fetch_or(complete_bit, std::memory_order_release); }
    bool completed() const noexcept { return word_.load(std::memory_order_acquire) & complete_bit; }

    // Is a wait open? Has somebody won it, and the waiter not run since? Any thread. Hints.
    bool waiting() const noexcept { return word_.load(std::memory_order_relaxed) & waiting_bit; }
    bool woken() const noexcept { return word_.load(std::memory_order_relaxed) & claimed; }

    // The half of the word that a sleeping thread's futex looks at, and its value while the wait is not complete.
    const std::atomic<std::uint32_t>* futex_word() const noexcept {
        static_assert(std::endian::native == std::endian::little);
        return reinterpret_cast<const std::atomic<std::uint32_t>*>(&word_);  // only its address is used, by the kernel
    }
    std::uint32_t futex_value() const noexcept {
        return static_cast<std::uint32_t>(word_.load(std::memory_order_acquire));
    }

 private:
    static constexpr std::uint64_t waiting_bit = 1;
    static constexpr std::uint64_t cancellable_bit = 2;
    static constexpr std::uint64_t claimed = 4;
    static constexpr std::uint64_t left = 8;
    static constexpr std::uint64_t complete_bit = 16;
    static constexpr int reason_shift = 8;
    static constexpr std::uint64_t epoch_one = std::uint64_t{1} << 32;
    static constexpr std::uint64_t epoch_mask = ~(epoch_one - 1);

    bool try_claim(std::uint64_t& seen, wake_reason reason) noexcept {
        const std::uint64_t next = seen | claimed | (static_cast<std::uint64_t>(reason) << reason_shift);
        return word_.compare_exchange_weak(seen, next, std::memory_order_seq_cst, std::memory_order_relaxed);  // P1
    }

    static claim_verdict verdict_of(std::uint64_t seen) noexcept {
        return (seen & left) ? claim_verdict::won_after_leaving : claim_verdict::won_before_leaving;
    }

    Atomic<std::uint64_t> word_{0};
};

using park_state = basic_park_state<>;

}  // namespace fiber::engine
