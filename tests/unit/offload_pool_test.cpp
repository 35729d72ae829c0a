// The offload pool's queue, growth and back-pressure, on real threads. Jobs wait for each other by gates, so that each
// test knows what runs when; only ends that nobody announces are waited for by polling.
#include "scheduler/core/offload_pool.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <doctest/doctest.h>
#include <future>
#include <memory>
#include <pthread.h>
#include <string>
#include <thread>
#include <vector>

#include "scheduler/core/cpu_count.hpp"
#include "tests/unit/offload_fixture.hpp"

using namespace offload_test;

TEST_CASE("offload_pool: no thread before the first job, and one thread serves jobs one after the other") {
    offload_pool pool(with_threads(4));
    CHECK(pool.statistics().threads == 0);
    std::vector<std::thread::id> where;
    for (int i = 0; i < 100; ++i) {
        call job([&] { where.push_back(std::this_thread::get_id()); });
        submit(pool, job);
        poll([&] { return job.ran == 1; });
        poll([&] { return pool.statistics().idle == 1; });
    }
    CHECK(pool.statistics().threads == 1);
    CHECK(where == std::vector<std::thread::id>(100, where.front()));
    CHECK(where.front() != std::this_thread::get_id());
}

// A new thread said that it had arrived, and named itself before it looked at the queue: the very job for which it had
// been started met a pool with nobody on the way, and started a second thread.
TEST_CASE("offload_pool: one job starts one thread") {
    for (int i = 0; i < 200; ++i) {
        offload_pool pool(with_threads(4));
        call job;
        submit(pool, job);
        poll([&] { return job.ran == 1; });
        CHECK(pool.statistics().threads == 1);
    }
}

TEST_CASE("offload_pool: grows while all threads are busy, up to its limit") {
    offload_pool pool(with_threads(3));
    gate leave;
    std::atomic<int> running{0};
    std::vector<std::unique_ptr<call>> jobs;
    for (int i = 0; i < 8; ++i) {
        jobs.push_back(std::make_unique<call>([&] {
            ++running;
            leave.pass();
        }));
        submit(pool, *jobs.back());
    }
    poll([&] { return running == 3; });
    CHECK(pool.statistics().threads == 3);
    CHECK(pool.statistics().idle == 0);
    CHECK(pool.statistics().queued == 5);
    leave.open();
    CHECK(pool.shutdown(never, leftover::run));
    CHECK(running == 8);
    for (auto& job : jobs) CHECK(job->ran == 1);
}

TEST_CASE("offload_pool: jobs that wait for later jobs do not keep these from starting") {
    constexpr int depth = 8;
    for (int round = 0; round < 20; ++round) {
        offload_pool pool(with_threads(depth));
        std::vector<gate> gates(depth);
        std::vector<std::unique_ptr<call>> jobs;
        for (int i = 0; i < depth; ++i) {
            jobs.push_back(std::make_unique<call>([&gates, i] {
                if (i + 1 < depth) gates[i + 1].pass();
                gates[i].open();
            }));
        }
        for (auto& job : jobs) submit(pool, *job);
        gates[0].pass();
        CHECK(pool.shutdown(never, leftover::run));
    }
}

