// Memory, threads and mappings run out at every possible point of a program that uses the whole runtime. Each time the
// program ends with an exception or with the right result; nothing hangs, nothing is lost, nothing is left.
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>

#include "tests/api/fail_at_each_request.hpp"
#include "tests/api/waits_at_its_end.hpp"

using namespace fiber::test;

namespace {

// Touches everything that allocates, starts threads or maps stacks. Returns 1 when all results were right.
int everything() {
    long sum = 0;
    {
        auto quick = fiber::spawn([held = tracked(1)] { return held.value(); });
        auto parks = fiber::spawn([held = tracked(2)] {
            fiber::sleep_for(10us);
            return held.value();
        });
        auto [one, two, three] = fiber::gather(std::move(quick), std::move(parks), [] { return 3; });
        sum += one + two + three;
    }
    fiber::spawn([held = tracked(4)] { fiber::yield(); }).detach();
    {
        std::vector<fiber::task<int>> many;
        for (int i = 0; i < 6; ++i) {
            many.push_back(fiber::spawn([i] {
                fiber::yield();
                return i;
            }));
        }
        for (const int value : fiber::gather(std::move(many))) sum += value;
    }
    sum += fiber::to_thread([held = tracked(5)] { return held.value(); });
    fiber::promise<tracked> promise;
    auto future = promise.get_future();
    future.on_done([] {});
    auto setter = fiber::spawn([to_set = std::move(promise)]() mutable {
        fiber::yield();
        to_set.set_value(tracked(6));
    });
    setter.get();
    sum += future.get().value();
    auto cancelled = fiber::spawn({.name = "a name that is too long for any small string"},
                                  [held = tracked(7)] { park_until_cancelled(); });
    fiber::yield();
    cancelled.cancel("a message that is too long for any small string");
    cancelled.wait();
    return sum == 1 + 2 + 3 + 15 + 5 + 6 ? 1 : 0;
}

}  // namespace

TEST_CASE("memory that runs out at any allocation ends in bad_alloc, and nothing is left") {
    for_each_worker_count([](unsigned workers) {
        fail_at_each_request(resource::memory, [workers] { return fiber::run(quiet(workers), everything); });
    });
}

TEST_CASE("a thread that cannot be created ends in an error, and nothing is left") {
    for_each_worker_count([](unsigned workers) {
        fail_at_each_request(resource::thread, [workers] { return fiber::run(quiet(workers), everything); });
    });
}

TEST_CASE("a stack that cannot be mapped ends in an error, and nothing is left") {
    for_each_worker_count([](unsigned workers) {
        fail_at_each_request(resource::mapping, [workers] { return fiber::run(quiet(workers), everything); });
    });
}

TEST_CASE("to_thread without a thread throws on that call, and works when there is one again") {
    on_each_worker_count([] {
        {
            const injected_failure failure(resource::thread, 0, failure_span::all_from_there);
            CHECK_THROWS_AS(fiber::to_thread([held = tracked(1)] {}), std::system_error);
        }
        CHECK(fiber::to_thread([] { return 2; }) == 2);
        {
            // One thread exists already: it serves.
            const injected_failure failure(resource::thread, 0, failure_span::all_from_there);
            CHECK(fiber::to_thread([] { return 3; }) == 3);
        }
    });
}

TEST_CASE("spawn without memory throws, and the tasks that exist go on") {
    if (!can_fail(resource::memory)) return;
    on_each_worker_count([] {
        gate leave;
        auto running = fiber::spawn([&] {
            leave.wait();
            return 5;
        });
        std::vector<fiber::task<int>> spawned;
        spawned.reserve(10'000);
        bool refused = false;
        {
            const injected_failure failure(resource::memory, 0, failure_span::all_from_there);
            try {
                while (spawned.size() < 10'000) spawned.push_back(fiber::spawn([] { return 1; }));
            } catch (const std::bad_alloc&) {
                refused = true;
            }
        }
        CHECK(refused);
        for (auto& task : spawned) CHECK(task.get() == 1);
        leave.open();
        CHECK(running.get() == 5);
    });
}

TEST_CASE("when stacks run out, starting fails with an error and those that run go on") {
    on_each_worker_count([] {
        gate leave;
        std::atomic<int> started{0};
        std::vector<fiber::task<int>> tasks;
        {
            const injected_failure failure(resource::mapping, 0, failure_span::all_from_there);
            try {
                for (int i = 0; i < 600; ++i) {
                    tasks.push_back(fiber::spawn([&] {
                        ++started;
                        leave.wait();
                        return 1;
                    }));
                }
                for (int i = 0; i < 10; ++i) fiber::yield();
            } catch (const std::bad_alloc&) {
            }
        }
        leave.open();
        int good = 0;
        int refused = 0;
        for (auto& task : tasks) {
            try {
                good += task.get();
            } catch (const fiber::start_error&) {
                ++refused;
            }
        }
        CHECK(static_cast<std::size_t>(good + refused) == tasks.size());
        CHECK(good == started);
    });
}

namespace {

// Tasks that park, as many as find a stack while none can be mapped, and at least one that does not.
class parked_until_stacks_run_out {
 public:
    // What each callable holds waits for `over`. Returns when one waits there that could not be started.
    explicit parked_until_stacks_run_out(fiber::event& over) {
        const injected_failure failure(resource::mapping, 0, failure_span::all_from_there);
        while (!waiting_) {
            for (int i = 0; i < 100; ++i) {
                tasks_.push_back(fiber::spawn([this, held = waits_at_its_end(over, &waiting_)] {
                    ++started_;
                    leave_.wait();
                }));
            }
            for (int i = 0; i < 10; ++i) fiber::yield();
        }
        over.set();
    }
    // Lets all go. Returns the errors of those that were not started.
    std::vector<std::exception_ptr> end() {
        leave_.open();
        std::vector<std::exception_ptr> errors;
        for (auto& task : tasks_) {
            task.wait();
            if (task.exception() != nullptr) errors.push_back(task.exception());
        }
        CHECK(tasks_.size() - errors.size() == started_);
        return errors;
    }

 private:
    gate leave_;
    std::atomic<bool> waiting_{false};
    std::atomic<std::size_t> started_{0};
    std::vector<fiber::task<void>> tasks_;
};

}  // namespace

// It was destroyed between two tasks, where a wait blocks the worker.
TEST_CASE("what the callable holds of a task that finds no stack may wait for other fibers as it is destroyed") {
    on_each_worker_count([] {
        fiber::event over;
        parked_until_stacks_run_out tasks(over);
        const auto errors = tasks.end();
        REQUIRE_FALSE(errors.empty());
        CHECK_THROWS_AS(std::rethrow_exception(errors.front()), fiber::start_error);
        CHECK(tracked::live() == 0);
    });
}

// With one for each, the C++ runtime's store for exceptions was used up where memory was short, which ends a program.
TEST_CASE("tasks that find no stack for the same reason share one exception") {
    on_each_worker_count([] {
        fiber::event over;
        over.set();
        parked_until_stacks_run_out tasks(over);
        std::vector<std::exception_ptr> errors = tasks.end();
        REQUIRE(errors.size() > 1);
        for (const auto& each : errors) CHECK(each == errors.front());
    });
}
