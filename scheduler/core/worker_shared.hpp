// The part of a worker that other threads touch: its queues for thieves, its timers for whoever is idle, its place
// among the idle, its counters. Owned by the scheduler; everything else of a worker is its own thread's alone
// (worker.hpp).
#pragma once

#include <atomic>
#include <cstdint>

#include "scheduler/core/task.hpp"
#include "scheduler/core/timer_queue.hpp"
#include "scheduler/park/idle_set.hpp"
#include "scheduler/queue/deque.hpp"

namespace fiber::engine {

class alignas(cache_line) worker_shared {
 public:
    worker_shared(unsigned index, bool alone, nanos now)
        : index_(index), deque_(sharing_of(alone)), expired_(sharing_of(alone)), timers_(now) {}
    virtual ~worker_shared() = default;
    worker_shared(const worker_shared&) = delete;
    worker_shared& operator=(const worker_shared&) = delete;

    // --- Any thread ---

    unsigned index() const noexcept { return index_; }
    idle_member& idle_place() noexcept { return idle_; }
    bool work_visible() const noexcept { return !deque_.empty() || !expired_.empty(); }
    nanos next_timer() const noexcept { return timers_.next(); }
    std::size_t expire_timers(nanos now) noexcept { return timers_.expire(now); }
    std::size_t armed_timers() const noexcept { return timers_.size(); }
    std::uint64_t submitted() const noexcept { return submitted_.load(std::memory_order_seq_cst); }
    std::uint64_t finished() const noexcept { return finished_.load(std::memory_order_seq_cst); }

 protected:
    friend class worker;
    using task_queue = work_stealing_deque<task_slot>;

    static task_queue::sharing sharing_of(bool alone) noexcept {
        return alone ? task_queue::sharing::one_worker : task_queue::sharing::stealable;
    }

    const unsigned index_;
    alignas(cache_line) std::atomic<std::uint32_t> turn_{0};  // written by the owner only, as the two below
    std::atomic<std::uint64_t> submitted_{0};
    std::atomic<std::uint64_t> finished_{0};
    task_queue deque_;
    task_queue expired_;  // fibers whose timers have expired: they go first
    timer_queue timers_;
    idle_member idle_;
};

}  // namespace fiber::engine
