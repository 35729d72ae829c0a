// What a runtime is made of: the scheduler, and what belongs to the vocabulary rather than to the engine. Every
// scheduler of a process is the base of one of these.
#pragma once

#include <memory>
#include <mutex>

#include "fiber/run.hpp"
#include "scheduler/core/offload_pool.hpp"
#include "scheduler/core/scheduler.hpp"

namespace fiber {

struct runtime::state : engine::scheduler {
    explicit state(const runtime_options& options);
    ~state();

    // The pool for blocking calls; made when it is first asked for. Throws std::bad_alloc, runtime_stopped.
    std::shared_ptr<engine::offload_pool> offload();
    // Waits for running calls for a while, then says on stderr that it left them behind.
    void stop_offload() noexcept;

    static state& of(engine::scheduler& base) noexcept { return static_cast<state&>(base); }
    static state& of(runtime& owner) noexcept { return *owner.state_; }
    // Throws usage_error outside a runtime.
    static state& current();

    const std::size_t offload_threads;
    mutable std::mutex offload_lock;
    std::shared_ptr<engine::offload_pool> offload_pool;
    std::string offload_name;
};

}  // namespace fiber
