// Plain threads and fibers together: row 29 of the semantics, and waiting from threads.
#include <algorithm>
#include <functional>
#include <future>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

// A runtime that runs on a thread of its own until it is told to stop, so that the test is an outside thread.
class hosted_runtime {
 public:
    explicit hosted_runtime(unsigned workers)
        : fixture_(workers), host_([this] { fixture_.run([this] { stop_.wait(); }); }) {}
    ~hosted_runtime() {
        stop_.open();
        host_.join();
    }
    fiber::runtime* operator->() { return &fixture_.runtime(); }

 private:
    gate stop_;
    runtime_fixture fixture_;
    std::thread host_;
};

}  // namespace

TEST_CASE("row 29: a result and an exception travel to the thread that spawned") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        auto good = host->spawn(
            [](tracked given) {
                fiber::sleep_for(1ms);
                return tracked(given.value() + 1);
            },
            tracked(4));
        auto bad = host->spawn([]() -> int {
            fiber::yield();
            throw std::runtime_error("inside");
        });
        CHECK(good.get().value() == 5);
        CHECK_THROWS_WITH_AS(bad.get(), "inside", std::runtime_error);
    });
}

TEST_CASE("row 29: a cancel travels to the task, and its end back") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        std::atomic<bool> parked{false};
        auto task = host->spawn([&] {
            try {
                parked = true;
                park_until_cancelled();
            } catch (const fiber::cancelled& error) {
                CHECK(std::string(error.message()) == "from a thread");
                throw;
            }
        });
        CHECK(spin_until([&] { return parked.load(); }));
        CHECK(task.cancel("from a thread"));
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelled());
        CHECK_FALSE(task.cancel());
    });
}

TEST_CASE("row 29: a caller that gives up cancels the task") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        std::atomic<bool> cleaned{false};
        std::atomic<bool> parked{false};
        {
            auto task = host->spawn([&] {
                try {
                    parked = true;
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                    fiber::sleep_for(1ms);
                    cleaned = true;
                    throw;
                }
            });
            CHECK(spin_until([&] { return parked.load(); }));
            CHECK_FALSE(task.wait_for(1ms));
            CHECK_FALSE(task.done());
        }
        CHECK(cleaned);
    });
}

TEST_CASE("row 29: a thread may wait, with and without a limit") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        gate leave;
        auto task = host->spawn([&] {
            leave.wait();
            return 6;
        });
        CHECK_FALSE(task.wait_for(0s));
        CHECK_FALSE(task.wait_until(std::chrono::steady_clock::now() + 1ms));
        leave.open();
        CHECK(task.wait_for(1h));
        task.wait();
        CHECK(task.get() == 6);
    });
}

TEST_CASE("row 29: post from many threads runs everything, in the order of each thread") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        constexpr int threads = 4;
        const int posts = scaled(500);
        std::atomic<int> ran{0};
        std::vector<journal<int>> order(threads);
        std::vector<std::thread> posters;
        for (int t = 0; t < threads; ++t) {
            posters.emplace_back([&, t] {
                for (int i = 0; i < posts; ++i) {
                    host->post([&, t, i, held = tracked(i)] {
                        order[static_cast<std::size_t>(t)].add(i);
                        ++ran;
                    });
                }
            });
        }
        for (auto& poster : posters) poster.join();
        CHECK(spin_until([&] { return ran == threads * posts; }));
        CHECK(spin_until([] { return tracked::live() == 0; }));
        for (const auto& entries : order) {
            const auto seen = entries.entries();
            CHECK(seen.size() == static_cast<std::size_t>(posts));
            if (workers == 1) CHECK(std::is_sorted(seen.begin(), seen.end()));
        }
    });
}

TEST_CASE("row 29: spawn from many threads, each waits for its own") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        std::vector<std::thread> callers;
        for (int t = 0; t < 4; ++t) {
            callers.emplace_back([&, t] {
                for (int i = 0; i < scaled(200); ++i) {
                    auto task = host->spawn([t, i] {
                        if (i % 5 == 0) fiber::sleep_for(50us);
                        return t * 1000 + i;
                    });
                    CHECK(task.get() == t * 1000 + i);
                }
            });
        }
        for (auto& caller : callers) caller.join();
    });
}

