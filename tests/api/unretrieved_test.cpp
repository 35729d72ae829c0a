// Row 25: an exception that nobody retrieved reaches a handler, once; one that was retrieved does not.
#include <algorithm>
#include <functional>
#include <stdexcept>

#include "tests/api/captured_stderr.hpp"
#include "tests/api/fixture.hpp"
#include "tests/api/thrown.hpp"

using namespace fiber::test;

namespace {

// The reports of one runtime, as "task: what".
class reports {
 public:
    fiber::runtime_options options(unsigned workers) {
        fiber::runtime_options options{.workers = workers};
        options.on_unretrieved_exception = [this](const fiber::unretrieved_exception& report) {
            seen_.add(std::string(report.task_name) + ": " + text_of(report.exception));
        };
        return options;
    }
    std::vector<std::string> entries() const { return seen_.entries(); }

 private:
    journal<std::string> seen_;
};

// Runs main at each count of workers, and checks what the handler was told.
template <class Main>
void expect_reports(const std::vector<std::string>& expected, Main main) {
    for_each_worker_count([&](unsigned workers) {
        reports seen;
        {
            runtime_fixture fixture(seen.options(workers));
            fixture.run([&] {
                if constexpr (std::is_invocable_v<Main&, fiber::runtime&>) {
                    main(fixture.runtime());
                } else {
                    main();
                }
            });
        }
        CHECK(seen.entries() == expected);
    });
}

void fail() { throw std::runtime_error("forgotten"); }

}  // namespace

TEST_CASE("row 25: the exception of a detached task reaches the handler, with the task's name") {
    expect_reports({"lost: forgotten"}, [] {
        std::atomic<bool> threw{false};
        fiber::spawn({.name = "lost"}, [&] {
            threw = true;
            fail();
        }).detach();
        REQUIRE(yield_until([&] { return threw.load(); }));
    });
}

TEST_CASE("row 25: the exception of a task that was waited for and dropped reaches the handler once") {
    expect_reports({"dropped: forgotten"}, [] {
        auto task = fiber::spawn({.name = "dropped"}, fail);
        task.wait();
        CHECK(task.done());
    });
}

TEST_CASE("row 25: a task that fails after it was detached is reported, also when it failed before") {
    expect_reports({"early: forgotten"}, [] {
        auto task = fiber::spawn({.name = "early"}, fail);
        task.wait();
        task.detach();
    });
}

TEST_CASE("row 25: what was retrieved by get, exception or gather is not reported") {
    expect_reports({}, [] {
        auto got = fiber::spawn(fail);
        CHECK_THROWS_AS(got.get(), std::runtime_error);
        auto looked_at = fiber::spawn(fail);
        looked_at.wait();
        CHECK(looked_at.exception() != nullptr);
        auto first = fiber::spawn(fail);
        auto second = fiber::spawn(fail);
        CHECK_THROWS_AS((void)fiber::gather(first, second), std::runtime_error);
        second.wait();
        first.wait();
        auto [outcome] = fiber::gather(fiber::return_exceptions, fiber::spawn(fail));
        CHECK_FALSE(outcome.has_value());
    });
}

TEST_CASE("row 2: exceptions of siblings that fail after gather left count as retrieved") {
    expect_reports({}, [] {
        gate leave;
        auto later = fiber::spawn([&] {
            leave.wait();
            fail();
        });
        auto first = fiber::spawn([] { throw 5; });
        CHECK_THROWS_AS((void)fiber::gather(later, first), int);
        CHECK_FALSE(later.done());
        leave.open();
        later.wait();
    });
}

TEST_CASE("row 25: cancellations are not reported") {
    expect_reports({}, [] {
        auto task = fiber::spawn(park_until_cancelled);
        fiber::yield();
        task.cancel();
        task.wait();
        fiber::spawn([] { throw fiber::cancelled{}; }).detach();
        { auto dropped = fiber::spawn(park_until_cancelled); }
        fiber::spawn(park_until_cancelled).detach();
        settle();
    });
}

TEST_CASE("row 25: a leftover task that fails in its clean-up at the end of run is reported") {
    expect_reports({"leftover: clean-up failed"}, [] {
        std::atomic<bool> started{false};
        fiber::spawn({.name = "leftover"}, [&] {
            try {
                started = true;
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                throw std::runtime_error("clean-up failed");
            }
        }).detach();
        REQUIRE(yield_until([&] { return started.load(); }));
    });
}

TEST_CASE("row 25: a child that fails as its handle's destructor cancels it is reported") {
    expect_reports({"child: clean-up failed"}, [] {
        std::atomic<bool> started{false};
        auto child = fiber::spawn({.name = "child"}, [&] {
            try {
                started = true;
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                throw std::runtime_error("clean-up failed");
            }
        });
        REQUIRE(yield_until([&] { return started.load(); }));
    });
}

