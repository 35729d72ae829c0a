#include "fiber/offload.hpp"

#include <mutex>

#include "fiber/detail/runtime_state.hpp"
#include "fiber/this_fiber.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

namespace {

constexpr std::size_t most_threads = 16'384;

// Parks until the pool says that its queue has room again.
class room_waiter : engine::space_waiter {
 public:
    explicit room_waiter(engine::offload_pool& pool) noexcept : space_waiter(&notified), pool_(pool) {}

    void wait() {
        self_.begin(engine::interruptible::yes);
        if (!pool_.wait_for_space(*this) && self_.claim(engine::wake_reason::notified)) self_.complete();
        if (self_.wait() == engine::wake_reason::cancelled) {
            pool_.cancel_wait(*this);
            this_fiber::check_cancelled();
        }
    }

 private:
    static void notified(engine::space_waiter* self) noexcept {
        engine::waiter& waiting = static_cast<room_waiter*>(self)->self_;
        if (waiting.claim(engine::wake_reason::notified)) waiting.complete();
    }

    engine::offload_pool& pool_;
    engine::waiter self_;
};

}  // namespace

namespace detail {

std::shared_ptr<engine::offload_pool> current_offload_pool() { return detail::runtime_state::current().offload(); }

void offloaded::submit() {
    for (;;) {
        switch (pool->submit(*this)) {
            case engine::submit_verdict::accepted:
                return;
            case engine::submit_verdict::stopped:
                throw runtime_stopped("fiber: the thread pool was shut down; it takes no more calls");
            case engine::submit_verdict::full:
                room_waiter(*pool).wait();
        }
    }
}

bool offloaded::withdraw() noexcept { return pool->withdraw(*this); }

}  // namespace detail

thread_pool::thread_pool(std::size_t threads) {
    if (threads > most_threads) {
        throw invalid_option("fiber: thread_pool(" + std::to_string(threads) + "): at most " +
                             std::to_string(most_threads) + " threads");
    }
    pool_ =
        std::make_shared<engine::offload_pool>(engine::offload_pool::options{.max_threads = threads, .name = "pool"});
}

// In a call of its own it cannot wait for that call: the threads go on alone, and end with their calls.
thread_pool::~thread_pool() { (void)pool_->shutdown(pool_->runs_caller() ? 0 : engine::never, engine::leftover::drop); }

void thread_pool::shutdown() {
    if (pool_->runs_caller()) {
        throw usage_error("fiber: thread_pool::shutdown() was called by a call of that pool: it would wait for itself");
    }
    (void)pool_->shutdown(engine::never, engine::leftover::run);
}

}  // namespace fiber
