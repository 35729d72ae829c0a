// What stands in a timer wheel: a link in the frame of whoever waits, and a deadline. Apart from the wheel, so that
// public headers can hold one without seeing how wheels work. Touched by the wheel alone while it is armed.
#pragma once

#include "scheduler/base/check.hpp"
#include "scheduler/base/clock.hpp"

namespace fiber::engine {

// The two links of a ring. A link that stands in no ring points to nothing.
struct timer_link {
    timer_link* next = nullptr;
    timer_link* prev = nullptr;
};

// Lives in the frame of whoever waits. Requires: not armed when it is destroyed.
class timer_node : private timer_link {
 public:
    timer_node() = default;
    timer_node(const timer_node&) = delete;
    timer_node& operator=(const timer_node&) = delete;
    ~timer_node() { FIBER_ASSERT(!armed()); }

    // The deadline of the latest arm().
    nanos deadline() const noexcept { return deadline_; }
    bool armed() const noexcept { return next != nullptr; }

 private:
    friend class timer_wheel;

    nanos deadline_ = never;
};

}  // namespace fiber::engine
