#include "fiber/sleep.hpp"

#include <sched.h>

#include "fiber/this_fiber.hpp"
#include "scheduler/core/current.hpp"
#include "scheduler/core/wait.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber {

void yield() {
    switch (engine::worker::yield()) {
        case engine::worker::yield_verdict::done:
            return;
        case engine::worker::yield_verdict::check: this_fiber::check_cancelled(); return;
        case engine::worker::yield_verdict::no_fiber:
            ::sched_yield();
    }
}

void detail::sleep_until_nanos(engine::nanos deadline) {
    this_fiber::check_cancelled();
    engine::waiter self;
    self.begin(engine::interruptible::yes);
    if (self.wait(deadline) == engine::wake_reason::cancelled) this_fiber::check_cancelled();
}

}  // namespace fiber