TEST_CASE("row 25: a broken promise that nobody waits for is not reported") {
    const resource_guard guard;
    journal<std::string> seen;
    fiber::set_unretrieved_exception_handler(
        [&](const fiber::unretrieved_exception& report) { seen.add(text_of(report.exception)); });
    {
        fiber::promise<int> promise;
        [[maybe_unused]] auto dropped_first = promise.get_future();
    }
    {
        fiber::future<int> dropped_last;
        dropped_last = fiber::promise<int>().get_future();
    }
    fiber::set_unretrieved_exception_handler(nullptr);
    CHECK(seen.entries().empty());
}

TEST_CASE("an exception that a posted callable throws is reported, and the runtime goes on") {
    for_each_worker_count([](unsigned workers) {
        reports seen;
        {
            runtime_fixture fixture(seen.options(workers));
            fixture.run([&] {
                std::atomic<bool> after{false};
                fixture.runtime().post(fail);
                CHECK(yield_until([&] { return !seen.entries().empty(); }));
                fixture.runtime().post([&] { after = true; });
                CHECK(yield_until([&] { return after.load(); }));
            });
        }
        REQUIRE(seen.entries().size() == 1);
        CHECK(seen.entries()[0].find("forgotten") != std::string::npos);
    });
}

TEST_CASE("row 25: by default a line on stderr names the type, what(), and the task") {
    for_each_worker_count([](unsigned workers) {
        std::string text;
        {
            captured_stderr capture;
            fiber::run({.workers = workers}, [] {
                fiber::spawn({.name = "reader"}, [] { throw std::out_of_range("beyond the end"); }).detach();
                fiber::spawn({.name = "odd"}, [] { throw 5; }).detach();
                settle();
            });
            text = capture.text();
        }
        CHECK(text.find("out_of_range") != std::string::npos);
        CHECK(text.find("beyond the end") != std::string::npos);
        CHECK(text.find("reader") != std::string::npos);
        CHECK(text.find("odd") != std::string::npos);
        CHECK(text.find("int") != std::string::npos);
        CHECK(text.find("unretrieved_test.cpp:") != std::string::npos);  // where it was spawned
        CHECK(std::count(text.begin(), text.end(), '\n') == 2);
    });
}

TEST_CASE("row 25: a handler that throws harms nobody") {
    for_each_worker_count([](unsigned workers) {
        std::atomic<int> called{0};
        fiber::runtime_options options{.workers = workers};
        options.on_unretrieved_exception = [&](const std::exception_ptr& error) {
            ++called;
            std::rethrow_exception(error);
        };
        runtime_fixture fixture(options);
        fixture.run([] {
            auto task = fiber::spawn(fail);
            task.wait();
        });
        CHECK(called == 1);
    });
}

// An empty function was kept as a handler: it was called, threw, and so every report was lost.
TEST_CASE("row 25: an empty function or a null pointer is no handler") {
    CHECK_FALSE(fiber::unretrieved_exception_handler(std::function<void(std::exception_ptr)>()));
    CHECK_FALSE(fiber::unretrieved_exception_handler(static_cast<void (*)(std::exception_ptr)>(nullptr)));
    CHECK(fiber::unretrieved_exception_handler(std::function<void(std::exception_ptr)>([](std::exception_ptr) {})));
}

TEST_CASE("row 25: the handler may be set for all runtimes, and put back") {
    for_each_worker_count([](unsigned workers) {
        journal<std::string> seen;
        fiber::set_unretrieved_exception_handler(
            [&](const fiber::unretrieved_exception& report) { seen.add(text_of(report.exception)); });
        fiber::run({.workers = workers}, [] {
            auto task = fiber::spawn(fail);
            task.wait();
        });
        fiber::set_unretrieved_exception_handler(nullptr);
        CHECK(seen.entries() == std::vector<std::string>{"forgotten"});
    });
}

TEST_CASE(
    "row 25: a promise's exception, and a callback's, reach the handler of the runtime on whose fiber they come up") {
    for_each_worker_count([](unsigned workers) {
        journal<std::string> seen;
        fiber::runtime_options options{.workers = workers};
        options.on_unretrieved_exception = [&](const fiber::unretrieved_exception& report) {
            CHECK(report.task_id == 0);
            seen.add(text_of(report.exception));
        };
        runtime_fixture fixture(options);
        fixture.run([] {
            fiber::promise<int> promise;
            auto future = promise.get_future();
            future.on_done([] { throw std::runtime_error("of the callback"); });
            promise.set_exception(std::make_exception_ptr(std::runtime_error("of the promise")));
        });
        CHECK(seen.entries() == std::vector<std::string>{"of the callback", "of the promise"});
    });
}
