// A timer: a wheel's node and what to do when its deadline has come. Lives in the frame of whoever arms it, which must
// not end before timer_queue::cancel() has returned, or the timer has expired.
#pragma once

#include <atomic>

#include "scheduler/core/wait.hpp"
#include "scheduler/time/timer_node.hpp"

namespace fiber::engine {

class timer_queue;

class timer : public timer_node {
 public:
    // Called on a worker without any lock. For timers that do more than to wake. Must not park, nor cancel its own
    // timer. Returns whether the node still exists.
    using call_callback = bool (*)(timer&) noexcept;

    // One that only wakes: claims `who` as timed out, under the queue's lock.
    explicit timer(waiter& who) noexcept : who_(&who) {}
    explicit timer(call_callback call) noexcept : call_(call) {}

 private:
    friend class timer_queue;

    waiter* who_ = nullptr;
    call_callback call_ = nullptr;
    timer_queue* armed_in_ = nullptr;
    timer* next_call_ = nullptr;
    std::atomic<bool> calling_{false};
};

}  // namespace fiber::engine
