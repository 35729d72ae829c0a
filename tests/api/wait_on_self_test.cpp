// The calling task among those that wait() and as_completed() are given: it cannot end while it waits, so what nothing
// else can end is refused, and what something else can end is waited for as usual.
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

// The caller's own handle, and two others, in this order.
struct family {
    std::vector<fiber::task<int>> tasks;
    fiber::event ready;
};

// Spawns a task that calls body(tasks), of which it is the first itself; the second ends after 10 ms, the third after
// 20 ms as `third` says.
template <class Body, class Third>
int among_others(Third third, Body body) {
    family all;
    all.tasks.push_back(fiber::spawn([&all, body] {
        all.ready.wait();
        body(all.tasks);
        return 1;
    }));
    all.tasks.push_back(fiber::spawn([] {
        fiber::sleep_for(10ms);
        return 2;
    }));
    all.tasks.push_back(fiber::spawn([third] {
        fiber::sleep_for(20ms);
        return third();
    }));
    all.ready.set();
    return all.tasks[0].get();
}

int three() { return 3; }
int failure() { throw std::runtime_error("failed"); }

using handles = std::vector<fiber::task<int>>;

}  // namespace

TEST_CASE("wait() for all, the caller among them, is a usage_error at once; with a limit it waits for that") {
    in_virtual_time([] {
        CHECK(among_others(three, [](handles& tasks) {
                  const auto start = virtual_now();
                  CHECK_THROWS_AS((void)fiber::wait(tasks), fiber::usage_error);
                  CHECK(took(start, 0ms));
                  const auto some = fiber::wait(tasks, 50ms);
                  CHECK(some.done.size() == 2);
                  CHECK(some.pending == std::vector{&tasks[0]});
                  CHECK(took(start, 50ms));
              }) == 1);
    });
}

TEST_CASE("wait() for the first, the caller among them, ends with another; alone it is a usage_error") {
    in_virtual_time([] {
        CHECK(among_others(three, [](handles& tasks) {
                  const auto start = virtual_now();
                  CHECK(fiber::wait(tasks, fiber::first_completed).done == std::vector{&tasks[1]});
                  CHECK(took(start, 10ms));
                  const std::vector twice{&tasks[0], &tasks[0]};
                  CHECK_THROWS_AS((void)fiber::wait(twice, fiber::first_completed), fiber::usage_error);
                  CHECK_THROWS_AS((void)fiber::wait(twice, fiber::first_exception), fiber::usage_error);
              }) == 1);
    });
}

TEST_CASE("wait() for a failure, the caller among them, ends with that; once all others ended well, usage_error") {
    in_virtual_time([] {
        CHECK(among_others(failure, [](handles& tasks) {
                  const auto start = virtual_now();
                  CHECK(fiber::wait(tasks, fiber::first_exception).pending == std::vector{&tasks[0]});
                  CHECK(took(start, 20ms));
                  CHECK_THROWS_AS(tasks[2].get(), std::runtime_error);
              }) == 1);
        CHECK(among_others(three, [](handles& tasks) {
                  const auto start = virtual_now();
                  CHECK_THROWS_AS((void)fiber::wait(tasks, fiber::first_exception), fiber::usage_error);
                  CHECK(took(start, 20ms));
              }) == 1);
    });
}

TEST_CASE("as_completed(), the caller among them, gives the others; the step that is left throws") {
    in_virtual_time([] {
        CHECK(among_others(three, [](handles& tasks) {
                  std::vector<fiber::task<int>*> seen;
                  auto each = fiber::as_completed(tasks);
                  const auto walk = [&](auto& steps) {
                      for (fiber::task<int>* task : steps) seen.push_back(task);
                  };
                  CHECK_THROWS_AS(walk(each), fiber::usage_error);
                  CHECK(seen == std::vector{&tasks[1], &tasks[2]});
                  CHECK_THROWS_AS((void)each.begin(), fiber::usage_error);  // it is still the one that is left

                  seen.clear();
                  auto limited = fiber::as_completed(tasks, 1s);
                  CHECK_THROWS_AS(walk(limited), fiber::timeout_error);
                  CHECK(seen == std::vector{&tasks[1], &tasks[2]});
              }) == 1);
    });
}

TEST_CASE("a wait() for itself that a limit would end can be cancelled") {
    in_virtual_time([] {
        CHECK_THROWS_AS(among_others(three,
                                     [](handles& tasks) {
                                         auto canceller = fiber::spawn([&] { tasks[0].cancel(); });
                                         (void)fiber::wait(tasks, 1h);
                                         FAIL("not cancelled");
                                     }),
                        fiber::cancelled);
    });
}
