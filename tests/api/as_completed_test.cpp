// as_completed(): row 9 of the semantics.
#include <algorithm>
#include <future>
#include <limits>
#include <ranges>
#include <span>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

std::vector<fiber::task<int>> ending_after(std::initializer_list<int> tens_of_ms) {
    std::vector<fiber::task<int>> tasks;
    for (const int n : tens_of_ms) {
        tasks.push_back(fiber::spawn([n] {
            fiber::sleep_for(n * 10ms);
            return n;
        }));
    }
    return tasks;
}

}  // namespace

TEST_CASE("row 9: the tasks come in the order of their completion, each once, as the handles that were given") {
    in_virtual_time([] {
        auto tasks = ending_after({3, 1, 4, 2});
        std::vector<int> order;
        for (fiber::task<int>* task : fiber::as_completed(tasks)) {
            CHECK(task->done());
            CHECK(task >= tasks.data());
            CHECK(task < tasks.data() + tasks.size());
            order.push_back(task->get());
        }
        CHECK(order == std::vector{1, 2, 3, 4});
    });
}

TEST_CASE("row 9: those that have ended come first, in the order of the range") {
    in_virtual_time([] {
        auto tasks = ending_after({2, 1, 5});
        fiber::sleep_for(30ms);
        std::vector<int> order;
        for (auto* task : fiber::as_completed(tasks)) order.push_back(task->get());
        CHECK(order == std::vector{2, 1, 5});
    });
}

TEST_CASE("row 9: an empty range is an empty iteration") {
    on_each_worker_count([] {
        std::vector<fiber::task<int>> none;
        for ([[maybe_unused]] auto* task : fiber::as_completed(none)) FAIL("a task out of nothing");
        for ([[maybe_unused]] auto* task : fiber::as_completed(none, 0s)) FAIL("a task out of nothing");
    });
}

TEST_CASE("row 9: failures and cancellations come like values, and are thrown by get alone") {
    in_virtual_time([] {
        std::vector<fiber::task<int>> tasks;
        tasks.push_back(fiber::spawn([]() -> int {
            fiber::sleep_for(10ms);
            throw std::runtime_error("failed");
        }));
        tasks.push_back(fiber::spawn([]() -> int {
            fiber::sleep_for(20ms);
            throw fiber::cancelled();
        }));
        int step = 0;
        for (auto* task : fiber::as_completed(tasks)) {
            if (step++ == 0) {
                CHECK_THROWS_AS(task->get(), std::runtime_error);
            } else {
                CHECK_THROWS_AS(task->get(), fiber::cancelled);
            }
        }
        CHECK(step == 2);
    });
}

TEST_CASE("row 9: on time-out each remaining step throws timeout_error, and the tasks go on") {
    in_virtual_time([] {
        const auto start = virtual_now();
        auto tasks = ending_after({1, 20, 30});
        std::vector<int> order;
        auto steps = fiber::as_completed(tasks, 100ms);
        int timed_out = 0;
        for (int step = 0; step < 3; ++step) {
            try {
                if (const auto next = steps.begin(); next != steps.end()) order.push_back((*next)->get());
            } catch (const fiber::timeout_error&) {
                ++timed_out;
            }
        }
        CHECK(took(start, 100ms));
        CHECK(order == std::vector{1});
        CHECK(timed_out == 2);
        CHECK(steps.begin() == steps.end());
        for (const auto& task : tasks) CHECK(task.cancelling() == 0);
        CHECK(fiber::gather(tasks[1], tasks[2]) == std::tuple(20, 30));
    });
}

TEST_CASE("row 9: a range-for that times out leaves by the exception") {
    in_virtual_time([] {
        auto tasks = ending_after({1, 20});
        std::vector<int> order;
        const auto collect = [&] {
            for (fiber::task<int>* task : fiber::as_completed(tasks, 100ms)) order.push_back(task->get());
        };
        CHECK_THROWS_AS(collect(), fiber::timeout_error);
        CHECK(order == std::vector{1});
        CHECK(tasks[1].get() == 20);
    });
}

