// A worker's timers: a timer wheel behind a lock, for a fiber that armed a timer here may cancel it from another
// worker, and an idle worker expires the timers of one that is stuck in a computation. Any thread. `next()` is read
// without the lock.
//
// A timer's node lives in the frame of whoever armed it. cancel() returns only when the queue no longer touches the
// node: firing happens under the lock, or, for a timer that calls out, cancel() waits for the end of the call.
#pragma once

#include <atomic>
#include <mutex>

#include "scheduler/base/clock.hpp"
#include "scheduler/base/spin_lock.hpp"
#include "scheduler/core/timer.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/time/timer_wheel.hpp"

namespace fiber::engine {

enum class arm_verdict : std::uint8_t { later, earliest };  // earliest: whoever waits for this queue must learn of it

class alignas(cache_line) timer_queue {
 public:
    explicit timer_queue(nanos now) : wheel_(now) {}

    [[nodiscard]] arm_verdict arm(timer& node, nanos deadline) noexcept {
        std::lock_guard guard(lock_);
        node.armed_in_ = this;
        wheel_.arm(node, deadline);
        const nanos before = next_.load(std::memory_order_relaxed);
        if (deadline >= before) return arm_verdict::later;
        next_.store(deadline,
                    std::memory_order_seq_cst);  // pairs with the look of a worker about to wait (idle set, P1)
        return arm_verdict::earliest;
    }

    // Disarms. false: it has expired, or its call has just ended. Does not return while its callback runs.
    static bool cancel(timer& node) noexcept {
        timer_queue* queue = node.armed_in_;
        return queue != nullptr && queue->cancel_here(node);
    }

    // Runs what is due. Returns how many. Wakes go to the calling worker's queue.
    std::size_t expire(nanos now) noexcept;

    // When expire() should be called next. Any thread.
    nanos next() const noexcept { return next_.load(std::memory_order_seq_cst); }

    std::size_t size() const noexcept {
        std::lock_guard guard(lock_);
        return wheel_.size();
    }

 private:
    bool cancel_here(timer& node) noexcept;

    mutable spin_lock lock_;
    std::atomic<nanos> next_{never};
    timer_wheel wheel_;
};

}  // namespace fiber::engine
