// Running it all: asyncio.run and asyncio.Runner (https://docs.python.org/3/library/asyncio-runner.html).
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "fiber/task.hpp"
#include "fiber/unretrieved.hpp"

namespace fiber {

namespace detail {
class runtime_state;
}

// An aggregate: run({.workers = 4}, f).
struct runtime_options {
    unsigned workers = 0;  // OS threads that run fibers; 0: one per available CPU (affinity and cgroup quota)
    std::size_t stack_size = 256 * 1024;  // bytes promised to each task; a multiple of the page size
    std::size_t offload_threads = 0;      // at most so many OS threads for blocking calls; 0: min(32, CPUs + 4)
    std::string_view name = "fiber";      // copied; the threads' names begin with it
    unretrieved_exception_handler on_unretrieved_exception = {};  // none: the process-wide handler
    bool virtual_time = false;  // for tests: time stands still while anything runs, and jumps to the next timer
};

// What a runtime holds right now. Exact while nothing runs.
struct runtime_statistics {
    std::size_t tasks = 0;            // spawned and unfinished
    std::size_t stacks_in_use = 0;    // lent to workers and parked fibers
    std::size_t timers = 0;           // armed
    std::size_t offload_threads = 0;  // alive
};

// A scheduler with its threads, timers and stacks. Several may live in one process, at once or one after the other.
class runtime {
 public:
    // Starts no thread yet. Throws invalid_option, std::bad_alloc.
    explicit runtime(const runtime_options& options = {});
    // Requires: run() is not running. Tasks that were handed in and never ran end as cancelled.
    ~runtime();
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;

    // Calls f as the main task and returns its value or throws its exception, after everything else was cancelled and
    // waited for. The calling thread is worker 0. May be called again afterwards. A plain thread: throws usage_error on
    // a fiber and while another run() of this runtime is active. Throws std::system_error when a thread, std::bad_alloc
    // when a stack (what() names the limit that was hit) or memory cannot be had; then f was not called.
    template <class F>
    decltype(auto) run(F&& f, engine::call_site site = engine::call_site::current()) {
        check_can_run();
        auto main = detail::build_task({.name = "main", .site = site}, &scheduler(), std::forward<F>(f));
        run_main(main.slot());
        return main.get();
    }

    // Starts a task from any thread: asyncio.run_coroutine_threadsafe. Before the first run() the task waits for that;
    // if it is cancelled by then, get(), wait() and the destructor of its handle end it on the spot. Never waits
    // itself. The place of the call is not recorded.
    // Throws runtime_stopped once run() is ending, until the next; what copying the callable throws; std::bad_alloc.
    template <class F, class... A>
    requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>
    auto spawn(F&& f, A&&... args) {
        return spawn(spawn_options{.site = {}}, std::forward<F>(f), std::forward<A>(args)...);
    }
    template <class F, class... A>
    requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>
    auto spawn(spawn_options options, F&& f, A&&... args) {
        auto made = detail::build_task(options, &scheduler(), std::forward<F>(f), std::forward<A>(args)...);
        detail::submit(made.slot());
        return made;
    }

    // Calls f soon, as a task of its own that nobody holds: asyncio's call_soon_threadsafe. Throws as spawn() does.
    template <class F, class... A>
    void post(F&& f, A&&... args) {
        spawn(std::forward<F>(f), std::forward<A>(args)...).detach();
    }

    // Any thread. Never waits.
    runtime_statistics statistics() const;

    // The number of workers that the options came to. Any thread.
    unsigned workers() const noexcept;

 private:
    engine::scheduler& scheduler() noexcept;
    void check_can_run() const;
    void run_main(engine::task_slot& main);

    detail::runtime_state* const state_;
};

// Makes a runtime, runs f on it, and gives everything back: asyncio.run. A plain thread. Returns and throws as
// runtime::run(); invalid_option besides.
template <class F>
decltype(auto) run(const runtime_options& options, F&& f, engine::call_site site = engine::call_site::current()) {
    runtime made(options);
    return made.run(std::forward<F>(f), site);
}
template <class F>
requires std::is_invocable_v<std::decay_t<F>>
decltype(auto) run(F&& f, engine::call_site site = engine::call_site::current()) {
    return run(runtime_options{}, std::forward<F>(f), site);
}

}  // namespace fiber
