// In place of the library's header of this name: a worker that knows one fiber, of a virtual thread. When the fiber
// parks, the worker has nothing else to run: it commits the park, expires the fiber's timer if the time comes, and
// waits until somebody has made the fiber runnable. Queues do not exist here; a task that has not started is nobody's
// to take.
#pragma once

#include <memory>

#include "scheduler/base/atomic.hpp"
#include "scheduler/context/context.hpp"
#include "scheduler/core/lifecycle.hpp"
#include "scheduler/core/task.hpp"
#include "scheduler/core/timer_queue.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber::engine {

class worker {
 public:
    // Who expires the timers: this worker, while its fiber is parked, or whoever calls expire().
    enum class clock : bool { own, another };

    explicit worker(task_slot& fiber) : task_(fiber) {}

    static worker* current() noexcept;  // nullptr on a plain thread
    task_slot* current_task() const noexcept { return &task_; }
    exception_globals& exceptions() const noexcept { return *thread_exception_globals(); }

    static void park() noexcept;
    void arm(timer& node, nanos deadline) noexcept;
    bool run_out_of_turn(task_slot&, interruptible) noexcept { return false; }

    // --- for the model ---
    void time_may_come();
    void make_runnable();
    void expire();
    bool has_timer() const noexcept { return timers_->next() != never; }
    void set_clock(clock whose) {
        clock_ = whose;
        timers_ = std::make_unique<timer_queue>(0);
    }

 private:
    // Let through once by each open().
    class gate {
     public:
        gate() { model::detail::store(shut_, 1, std::memory_order_relaxed); }
        void open() { model::detail::store(shut_, 0, std::memory_order_release); }
        void pass() { model::detail::lock(shut_); }
        // false: nobody else can go on, and it is shut.
        bool wait_or_stall() {
            return model::wait_until_or_stalled([this] { return shut_.bits == 0; });
        }

     private:
        model::detail::cell shut_{model::detail::identity::moment};
    };

    task_slot& task_;
    gate turn_;
    guarded<bool> parked_ = false;  // its stack is saved, and nobody has made it runnable yet
    std::unique_ptr<timer_queue> timers_;
    clock clock_ = clock::own;
};

}  // namespace fiber::engine
