// What the tests of the offload pool share: gates, jobs that count how they ended, a pool that is held up.
#pragma once

#include <atomic>
#include <doctest/doctest.h>
#include <functional>
#include <future>
#include <thread>
#include <utility>

#include "scheduler/core/offload_pool.hpp"

namespace offload_test {

using namespace fiber::engine;

inline constexpr nanos ms = 1'000'000;

// Opened once; holds everyone up to then. Any thread.
class gate {
 public:
    void open() { opened_.set_value(); }
    void pass() const { seen_.wait(); }

 private:
    std::promise<void> opened_;
    std::shared_future<void> seen_ = opened_.get_future().share();
};

// A job that calls a function and counts how it ended.
struct call : offload_job {
    call() : offload_job(&call::run_it, &call::drop_it) {}
    explicit call(std::function<void()> what) : call() { body = std::move(what); }

    static void run_it(offload_job* job) noexcept {
        auto* self = static_cast<call*>(job);
        if (self->body) self->body();
        self->ran.fetch_add(1);  // the last touch: whoever waits for it may destroy the call
    }
    static void drop_it(offload_job* job) noexcept { static_cast<call*>(job)->dropped.fetch_add(1); }

    std::function<void()> body;
    std::atomic<int> ran{0};
    std::atomic<int> dropped{0};
};

template <class Condition>
void poll(Condition condition) {
    while (!condition()) std::this_thread::yield();
}

inline void submit(offload_pool& pool, offload_job& job) { REQUIRE(pool.submit(job) == submit_verdict::accepted); }

inline offload_pool::options with_threads(std::size_t count) { return {.max_threads = count}; }

// A pool whose one thread is held up by a job, until the end at the latest.
struct busy_pool {
    explicit busy_pool(offload_pool::options options) : pool((options.max_threads = 1, options)) {
        blocker.body = [this] {
            entered.open();
            leave.pass();
        };
        submit(pool, blocker);
        entered.pass();
    }
    ~busy_pool() { let_go(); }
    void let_go() {
        if (!std::exchange(gone, true)) leave.open();
    }

    gate entered, leave;
    bool gone = false;
    call blocker;
    offload_pool pool;
};

struct waiting : space_waiter {
    waiting() : space_waiter([](space_waiter* self) noexcept { static_cast<waiting*>(self)->notified.fetch_add(1); }) {}
    std::atomic<int> notified{0};
};

}  // namespace offload_test