TEST_CASE("row 9: iteration can be resumed: after a break, after an exception, after a cancellation") {
    in_virtual_time([] {
        auto tasks = ending_after({1, 2, 3, 4, 5});
        auto steps = fiber::as_completed(tasks);
        std::vector<int> order;
        for (auto* task : steps) {
            order.push_back(task->get());
            break;
        }
        try {
            for (auto* task : steps) {
                order.push_back(task->get());
                throw std::runtime_error("from the loop's body");
            }
        } catch (const std::runtime_error&) {
        }
        fiber::this_fiber::cancel();
        CHECK_THROWS_AS(steps.begin(), fiber::cancelled);
        (void)fiber::this_fiber::uncancel();
        for (auto* task : steps) order.push_back(task->get());
        CHECK(order == std::vector{1, 2, 3, 4, 5});
    });
}

TEST_CASE("row 9: cancelling who iterates cancels no task") {
    on_each_worker_count([] {
        fiber::event leave;
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(fiber::spawn([&] { leave.wait(); }));
        auto iterating = fiber::spawn([&] {
            for (auto* task : fiber::as_completed(tasks)) task->get();
        });
        settle();
        CHECK(iterating.cancel());
        CHECK_THROWS_AS(iterating.get(), fiber::cancelled);
        for (const auto& task : tasks) CHECK(task.cancelling() == 0);
        leave.set();
        fiber::gather(tasks);
    });
}

TEST_CASE("as_completed of futures, shared futures and pointers; by an algorithm; on a plain thread") {
    on_each_worker_count([] {
        fiber::promise<int> first;
        fiber::promise<int> second;
        std::vector<fiber::future<int>> futures;
        futures.push_back(first.get_future());
        futures.push_back(second.get_future());
        auto steps = fiber::as_completed(futures);
        second.set_value(2);
        auto at = steps.begin();
        CHECK(*at == &futures[1]);
        first.set_value(1);
        ++at;
        CHECK(*at == &futures[0]);
        ++at;
        CHECK(at == steps.end());

        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < 5; ++i) tasks.push_back(fiber::spawn([i] { return i; }));
        std::vector<fiber::task<int>*> some{&tasks[1], &tasks[3]};
        int sum = 0;
        std::ranges::for_each(fiber::as_completed(some), [&](fiber::task<int>* task) { sum += task->get(); });
        CHECK(sum == 4);
        fiber::to_thread([&] {
            for (auto* task : fiber::as_completed(std::span(tasks).subspan(4), 1h)) sum += task->get();
        });
        CHECK(sum == 8);
    });
}

TEST_CASE("as_completed: bad input") {
    on_each_worker_count([] {
        std::vector<fiber::task<int>> tasks;
        tasks.push_back(fiber::spawn([] { return 1; }));
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        CHECK_THROWS_AS((void)fiber::as_completed(tasks, nan), std::invalid_argument);
        tasks.emplace_back();
        CHECK_THROWS_AS((void)fiber::as_completed(tasks), std::future_error);
        CHECK(tasks[0].get() == 1);
    });
}

TEST_CASE("as_completed of many that end at once gives each once") {
    on_each_worker_count([] {
        const int count = scaled(1000);
        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < count; ++i) {
            tasks.push_back(fiber::spawn([i] {
                if (i % 2 == 0) fiber::yield();
                return i;
            }));
        }
        std::vector<bool> seen(static_cast<std::size_t>(count));
        for (auto* task : fiber::as_completed(tasks)) {
            const auto index = static_cast<std::size_t>(task->get());
            CHECK_FALSE(seen[index]);
            seen[index] = true;
        }
        CHECK(std::ranges::all_of(seen, [](bool each) { return each; }));
    });
}
