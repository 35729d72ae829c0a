// What a runtime is made of: the scheduler, and what belongs to the vocabulary rather than to the engine. Every
// scheduler of the process is the base of one of these. Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <string>

#include "fiber/detail/later_calls.hpp"
#include "fiber/unretrieved.hpp"
#include "scheduler/core/offload_pool.hpp"
#include "scheduler/core/scheduler.hpp"

namespace fiber::detail {

// How long the end of a run waits for calls that still block. A variable only so that a test need not wait as long.
inline std::atomic<engine::nanos> offload_grace{
    30'000'000'000};  // asyncio waits 5 minutes; a hang at exit helps nobody

class runtime_state : public engine::scheduler {
 public:
    runtime_state(engine::scheduler::options engine, std::size_t offload_threads,
                  const unretrieved_exception_handler& handler);
    ~runtime_state();

    // That of the calling fiber. Throws usage_error outside a runtime.
    static runtime_state& current();

    // The pool for blocking calls; made when it is first asked for. Throws std::bad_alloc.
    std::shared_ptr<engine::offload_pool> offload();
    std::size_t running_offload_threads() const noexcept;
    // Waits for running calls for a while, then says on stderr that it left them behind.
    void stop_offload() noexcept;

    // What the get() of a task throws that could not be started, and `why`; std::bad_alloc if there is no memory for
    // the words. One object for all that fail for the same reason: where memory is short, an exception for each would
    // use up what the C++ runtime has in store for exceptions, and then the program ends.
    std::exception_ptr start_failure(const char* why) noexcept;

    // Calls that wait for their time.
    const std::shared_ptr<later_calls>& later() const noexcept { return later_; }

 private:
    const std::size_t offload_threads_;
    mutable std::mutex lock_;
    std::shared_ptr<engine::offload_pool> pool_;
    std::string start_failure_why_;
    std::exception_ptr start_failure_;
    std::exception_ptr no_memory_;
    const std::shared_ptr<later_calls> later_ = std::make_shared<later_calls>();
};

}  // namespace fiber::detail
