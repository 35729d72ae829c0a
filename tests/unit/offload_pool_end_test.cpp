// How the offload pool and its threads end, and how they fail to begin, on real threads.
#include <atomic>
#include <cerrno>
#include <doctest/doctest.h>
#include <memory>
#include <pthread.h>
#include <system_error>
#include <thread>
#include <vector>

#include "scheduler/core/offload_pool.hpp"
#include "tests/unit/offload_fixture.hpp"

using namespace offload_test;

namespace {

// pthread_create that fails with EAGAIN while told to.
std::atomic<bool> start_fails{false};
std::atomic<int> starts{0};
int start_or_fail(pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*), void* argument) {
    ++starts;
    return start_fails ? EAGAIN : ::pthread_create(thread, attributes, function, argument);
}
offload_pool::options with_faults(std::size_t count) {
    start_fails = false;
    starts = 0;
    return {.max_threads = count, .start_thread = start_or_fail};
}

}  // namespace

TEST_CASE("offload_pool: shutdown drops what waits, when told to") {
    busy_pool busy({.queue_limit = 2});
    call first, second, late;
    waiting waiter;
    submit(busy.pool, first);
    submit(busy.pool, second);
    REQUIRE(busy.pool.wait_for_space(waiter));
    std::thread closer([&] { CHECK(busy.pool.shutdown(never, leftover::drop)); });
    poll([&] { return second.dropped == 1; });
    CHECK(first.dropped == 1);
    CHECK(busy.pool.submit(late) == submit_verdict::stopped);
    poll([&] { return waiter.notified == 1; });
    CHECK_FALSE(busy.pool.wait_for_space(waiter));
    busy.let_go();
    closer.join();
    CHECK(busy.blocker.ran == 1);
    CHECK(first.ran + second.ran + late.ran + late.dropped == 0);
    CHECK(busy.pool.shutdown(never, leftover::drop));
    CHECK(busy.pool.statistics().threads == 0);
}

TEST_CASE("offload_pool: shutdown of a pool that was never used, and twice") {
    offload_pool pool(with_threads(2));
    CHECK(pool.shutdown(0, leftover::run));
    CHECK(pool.shutdown(never, leftover::drop));
    call job;
    CHECK(pool.submit(job) == submit_verdict::stopped);
}

TEST_CASE("offload_pool: a call that outlives the pool runs on and ends in peace") {
    auto entered = std::make_shared<gate>();
    auto leave = std::make_shared<gate>();
    auto job = std::make_shared<call>([entered, leave] {
        entered->open();
        leave->pass();
    });
    call waits;
    {
        offload_pool pool(with_threads(1));
        submit(pool, *job);
        entered->pass();
        submit(pool, waits);
        CHECK_FALSE(pool.shutdown(monotonic_now() + ms, leftover::run));
        CHECK(waits.dropped == 1);
        CHECK(pool.statistics().threads == 1);
    }
    leave->open();
    poll([&] { return job->ran == 1; });
    CHECK(waits.ran == 0);
}

TEST_CASE("offload_pool: a second shutdown sees the calls end that the first one gave up on") {
    busy_pool busy({});
    CHECK_FALSE(busy.pool.shutdown(0, leftover::run));
    busy.let_go();
    CHECK(busy.pool.shutdown(never, leftover::run));
    CHECK(busy.blocker.ran == 1);
}

TEST_CASE("offload_pool: the destructor waits for running calls and drops the others") {
    call waits;
    std::atomic<bool> finished{false};
    {
        gate entered;
        call job([&] {
            entered.open();
            poll([&] { return waits.dropped == 1; });
            finished = true;
        });
        offload_pool pool(with_threads(1));
        submit(pool, job);
        entered.pass();
        submit(pool, waits);
    }
    CHECK(finished);
    CHECK(waits.ran == 0);
}

TEST_CASE("offload_pool: idle threads end after their time, and new ones are started when needed") {
    offload_pool::options options = with_threads(4);
    options.idle_timeout = ms;
    offload_pool pool(options);
    for (int round = 0; round < 3; ++round) {
        gate leave;
        std::atomic<int> running{0};
        std::vector<std::unique_ptr<call>> jobs;
        for (int i = 0; i < 4; ++i) {
            jobs.push_back(std::make_unique<call>([&] {
                ++running;
                leave.pass();
            }));
            submit(pool, *jobs.back());
        }
        poll([&] { return running == 4; });
        leave.open();
        poll([&] { return pool.statistics().threads == 0; });
        for (auto& job : jobs) CHECK(job->ran == 1);
    }
}

TEST_CASE("offload_pool: threads that end at once lose no job") {
    offload_pool::options options = with_threads(3);
    options.idle_timeout = 0;
    offload_pool pool(options);
    for (int i = 0; i < 300; ++i) {
        call a, b;
        submit(pool, a);
        submit(pool, b);
        poll([&] { return a.ran == 1 && b.ran == 1; });
    }
}

