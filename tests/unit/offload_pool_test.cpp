// The offload pool on real threads. Jobs wait for each other by gates, so that each test knows what runs when; only
// ends that nobody announces are waited for by polling.
#include "scheduler/core/offload_pool.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <doctest/doctest.h>
#include <functional>
#include <future>
#include <memory>
#include <pthread.h>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "scheduler/core/cpu_count.hpp"

namespace {

using namespace fiber::engine;

constexpr nanos ms = 1'000'000;

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

void submit(offload_pool& pool, offload_job& job) { REQUIRE(pool.submit(job) == submit_verdict::accepted); }

offload_pool::options with_threads(std::size_t count) { return {.max_threads = count}; }

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

struct waiting : space_waiter {
    waiting() : space_waiter([](space_waiter* self) noexcept { static_cast<waiting*>(self)->notified.fetch_add(1); }) {}
    std::atomic<int> notified{0};
};

}  // namespace

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
    CHECK(starts == 2);
    CHECK(pool.statistics().threads == 1);
    submit(pool, second);
    CHECK(pool.statistics().queued == 2);
    leave.open();
    CHECK(pool.shutdown(never, leftover::run));
    CHECK(first.ran == 1);
    CHECK(second.ran == 1);
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
