// wait(): row 8 of the semantics.
#include <future>
#include <limits>
#include <list>
#include <ranges>
#include <span>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

using pointers = std::vector<fiber::task<int>*>;

auto ends_after(std::chrono::milliseconds length, int value) {
    return fiber::spawn([=] {
        fiber::sleep_for(length);
        return value;
    });
}

auto fails_after(std::chrono::milliseconds length) {
    return fiber::spawn([=]() -> int {
        fiber::sleep_for(length);
        throw std::runtime_error("failed");
    });
}

}  // namespace

TEST_CASE("row 8: all_completed waits for all; done and pending keep the order of the range") {
    in_virtual_time([] {
        const auto start = virtual_now();
        std::vector<fiber::task<int>> tasks;
        for (const int n : {3, 1, 2}) tasks.push_back(ends_after(n * 10ms, n));
        auto [done, pending] = fiber::wait(tasks);
        CHECK(done == pointers{&tasks[0], &tasks[1], &tasks[2]});
        CHECK(pending.empty());
        CHECK(took(start, 30ms));
        CHECK(done[0]->get() == 3);

        const auto again = fiber::wait(tasks, fiber::all_completed);  // ended already: at once
        CHECK(again.done.size() == 3);
        CHECK(took(start, 30ms));
    });
}

TEST_CASE("row 8: first_completed ends with the first, however that ends") {
    in_virtual_time([] {
        std::vector<fiber::task<int>> tasks;
        tasks.push_back(ends_after(30ms, 1));
        tasks.push_back(fails_after(10ms));
        tasks.push_back(ends_after(20ms, 3));
        const auto first = fiber::wait(tasks, fiber::first_completed);
        CHECK(first.done == pointers{&tasks[1]});
        CHECK(first.pending == pointers{&tasks[0], &tasks[2]});

        const auto second = fiber::wait(first.pending, fiber::first_completed);  // what a former wait returned
        CHECK(second.done == pointers{&tasks[2]});
        CHECK(second.pending == pointers{&tasks[0]});
        CHECK(tasks[0].get() == 1);
        CHECK_THROWS_AS(tasks[1].get(), std::runtime_error);
    });
}

TEST_CASE("row 8: first_exception ends with the first failure, and ignores cancelled ones") {
    in_virtual_time([] {
        const auto start = virtual_now();
        std::vector<fiber::task<int>> tasks;
        tasks.push_back(ends_after(10ms, 1));
        tasks.push_back(ends_after(1h, 2));
        tasks.push_back(fails_after(50ms));
        tasks.push_back(ends_after(60ms, 4));
        fiber::yield();
        tasks[1].cancel();
        const auto result = fiber::wait(tasks, fiber::first_exception);
        CHECK(took(start, 50ms));
        CHECK(result.done == pointers{&tasks[0], &tasks[1], &tasks[2]});
        CHECK(result.pending == pointers{&tasks[3]});
        CHECK(tasks[2].exception() != nullptr);
    });
}

TEST_CASE("row 8: first_exception without a failure waits for all") {
    in_virtual_time([] {
        const auto start = virtual_now();
        std::vector<fiber::task<int>> tasks;
        for (int n = 1; n <= 3; ++n) tasks.push_back(ends_after(n * 10ms, n));
        CHECK(fiber::wait(tasks, fiber::first_exception).done.size() == 3);
        CHECK(took(start, 30ms));
    });
}

TEST_CASE("row 8: what a child throws is not thrown, and not taken") {
    on_each_worker_count([] {
        std::vector<fiber::task<int>> tasks;
        tasks.push_back(fiber::spawn([]() -> int { throw std::runtime_error("failed"); }));
        tasks.push_back(fiber::spawn([]() -> int { throw fiber::cancelled("by itself"); }));
        for (const auto when : {fiber::first_completed, fiber::first_exception, fiber::all_completed}) {
            CHECK_NOTHROW((void)fiber::wait(tasks, when));
        }
        (void)fiber::wait(tasks);
        CHECK_THROWS_AS(tasks[0].get(), std::runtime_error);
        CHECK_THROWS_AS(tasks[1].get(), fiber::cancelled);
        CHECK(fiber::this_fiber::cancelling() == 0);
    });
}

TEST_CASE("row 8: a time-out cancels nobody: done so far, and pending") {
    in_virtual_time([] {
        const auto start = virtual_now();
        std::vector<fiber::task<int>> tasks;
        tasks.push_back(ends_after(10ms, 1));
        tasks.push_back(ends_after(1s, 2));
        auto [done, pending] = fiber::wait(tasks, fiber::all_completed, 100ms);
        CHECK(took(start, 100ms));
        CHECK(done == pointers{&tasks[0]});
        CHECK(pending == pointers{&tasks[1]});
        CHECK(tasks[1].cancelling() == 0);

        CHECK(fiber::wait(tasks, 0s).done.size() == 1);  // a look, no more
        CHECK(fiber::wait(tasks, fiber::all_completed, -1h).pending.size() == 1);
        CHECK(took(start, 100ms));
        CHECK(fiber::wait(tasks, std::chrono::steady_clock::time_point(start + 200ms)).pending.size() == 1);
        CHECK(took(start, 200ms));
        CHECK(fiber::wait(tasks, fiber::all_completed, std::nullopt).done.size() == 2);
        CHECK(tasks[1].get() == 2);
    });
}

