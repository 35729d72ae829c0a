// The calls of a runtime that wait for their time. A call's task is built when it is asked for and submitted when its
// time has come, so that nothing can fail by then.
//
// A call belongs to the list from schedule() until one of these takes it out: its timer, cancel(), the end of run().
// Whoever takes it out submits or drops the task.
#pragma once

#include <atomic>
#include <memory>

#include "scheduler/base/intrusive_list.hpp"
#include "scheduler/base/spin_lock.hpp"
#include "scheduler/core/timer_queue.hpp"

namespace fiber::detail {

class later_calls;

class later_call : public engine::timer, public engine::list_node {
 public:
    later_call(std::shared_ptr<later_calls> home, engine::scheduler& scheduler) noexcept
        : timer(&fired), home_(std::move(home)), scheduler_(scheduler) {}

    bool begin() noexcept;
    bool cancel() noexcept;
    void schedule(std::shared_ptr<later_call> self, engine::task_slot& slot, bool due, engine::nanos deadline) noexcept;

 private:
    friend class later_calls;
    enum class state : unsigned char { waiting, submitted, begun, cancelled };

    static bool fired(timer& self) noexcept;
    bool advance(state from, state to) noexcept;
    void make_submittable() noexcept;
    void drop_task() noexcept;

    const std::shared_ptr<later_calls> home_;
    engine::scheduler& scheduler_;
    engine::task_slot* slot_ = nullptr;
    std::shared_ptr<later_call> listed_;  // itself, while it stands in the list
    std::atomic<state> state_{state::waiting};
};

// Outlives the runtime as long as a call does. Any thread.
class later_calls {
 public:
    void add(later_call& call, std::shared_ptr<later_call> owner) noexcept;
    // nullptr: somebody else has taken it out. `disarm` for whoever is not its timer.
    std::shared_ptr<later_call> take_out(later_call& call, bool disarm) noexcept;
    // Drops what is left. Requires: no worker runs.
    void drop_all() noexcept;

 private:
    engine::spin_lock lock_;
    engine::intrusive_list<later_call> waiting_;
};

}  // namespace fiber::detail
