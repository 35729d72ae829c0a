#include "fiber/detail/runtime_state.hpp"

#include <cstdio>
#include <string>
#include <utility>

#include "fiber/error.hpp"
#include "scheduler/core/worker.hpp"

namespace fiber::detail {

runtime_state::runtime_state(engine::scheduler::options engine, std::size_t offload_threads,
                             const unretrieved_exception_handler& handler)
    : scheduler(std::move(engine)), offload_threads_(offload_threads) {
    if (handler) tasks().set_companion(std::make_shared<unretrieved_exception_handler>(handler));
}

runtime_state::~runtime_state() { stop_offload(); }

runtime_state& runtime_state::current() {
    engine::worker* here = engine::worker::current();
    if (here == nullptr) throw usage_error("fiber: this needs a runtime: call it on a fiber, inside run()");
    return static_cast<runtime_state&>(here->home());
}

std::shared_ptr<engine::offload_pool> runtime_state::offload() {
    std::lock_guard guard(lock_);
    if (pool_ == nullptr) {
        const std::string name = settings().name.substr(0, 7) + "/off";
        pool_ = std::make_shared<engine::offload_pool>(
            engine::offload_pool::options{.max_threads = offload_threads_, .name = name.c_str()});
    }
    return pool_;
}

std::size_t runtime_state::running_offload_threads() const noexcept {
    std::lock_guard guard(lock_);
    return pool_ != nullptr ? pool_->statistics().threads : 0;
}

std::exception_ptr runtime_state::start_failure(const char* why) noexcept {
    std::lock_guard guard(lock_);
    if (start_failure_ != nullptr && start_failure_why_ == why) return start_failure_;
    try {
        start_failure_why_ = why;
        start_failure_ = nullptr;
        start_failure_ =
            std::make_exception_ptr(start_error("fiber: a task could not be started: " + start_failure_why_));
    } catch (const std::bad_alloc&) {
        if (no_memory_ == nullptr) no_memory_ = std::current_exception();
        return no_memory_;
    }
    return start_failure_;
}

void runtime_state::stop_offload() noexcept {
    std::shared_ptr<engine::offload_pool> last;
    {
        std::lock_guard guard(lock_);
        last = std::exchange(pool_, nullptr);
    }
    if (last == nullptr) return;
    const engine::nanos grace = offload_grace.load(std::memory_order_relaxed);
    if (!last->shutdown(engine::saturating_add(engine::monotonic_now(), grace), engine::leftover::drop)) {
        std::fprintf(stderr,
                     "fiber: blocking calls still ran %g s after run() ended; they go on alone on %zu threads\n",
                     static_cast<double>(grace) / 1e9, last->statistics().threads);
    }
}

}  // namespace fiber::detail