TEST_CASE("row 8: cancelling the waiter cancels no child") {
    on_each_worker_count([] {
        for (const auto when : {fiber::first_completed, fiber::first_exception, fiber::all_completed}) {
            fiber::event leave;
            std::vector<fiber::task<int>> tasks;
            for (int i = 0; i < 3; ++i) {
                tasks.push_back(fiber::spawn([&, i] {
                    leave.wait();
                    return i;
                }));
            }
            auto waiter = fiber::spawn([&] { (void)fiber::wait(tasks, when); });
            settle();
            CHECK(waiter.cancel("enough"));
            CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
            for (const auto& each : tasks) {
                CHECK_FALSE(each.done());
                CHECK(each.cancelling() == 0);
            }
            leave.set();
            CHECK(fiber::gather(tasks) == std::vector{0, 1, 2});
        }
    });
}

// On one worker both children run between the first end and the waiter's turn.
TEST_CASE("row 8: done is computed when the waiter runs, and may hold more than one") {
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::event go;
        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < 3; ++i) {
            tasks.push_back(fiber::spawn([&, i] {
                i == 2 ? park_until_cancelled() : go.wait();
                return i;
            }));
        }
        auto waiter = fiber::spawn([&] { return fiber::wait(tasks, fiber::first_completed).done.size(); });
        settle();
        go.set();
        CHECK(waiter.get() == 2);
    });
}

TEST_CASE("row 8: an empty range and a bad condition are errors") {
    on_each_worker_count([] {
        std::vector<fiber::task<int>> none;
        CHECK_THROWS_AS((void)fiber::wait(none), fiber::invalid_option);
        CHECK_THROWS_AS((void)fiber::wait(none, fiber::first_completed, 1s), fiber::invalid_option);
        CHECK_THROWS_AS((void)fiber::wait(pointers(), fiber::first_exception), fiber::invalid_option);

        std::vector<fiber::task<int>> one;
        one.push_back(fiber::spawn([] { return 1; }));
        CHECK_THROWS_AS((void)fiber::wait(one, static_cast<fiber::return_when>(17)), fiber::invalid_option);
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        CHECK_THROWS_AS((void)fiber::wait(one, nan), std::invalid_argument);
        one.emplace_back();  // refers to nothing
        CHECK_THROWS_AS((void)fiber::wait(one), std::future_error);
        CHECK(one[0].get() == 1);
    });
}

TEST_CASE("wait takes tasks, futures, shared futures and group tasks, in any range or view, and pointers to them") {
    on_each_worker_count([] {
        std::list<fiber::task<int>> in_list;
        in_list.push_back(fiber::spawn([] { return 1; }));
        CHECK(fiber::wait(in_list).done.front() == &in_list.front());

        fiber::task<int> plain[] = {fiber::spawn([] { return 1; }), fiber::spawn([] { return 2; })};
        CHECK(fiber::wait(plain).done.size() == 2);
        CHECK(fiber::wait(std::span(plain).first(1)).done == pointers{&plain[0]});
        CHECK(fiber::wait(pointers{&plain[1]}).done == pointers{&plain[1]});

        fiber::promise<int> promise;
        std::vector<fiber::future<int>> futures;
        futures.push_back(promise.get_future());
        CHECK(fiber::wait(futures, 0s).pending.size() == 1);
        promise.set_value(1);
        CHECK(fiber::wait(futures).done.size() == 1);
        const auto shared = futures[0].share();
        std::vector<fiber::shared_future<int>> twice{shared, shared};
        CHECK(fiber::wait(twice).done.size() == 2);

        fiber::task_group group;
        std::vector<fiber::group_task<void>> members;
        members.push_back(group.spawn([] { fiber::yield(); }));
        CHECK(fiber::wait(members).done.size() == 1);
        group.join();
    });
}

TEST_CASE("wait on a plain thread") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::vector<fiber::task<int>> tasks;
        fiber::promise<void> leave;
        auto may_leave = leave.get_future().share();
        tasks.push_back(fixture.runtime().spawn([] { return 1; }));
        tasks.push_back(fixture.runtime().spawn([may_leave] {
            may_leave.get();
            return 2;
        }));
        std::thread outside([&] {
            CHECK(fiber::wait(tasks, fiber::first_completed).done == pointers{&tasks[0]});
            CHECK(fiber::wait(tasks, 1ms).pending == pointers{&tasks[1]});
            leave.set_value();
            CHECK(fiber::wait(tasks).done.size() == 2);
        });
        fixture.run([&] { tasks[1].wait(); });
        outside.join();
    });
}

TEST_CASE("waits that race with the ends of many tasks see all of them") {
    on_each_worker_count([] {
        const int count = scaled(500);
        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < count; ++i) {
            tasks.push_back(fiber::spawn([i] {
                if (i % 3 == 0) fiber::yield();
                return i;
            }));
        }
        pointers pending;
        for (auto& each : tasks) pending.push_back(&each);
        int seen = 0;
        while (!pending.empty()) {
            auto result = fiber::wait(pending, fiber::first_completed);
            REQUIRE_FALSE(result.done.empty());
            seen += static_cast<int>(result.done.size());
            pending = std::move(result.pending);
        }
        CHECK(seen == count);
    });
}
