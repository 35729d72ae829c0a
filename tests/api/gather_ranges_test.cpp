// gather() of views: tasks that are spawned as the view is walked, and tasks that it lends.
#include <ranges>
#include <span>
#include <stdexcept>
#include <vector>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

TEST_CASE("gather: a view that spawns its tasks as it is walked") {
    on_each_worker_count([] {
        const auto squares = [](int count) {
            return std::views::iota(0, count) |
                   std::views::transform([](int i) { return fiber::spawn([i] { return i * i; }); });
        };
        CHECK(fiber::gather(squares(4)) == std::vector{0, 1, 4, 9});
        auto named = squares(3);
        CHECK(fiber::gather(named) == std::vector{0, 1, 4});
        CHECK(fiber::gather(fiber::return_exceptions, squares(2)).at(1).value() == 1);
    });
}

TEST_CASE("gather: a view lends the tasks that it shows, also where it is an rvalue itself") {
    on_each_worker_count([] {
        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < 4; ++i) {
            tasks.push_back(fiber::spawn([i] {
                if (i == 3) throw std::runtime_error("failed");
                fiber::yield();
                return i;
            }));
        }
        CHECK(fiber::gather(tasks | std::views::take(2)) == std::vector{0, 1});
        CHECK_THROWS_AS((void)fiber::gather(std::span(tasks).subspan(2)), std::runtime_error);
        for (auto& each : tasks) CHECK(each.valid());
        CHECK(tasks[2].get() == 2);
    });
}