TEST_CASE("offload_pool: when no thread can be started at all, the call fails and the job is not taken") {
    offload_pool pool(with_faults(2));
    start_fails = true;
    call job;
    try {
        static_cast<void>(pool.submit(job));
        FAIL("must throw");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::resource_unavailable_try_again);
    }
    CHECK_FALSE(job.linked());
    CHECK_FALSE(pool.withdraw(job));
    CHECK(pool.statistics().threads == 0);
    CHECK(pool.statistics().queued == 0);
    start_fails = false;
    submit(pool, job);  // the same job, once there is room for a thread
    CHECK(pool.shutdown(never, leftover::run));
    CHECK(job.ran == 1);
    CHECK(job.dropped == 0);
}

TEST_CASE("offload_pool: when a further thread cannot be started, jobs wait for the one there is") {
    offload_pool pool(with_faults(4));
    gate entered, leave;
    call blocker([&] {
        entered.open();
        leave.pass();
    });
    submit(pool, blocker);
    entered.pass();
    start_fails = true;
    call first, second;
    submit(pool, first);
    CHECK(starts >= 2);  // more on a machine so slow that the pause after the failure was over at once
    CHECK(pool.statistics().threads == 1);
    submit(pool, second);
    CHECK(pool.statistics().queued == 2);
    leave.open();
    CHECK(pool.shutdown(never, leftover::run));
    CHECK(first.ran == 1);
    CHECK(second.ran == 1);
}

// The only thread had nothing to do while a caller was starting a second one, and ended. A third caller counted on that
// second thread and queued its job; the start failed, and nobody was left to run the job.
TEST_CASE("offload_pool: the only thread does not end while the start of another is undecided") {
    static offload_pool* pool;
    static gate* leave;
    static call* first;
    static call* late;
    starts = 0;
    const auto start_slowly = [](pthread_t* thread, const pthread_attr_t* attributes, void* (*function)(void*),
                                 void* argument) {
        if (++starts != 2) return ::pthread_create(thread, attributes, function, argument);
        leave->open();
        poll([] { return first->ran == 1; });
        const nanos long_enough = monotonic_now() + 30 * ms;  // for a thread to end, if it did so wrongly
        poll([&] { return pool->statistics().threads == 1 || monotonic_now() > long_enough; });
        submit(*pool, *late);
        return EAGAIN;
    };
    gate entered, gate_out;
    call blocker([&] {
        entered.open();
        gate_out.pass();
    });
    call waits, comes_late;
    offload_pool slow({.max_threads = 2, .idle_timeout = ms, .start_thread = start_slowly});
    pool = &slow;
    leave = &gate_out;
    first = &waits;
    late = &comes_late;
    submit(slow, blocker);
    entered.pass();
    submit(slow, waits);
    poll([&] { return comes_late.ran == 1; });
    CHECK(starts >= 2);
}

TEST_CASE("offload_pool: after a failed start it tries again, though not with every call") {
    offload_pool pool(with_faults(2));
    gate entered, leave;
    call blocker([&] {
        entered.open();
        leave.pass();
    });
    submit(pool, blocker);
    entered.pass();
    start_fails = true;
    call first;
    submit(pool, first);
    const int failed_at = starts;
    start_fails = false;
    // Calls come again and again, as they do in a busy program; none of them can run on the first thread.
    poll([&] {
        call another;
        submit(pool, another);
        if (!pool.withdraw(another)) poll([&] { return another.ran == 1; });
        return first.ran == 1;
    });
    CHECK(starts == failed_at + 1);
    leave.open();
    CHECK(pool.shutdown(never, leftover::run));
}

TEST_CASE("offload_pool: many first calls at once, while threads can be started only now and then") {
    for (int round = 0; round < 20; ++round) {
        offload_pool pool(with_faults(4));
        start_fails = true;
        std::vector<std::unique_ptr<call>> jobs;
        for (int i = 0; i < 4; ++i) jobs.push_back(std::make_unique<call>());
        std::atomic<int> taken{0};
        std::vector<std::thread> callers;
        for (auto& job : jobs) {
            callers.emplace_back([&pool, &taken, job = job.get()] {
                for (;;) {
                    try {
                        if (pool.submit(*job) == submit_verdict::accepted) ++taken;
                        return;
                    } catch (const std::system_error&) {
                        start_fails = !start_fails;
                    }
                }
            });
        }
        for (std::thread& caller : callers) caller.join();
        CHECK(pool.shutdown(never, leftover::run));
        CHECK(taken == 4);
        for (auto& job : jobs) CHECK(job->ran == 1);
    }
}
