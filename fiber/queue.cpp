#include "fiber/queue.hpp"

namespace fiber::detail {

void throw_queue_shutdown() { throw queue_shutdown("fiber: the queue was shut down"); }

bool queue_joiners::wait_and_unlock(engine::spin_lock& lock) {
    switch (waiting_.wait_and_unlock(lock, engine::never, engine::interruptible::yes)) {
        case engine::wait_verdict::notified:
            return true;
        default:
            cancellation_point();
            return false;
    }
}

void queue_joiners::throw_too_often() {
    throw usage_error("fiber: task_done() was called more often than items were put into the queue");
}

}  // namespace fiber::detail
