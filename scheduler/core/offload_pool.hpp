// The elastic pool of OS threads for calls that block. It knows nothing of fibers: a job is a function to run.
// Owner: whoever submits, one pool per runtime or one of the user's own. Its threads share ownership of the inner
// state, so that a call which outlives the pool still has firm ground under it. Thread safety: all members, from any
// thread, unless they say otherwise. Invariants:
//   - A queued job implies a thread that will come to the queue, or that all of max_threads are busy.
//   - Each accepted job ends in exactly one of: run, drop, withdraw() == true.
#pragma once

#include <cstddef>
#include <cstdint>
#include <pthread.h>

#include "scheduler/base/clock.hpp"
#include "scheduler/base/intrusive_list.hpp"

namespace fiber::engine {

// Must stay valid until run or drop has been called (either may destroy it) or withdraw() has returned true.
struct offload_job : list_node {
    using function = void (*)(offload_job*) noexcept;

    offload_job() = default;
    offload_job(function to_run, function to_drop) noexcept : run(to_run), drop(to_drop) {}

    function run = nullptr;   // on a thread of the pool
    function drop = nullptr;  // instead of run, when the pool shuts down; on the thread that shuts down
};

// One-shot: whoever found the queue full learns that there is room again.
struct space_waiter : list_node {
    using function = void (*)(space_waiter*) noexcept;

    space_waiter() = default;
    explicit space_waiter(function to_notify) noexcept : notify(to_notify) {}

    // Called once, on any thread that uses the pool, under a lock of the pool: may wake a fiber or a thread, must not
    // call the pool. May destroy the waiter.
    function notify = nullptr;
};

enum class submit_verdict : std::uint8_t {
    accepted,
    full,     // queue_limit jobs wait: try again after a space_waiter's notify
    stopped,  // shutdown() was called
};

// What shutdown() does with the jobs that no thread has begun.
enum class leftover : std::uint8_t { run, drop };

class offload_pool {
 public:
    using thread_starter = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);

    struct options {
        // 0: asyncio's default, min(32, available_cpus() + 4): blocking calls mostly wait, so more than one per
        // processor; yet a server with many processors should not start hundreds of threads for them.
        std::size_t max_threads = 0;
        // More waiting calls than this mean that the pool cannot keep up, and the callers should feel it: each costs a
        // parked fiber's memory, at 65,536 some 300 MB. Small enough to bound that, too large to be met by a mere
        // burst.
        std::size_t queue_limit = 65'536;
        nanos idle_timeout = 10'000'000'000;
        const char* name = "offload";  // of the threads, with a number behind; 11 characters are shown
        thread_starter start_thread = ::pthread_create;  // so that a test can make it fail
    };

    struct statistics_snapshot {
        std::size_t threads;  // exist
        std::size_t idle;     // of these, wait for a job
        std::size_t queued;   // jobs that no thread has begun
    };

    // Starts no thread. Throws std::bad_alloc.
    explicit offload_pool(const options& chosen);
    offload_pool(const offload_pool&) = delete;
    offload_pool& operator=(const offload_pool&) = delete;
    // shutdown(never, leftover::drop), unless shutdown() was called before.
    ~offload_pool();

    // Hands the job over; jobs begin in the order of submission. Starts a thread when all are busy and there may be
    // more. Throws std::system_error when a thread cannot be started and there is none: the job is not taken then. When
    // there are some, the job waits for one of them. Requires: job.run and job.drop are set; the job is not queued.
    [[nodiscard]] submit_verdict submit(offload_job& job);

    // Takes a waiting job back. True: the pool calls neither run nor drop, and no longer touches the job. False: it
    // runs, has run, or was dropped. Requires: the job was submitted to this pool, and is still valid.
    [[nodiscard]] bool withdraw(offload_job& job) noexcept;

    // After submit() said full. True: notify will be called as soon as there is room (or the pool has stopped), in the
    // order of waiting. False, and notify will not be called: there is room now, or the pool has stopped: submit again.
    // Room is not reserved: submit() may say full again. A waiter that then gives up blocks nobody.
    // Requires: waiter.notify is set; the waiter does not wait already.
    [[nodiscard]] bool wait_for_space(space_waiter& waiter) noexcept;

    // Takes a waiter back. True: notify will not be called. False: it has been called, and has returned.
    // Requires: the waiter is still valid.
    bool cancel_wait(space_waiter& waiter) noexcept;

    // Accepts no more jobs, has the waiting ones run or dropped, and waits until all calls have returned and all
    // threads have ended, until `deadline` (monotonic clock). True when they have. False when calls still run: their
    // threads go on alone, and end after the call; jobs that still wait are dropped. May be called again. Requires: not
    // called by a job of this pool.
    bool shutdown(nanos deadline, leftover waiting) noexcept;

    // Is the caller a job of this pool?
    bool runs_caller() const noexcept;

    statistics_snapshot statistics() const noexcept;

 private:
    struct shared_state;

    shared_state* const state_;
};

}  // namespace fiber::engine
