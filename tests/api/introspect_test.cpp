// Looking at what runs: this_fiber, all_tasks, statistics, names, spawn sites.
#include <algorithm>
#include <fstream>
#include <set>
#include <string_view>

#include "tests/api/fixture.hpp"

using namespace fiber::test;
namespace this_fiber = fiber::this_fiber;

namespace {

std::optional<fiber::task_info> find_task(std::string_view name) {
    for (auto& each : fiber::all_tasks()) {
        if (each.name == name) return each;
    }
    return std::nullopt;
}

// The names of this process's threads, as the system shows them.
std::multiset<std::string> thread_names() {
    std::multiset<std::string> names;
    DIR* const tasks = opendir("/proc/self/task");
    REQUIRE(tasks != nullptr);
    while (const dirent* entry = readdir(tasks)) {
        std::ifstream file("/proc/self/task/" + std::string(entry->d_name) + "/comm");
        std::string name;
        if (std::getline(file, name)) names.insert(name);
    }
    closedir(tasks);
    return names;
}

}  // namespace

TEST_CASE("all_tasks lists those that live, with their names, states and spawn sites") {
    on_each_worker_count([] {
        gate stop;
        const std::uint32_t line = __LINE__ + 1;
        auto first = fiber::spawn([&] { stop.wait(); });
        auto second = fiber::spawn({.name = "second"}, [&] { stop.wait(); });
        settle();
        const auto all = fiber::all_tasks();
        CHECK(all.size() == 3);  // and the main task
        const auto unnamed = std::find_if(all.begin(), all.end(), [](const auto& each) { return each.name.empty(); });
        REQUIRE(unnamed != all.end());
        CHECK(unnamed->state == fiber::task_state::parked);
        CHECK(unnamed->line == line);
        CHECK(std::string_view(unnamed->file).ends_with("introspect_test.cpp"));
        const auto named = find_task("second");
        REQUIRE(named.has_value());
        CHECK(named->line == line + 1);
        CHECK(find_task("main")->state == fiber::task_state::running);
        CHECK(find_task("main")->id == this_fiber::id());
        stop.open();
        first.get();
        second.get();
        CHECK(fiber::all_tasks().size() == 1);
    });
}

TEST_CASE("all_tasks shows a task that nobody has started as queued") {
    runtime_fixture fixture(1);
    fixture.run([] {
        auto task = fiber::spawn({.name = "waits"}, [] {});
        CHECK(find_task("waits")->state == fiber::task_state::queued);
        task.get();
    });
}

TEST_CASE("all_tasks shows a parent that waits for its child as parked") {
    on_each_worker_count([] {
        gate stop;
        auto parent = fiber::spawn({.name = "parent"}, [&] { fiber::spawn([&] { stop.wait(); }).get(); });
        settle();
        CHECK(find_task("parent")->state == fiber::task_state::parked);
        stop.open();
        parent.get();
    });
}

TEST_CASE("this_fiber tells who runs") {
    on_each_worker_count([] {
        CHECK(this_fiber::on_fiber());
        const auto own = this_fiber::id();
        CHECK(own != 0);
        std::vector<fiber::task<std::uint64_t>> tasks;
        for (int i = 0; i < 100; ++i) {
            tasks.push_back(fiber::spawn({.name = std::to_string(i)}, [i] {
                const auto before = this_fiber::id();
                CHECK(this_fiber::name() == std::to_string(i));
                fiber::yield();
                CHECK(this_fiber::id() == before);
                CHECK(this_fiber::name() == std::to_string(i));
                return before;
            }));
        }
        std::set<std::uint64_t> ids{own};
        for (auto& task : tasks) ids.insert(task.get());
        CHECK(ids.size() == 101);
        CHECK(this_fiber::id() == own);
    });
}

TEST_CASE("this_fiber on a plain thread") {
    CHECK_FALSE(this_fiber::on_fiber());
    CHECK(this_fiber::id() == 0);
    this_fiber::check_cancelled();
    CHECK_THROWS_AS((void)this_fiber::name(), fiber::usage_error);
    CHECK_THROWS_AS(this_fiber::cancel(), fiber::usage_error);
    CHECK_THROWS_AS((void)this_fiber::cancelling(), fiber::usage_error);
    CHECK_THROWS_AS(this_fiber::uncancel(), fiber::usage_error);
    CHECK_THROWS_AS((void)fiber::all_tasks(), fiber::usage_error);
}

TEST_CASE("check_cancelled is a cancellation point and nothing else") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            this_fiber::check_cancelled();
            this_fiber::cancel("now");
            this_fiber::check_cancelled();
            FAIL("the cancellation was not delivered");
        });
        try {
            task.get();
        } catch (const fiber::cancelled& error) {
            CHECK(error.message() == "now");
        }
        CHECK(task.cancelled());
    });
}

TEST_CASE("statistics count tasks, stacks and timers while the runtime runs") {
    on_each_worker_count([](runtime_fixture& fixture) {
        const auto now = [&] { return fixture.runtime().statistics(); };
        CHECK(now().tasks == 1);
        std::vector<fiber::task<void>> sleepers;
        for (int i = 0; i < 10; ++i) sleepers.push_back(fiber::spawn([] { fiber::sleep_for(1h); }));
        settle();
        CHECK(now().tasks == 11);
        CHECK(now().stacks_in_use >= 11);
        CHECK(yield_until([&] { return now().timers == 10; }));
        sleepers.clear();
        CHECK(yield_until([&] { return now().tasks == 1; }));
        CHECK(now().timers == 0);
    });
}

TEST_CASE("a runtime knows its number of workers and names its threads") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .name = "named"});
        CHECK(fixture.runtime().workers() == workers);
        fixture.run([&] {
            const auto named = [] {
                const auto names = thread_names();
                return std::count_if(names.begin(), names.end(),
                                     [](const auto& name) { return name.starts_with("named"); });
            };
            CHECK(yield_until([&] { return named() >= static_cast<long>(workers) - 1; }));  // the caller keeps its name
            fiber::to_thread([] {});
            CHECK(yield_until([&] { return named() >= static_cast<long>(workers); }));
        });
    });
}