TEST_CASE("offload_pool: jobs begin in the order of submission") {
    busy_pool busy({});
    std::vector<int> order;
    std::vector<std::unique_ptr<call>> jobs;
    for (int i = 0; i < 10; ++i) {
        jobs.push_back(std::make_unique<call>([&order, i] { order.push_back(i); }));
        submit(busy.pool, *jobs.back());
    }
    busy.let_go();
    CHECK(busy.pool.shutdown(never, leftover::run));
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("offload_pool: a job may destroy itself, and submit others, in run") {
    struct chain : offload_job {
        chain(offload_pool& pool, std::promise<void>& end, int left)
            : offload_job(&chain::go, &chain::go), pool(pool), end(end), left(left) {}
        static void go(offload_job* job) noexcept {
            const std::unique_ptr<chain> self(static_cast<chain*>(job));
            if (self->left == 0) return self->end.set_value();
            auto* next = new chain(self->pool, self->end, self->left - 1);
            if (self->pool.submit(*next) != submit_verdict::accepted) delete next;
        }
        offload_pool& pool;
        std::promise<void>& end;
        int left;
    };
    offload_pool pool(with_threads(2));
    std::promise<void> end;
    submit(pool, *new chain(pool, end, 1000));
    end.get_future().wait();
}

TEST_CASE("offload_pool: withdraw takes a waiting job back, and no other") {
    busy_pool busy({});
    call first, second, third;
    submit(busy.pool, first);
    submit(busy.pool, second);
    submit(busy.pool, third);
    CHECK(busy.pool.withdraw(second));
    CHECK_FALSE(busy.pool.withdraw(second));
    CHECK_FALSE(busy.pool.withdraw(busy.blocker));
    CHECK(busy.pool.statistics().queued == 2);
    busy.let_go();
    CHECK(busy.pool.shutdown(never, leftover::run));
    CHECK_FALSE(busy.pool.withdraw(first));
    CHECK(first.ran == 1);
    CHECK(second.ran + second.dropped == 0);
    CHECK(third.ran == 1);
}

TEST_CASE("offload_pool: a full queue says so, and tells one waiter for each job that leaves it") {
    busy_pool busy({.queue_limit = 2});
    call first, second, third, fourth;
    waiting early, a, b, c;
    CHECK_FALSE(busy.pool.wait_for_space(early));  // there is room
    submit(busy.pool, first);
    submit(busy.pool, second);
    CHECK(busy.pool.submit(third) == submit_verdict::full);
    CHECK(third.ran + third.dropped == 0);
    REQUIRE(busy.pool.wait_for_space(a));
    REQUIRE(busy.pool.wait_for_space(b));
    REQUIRE(busy.pool.wait_for_space(c));
    CHECK(busy.pool.cancel_wait(b));
    CHECK_FALSE(busy.pool.cancel_wait(b));
    CHECK(busy.pool.withdraw(first));
    CHECK(a.notified == 1);
    CHECK(c.notified == 0);
    CHECK_FALSE(busy.pool.cancel_wait(a));
    submit(busy.pool, third);
    CHECK(busy.pool.submit(fourth) == submit_verdict::full);
    busy.let_go();
    poll([&] { return c.notified == 1; });
    CHECK(busy.pool.shutdown(never, leftover::run));
    CHECK(early.notified + b.notified == 0);
    CHECK(a.notified + c.notified == 2);
}

TEST_CASE("offload_pool: a job that begins makes room, also while others wait behind it") {
    busy_pool busy({.queue_limit = 2});
    gate leave;
    call first([&] { leave.pass(); });
    call second;
    waiting a, b;
    submit(busy.pool, first);
    submit(busy.pool, second);
    REQUIRE(busy.pool.wait_for_space(a));
    REQUIRE(busy.pool.wait_for_space(b));
    busy.let_go();
    poll([&] { return a.notified == 1; });
    CHECK(b.notified == 0);
    CHECK(busy.pool.statistics().queued == 1);
    leave.open();
    CHECK(busy.pool.shutdown(never, leftover::run));
    CHECK(b.notified == 1);
}

// Two fibers wait, the queue of one place becomes empty, the first is notified but was cancelled and does not come: no
// further job will ever leave the queue, and the second waits for good, unless an empty queue notifies everybody.
TEST_CASE("offload_pool: a notified waiter that gives up does not strand those behind it") {
    busy_pool busy({.queue_limit = 1});
    call first;
    waiting a, b, c;
    submit(busy.pool, first);
    REQUIRE(busy.pool.wait_for_space(a));
    REQUIRE(busy.pool.wait_for_space(b));
    REQUIRE(busy.pool.wait_for_space(c));
    busy.let_go();
    poll([&] { return a.notified + b.notified + c.notified == 3; });
}

TEST_CASE("offload_pool: threads carry a name, block signals from outside, and leave faults alone") {
    offload_pool::options options = with_threads(1);
    options.name = "a-very-long-name";
    offload_pool pool(options);
    char name[16] = {};
    sigset_t blocked;
    call job([&] {
        ::pthread_getname_np(::pthread_self(), name, sizeof name);
        ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    });
    sigset_t before, after;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
    submit(pool, job);
    ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
    poll([&] { return job.ran == 1; });
    CHECK(std::string(name) == "a-very-long-1");
    for (int signal : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM, SIGPIPE}) {
        CHECK(::sigismember(&blocked, signal) == 1);
        CHECK(::sigismember(&before, signal) == ::sigismember(&after, signal));
    }
    CHECK(::sigismember(&blocked, SIGSEGV) == 0);
    CHECK(::sigismember(&blocked, SIGFPE) == 0);
}

TEST_CASE("offload_pool: the default size is asyncio's") {
    const std::size_t limit = std::min<std::size_t>(32, available_cpus() + 4);
    offload_pool pool({});
    gate leave;
    std::atomic<std::size_t> running{0};
    std::vector<std::unique_ptr<call>> jobs;
    for (std::size_t i = 0; i < limit + 3; ++i) {
        jobs.push_back(std::make_unique<call>([&] {
            ++running;
            leave.pass();
        }));
        submit(pool, *jobs.back());
    }
    poll([&] { return running == limit; });
    CHECK(pool.statistics().queued == 3);
    leave.open();
    CHECK(pool.shutdown(never, leftover::run));
}

TEST_CASE("offload_pool: submitting, withdrawing and waiting for space from several threads, each job ends once") {
    constexpr int callers = 4;
    constexpr int rounds = 2'000;
    offload_pool pool({.max_threads = 3, .queue_limit = 4, .idle_timeout = ms / 10});
    std::atomic<long> ran{0};
    std::atomic<long> withdrawn{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < callers; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < rounds; ++i) {
                call job;
                while (pool.submit(job) == submit_verdict::full) {
                    waiting waiter;
                    if (!pool.wait_for_space(waiter)) continue;
                    if ((i + t) % 3 == 0 && pool.cancel_wait(waiter)) continue;
                    poll([&] { return waiter.notified == 1; });
                    pool.cancel_wait(waiter);  // notify may still be on its way out
                }
                if ((i + t) % 2 == 0 && pool.withdraw(job)) {
                    ++withdrawn;
                    CHECK(job.ran == 0);
                } else {
                    poll([&] { return job.ran == 1; });
                    ++ran;
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(ran + withdrawn == callers * rounds);
    CHECK(pool.shutdown(never, leftover::run));
}