TEST_CASE("row 29: a promise that a thread keeps wakes a fiber, and the other way round") {
    on_each_worker_count([] {
        fiber::promise<int> to_fiber;
        fiber::promise<int> to_thread;
        std::thread other([&, waits = to_thread.get_future()]() mutable { to_fiber.set_value(waits.get() + 1); });
        auto future = to_fiber.get_future();
        to_thread.set_value(1);
        CHECK(future.get() == 2);
        other.join();
    });
}

TEST_CASE("row 29: futures work between plain threads without any runtime") {
    const resource_guard guard;
    fiber::promise<tracked> promise;
    auto future = promise.get_future();
    CHECK_FALSE(future.wait_for(1ms));
    std::thread setter([&] { promise.set_value(tracked(9)); });
    CHECK(future.get().value() == 9);
    setter.join();
}

TEST_CASE("row 29: an idle runtime is woken from outside, again and again") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        for (int i = 0; i < 10; ++i) {
            settle_threads();  // every worker sleeps
            CHECK(host->spawn([i] { return i; }).get() == i);
        }
    });
}

TEST_CASE("row 29: ping-pong between a thread and a fiber") {
    for_each_worker_count([](unsigned workers) {
        hosted_runtime host(workers);
        const int rounds = scaled(300);
        std::vector<fiber::promise<int>> there(static_cast<std::size_t>(rounds));
        std::vector<fiber::promise<int>> back(static_cast<std::size_t>(rounds));
        std::vector<fiber::future<int>> pongs;
        for (auto& promise : back) pongs.push_back(promise.get_future());
        auto partner = host->spawn([&] {
            for (std::size_t i = 0; i < there.size(); ++i) back[i].set_value(there[i].get_future().get() + 1);
        });
        for (int i = 0; i < rounds; ++i) {
            there[static_cast<std::size_t>(i)].set_value(i);
            REQUIRE(pongs[static_cast<std::size_t>(i)].get() == i + 1);
        }
        partner.get();
    });
}

TEST_CASE("row 29: threads that wait as run ends are woken: what they wait for is cancelled or broken") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::optional<fiber::task<void>> task;
        std::optional<fiber::future<int>> future;
        std::thread waits_for_task;
        std::thread waits_for_future;
        fixture.run([&] {
            task.emplace(fiber::spawn(park_until_cancelled));
            fiber::promise<int> dropped;
            future.emplace(dropped.get_future());
            waits_for_task = std::thread([&] { CHECK_THROWS_AS(task->get(), fiber::cancelled); });
            waits_for_future = std::thread([&] { CHECK_THROWS_AS(future->get(), std::future_error); });
            settle();
            settle_threads();
        });
        waits_for_task.join();
        waits_for_future.join();
    });
}

TEST_CASE("the handle of a finished task may outlive its runtime") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        std::optional<fiber::task<std::string>> kept;
        std::optional<fiber::task<void>> failed;
        std::optional<fiber::future<int>> future;
        fiber::run({.workers = workers}, [&] {
            kept.emplace(fiber::spawn([] { return std::string("kept"); }));
            failed.emplace(fiber::spawn([] { throw std::runtime_error("kept too"); }));
            fiber::promise<int> promise;
            future.emplace(promise.get_future());
            promise.set_value(5);
            kept->wait();
            failed->wait();
        });
        CHECK(kept->done());
        CHECK(kept->get() == "kept");
        CHECK_THROWS_AS(failed->get(), std::runtime_error);
        CHECK(future->get() == 5);
    });
}

TEST_CASE("the handle of a task that run cancelled at its end may outlive the runtime") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        std::optional<fiber::task<int>> kept;
        fiber::run({.workers = workers}, [&] {
            kept.emplace(fiber::spawn([] {
                park_until_cancelled();
                return 1;
            }));
        });
        CHECK(kept->done());
        CHECK(kept->cancelled());
        CHECK_THROWS_AS(kept->get(), fiber::cancelled);
    });
}
