#include "fiber/sleep.hpp"

#include <sched.h>

#include "fiber/this_fiber.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

void detail::after_turn() {
    const engine::worker* here = engine::worker::current();
    if (here == nullptr || here->current_task() == nullptr) {
        ::sched_yield();
    } else {
        this_fiber::check_cancelled();
    }
}

void detail::sleep_until_nanos(engine::nanos deadline) {
    this_fiber::check_cancelled();
    engine::waiter self;
    self.begin(engine::interruptible::yes);
    if (self.wait(deadline) == engine::wake_reason::cancelled) this_fiber::check_cancelled();
}

}  // namespace fiber
