// wait_for: rows 10 to 12 of the semantics.
#include <future>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

TEST_CASE("row 10: expiry cancels the task, waits for its clean-up, then throws timeout_error") {
    in_virtual_time([] {
        const auto start = virtual_now();
        bool cleaned_up = false;
        auto task = fiber::spawn([&] {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                fiber::sleep_for(50ms);
                cleaned_up = true;
                throw;
            }
            return 1;
        });
        CHECK(throws_with_cancellation_nested<fiber::timeout_error>([&] { fiber::wait_for(task, 100ms); }));
        CHECK(cleaned_up);
        CHECK(task.cancelled());
        CHECK(took(start, 150ms));
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 10: a task that suppresses the cancel gives its value, one that fails in clean-up its exception") {
    in_virtual_time([] {
        auto suppresses = [] {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
            }
            return 8;
        };
        auto fails = []() -> int {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
            }
            throw std::runtime_error("in clean-up");
        };
        CHECK(fiber::wait_for(fiber::spawn(suppresses), 10ms) == 8);
        CHECK(fiber::wait_for(10ms, suppresses) == 8);
        CHECK_THROWS_AS(fiber::wait_for(fiber::spawn(fails), 10ms), std::runtime_error);
        CHECK_THROWS_AS(fiber::wait_for(10ms, fails), std::runtime_error);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 10: what ends in time gives its result") {
    in_virtual_time([] {
        auto task = fiber::spawn([] {
            fiber::sleep_for(10ms);
            return std::string("text");
        });
        CHECK(fiber::wait_for(task, 1s) == "text");
        CHECK(fiber::wait_for(fiber::spawn([] { return 1; }), std::nullopt) == 1);
        CHECK(fiber::wait_for(1s, [] { return 2; }) == 2);
        CHECK_THROWS_AS(fiber::wait_for(fiber::spawn([] { throw std::logic_error("own"); }), 1s), std::logic_error);
        fiber::wait_for(fiber::spawn([] {}), std::chrono::steady_clock::time_point(virtual_now() + 1s));
    });
}

TEST_CASE("row 10: a future that times out is cancelled") {
    in_virtual_time([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        CHECK_THROWS_AS(fiber::wait_for(future, 10ms), fiber::timeout_error);
        CHECK(future.cancelled());
        CHECK(promise.done());

        fiber::promise<int> kept;
        auto other = kept.get_future();
        auto setter = fiber::spawn([&] {
            fiber::sleep_for(5ms);
            kept.set_value(3);
        });
        CHECK(fiber::wait_for(other, 1s) == 3);
        fiber::promise<int> shared;
        auto several = shared.get_future().share();
        CHECK_THROWS_AS(fiber::wait_for(several, 10ms), fiber::timeout_error);
        setter.get();
    });
}

TEST_CASE("row 11: with a limit of zero a finished task gives its result, one not started never starts") {
    on_each_worker_count([] {
        for (const auto limit : {0s, -1s}) {
            auto finished = fiber::spawn([] { return 4; });
            finished.wait();
            CHECK(fiber::wait_for(finished, limit) == 4);
            auto failed = fiber::spawn([]() -> int { throw std::runtime_error("failed"); });
            failed.wait();
            CHECK_THROWS_AS(fiber::wait_for(failed, limit), std::runtime_error);

            bool ran = false;
            CHECK_THROWS_AS(fiber::wait_for(limit, [&] { ran = true; }), fiber::timeout_error);
            CHECK_FALSE(ran);
        }
    });
}

TEST_CASE("row 11: with a limit of zero a task that has not started never starts") {
    runtime_fixture fixture(1);
    fixture.run([] {
        bool ran = false;
        auto task = fiber::spawn([&, held = tracked(1)] { ran = true; });
        CHECK(throws_with_cancellation_nested<fiber::timeout_error>([&] { fiber::wait_for(task, 0s); }));
        CHECK_FALSE(ran);
        CHECK(task.cancelled());
    });
}

TEST_CASE("row 11: with a limit of zero a task that waits is cancelled, and its clean-up waited for") {
    in_virtual_time([] {
        bool cleaned_up = false;
        auto task = fiber::spawn([&] {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                fiber::sleep_for(5ms);
                cleaned_up = true;
                throw;
            }
        });
        settle();
        CHECK_THROWS_AS(fiber::wait_for(task, 0s), fiber::timeout_error);
        CHECK(cleaned_up);
    });
}

TEST_CASE("row 11: a finished task costs no timer") {
    on_each_worker_count([](runtime_fixture& fixture) {
        auto task = fiber::spawn([] { return 4; });
        task.wait();
        const auto before = fixture.runtime().statistics().timers;
        CHECK(fiber::wait_for(task, 1h) == 4);
        CHECK(fixture.runtime().statistics().timers == before);
    });
}

TEST_CASE("row 12: cancelling the waiter cancels the inner and is not swallowed") {
    in_virtual_time([] {
        bool inner_saw_it = false;
        auto waiter = fiber::spawn([&] {
            auto inner = fiber::spawn([&] {
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled& error) {
                    inner_saw_it = error.message() == "why";
                    throw;
                }
            });
            fiber::wait_for(inner, 1h);
        });
        settle();
        CHECK(waiter.cancel("why"));
        CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
        CHECK(inner_saw_it);

        auto in_place = fiber::spawn([] { fiber::wait_for(1h, park_until_cancelled); });
        settle();
        CHECK(in_place.cancel());
        CHECK_THROWS_AS(in_place.get(), fiber::cancelled);
    });
}

TEST_CASE("row 12: cancelling the waiter is not swallowed when the inner has just finished") {
    in_virtual_time([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto waiter = fiber::spawn([&] { return fiber::wait_for(future, 1h); });
        settle();
        promise.set_value(1);
        if (waiter.cancel()) CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
    });
    // Elsewhere the waiter may have been faster. On one worker it was not:
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto waiter = fiber::spawn([&] { return fiber::wait_for(future, 1h); });
        settle();
        promise.set_value(1);
        CHECK(waiter.cancel());
        CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
        CHECK(future.get() == 1);
    });
}

TEST_CASE("row 12: cancelled and timed out at once is cancelled") {
    in_virtual_time([] {
        auto waiter = fiber::spawn([] {
            auto inner = fiber::spawn([] {
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                    fiber::sleep_for(1s);  // long enough to be cancelled from outside meanwhile
                    throw;
                }
            });
            fiber::wait_for(inner, 10ms);
        });
        fiber::sleep_for(500ms);
        CHECK(waiter.cancel());
        CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
        CHECK(waiter.cancelled());
    });
}

TEST_CASE("row 12: wait_for a shield leaves the task alone") {
    in_virtual_time([] {
        auto task = fiber::spawn([] {
            fiber::sleep_for(100ms);
            return 6;
        });
        CHECK(
            throws_with_cancellation_nested<fiber::timeout_error>([&] { fiber::wait_for(fiber::shield(task), 10ms); }));
        CHECK_FALSE(task.done());
        CHECK(task.cancelling() == 0);
        CHECK(fiber::wait_for(fiber::shield(task), 1s) == 6);
        auto other = fiber::spawn([] { return 7; });
        other.wait();
        CHECK(fiber::wait_for(fiber::shield(other), 0s) == 7);
    });
}

TEST_CASE("wait_for on a plain thread cancels, waits and throws likewise") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::atomic<bool> started{false};
        std::atomic<bool> cleaned_up{false};
        fiber::promise<void> done;
        auto until = done.get_future().share();
        auto task = fixture.runtime().spawn([&] {
            started = true;
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                fiber::sleep_for(1ms);
                cleaned_up = true;
                throw;
            }
        });
        auto quick = fixture.runtime().spawn([] { return 9; });
        std::thread outside([&] {
            while (!started)
                std::this_thread::yield();  // one that was cancelled before its start has nothing to clean up
            CHECK_THROWS_AS(fiber::wait_for(task, 5ms), fiber::timeout_error);
            CHECK(cleaned_up);
            CHECK(fiber::wait_for(quick, patience) == 9);
            done.set_value();
        });
        fixture.run([&] { until.get(); });
        outside.join();
    });
}

TEST_CASE("wait_for: bad input") {
    on_each_worker_count([] {
        fiber::task<int> nothing;
        try {
            fiber::wait_for(nothing, 1s);
            FAIL("a task that refers to nothing was waited for");
        } catch (const std::future_error& error) {
            CHECK(error.code() == std::future_errc::no_state);
        }
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        auto task = fiber::spawn([] { fiber::yield(); });
        CHECK_THROWS_AS(fiber::wait_for(task, nan), std::invalid_argument);
        task.get();
        bool ran = false;
        CHECK_THROWS_AS(fiber::wait_for(nan, [&] { ran = true; }), std::invalid_argument);
        CHECK_FALSE(ran);
    });
}

TEST_CASE("a million armed and cancelled time-outs leave memory where it was") {
    runtime_fixture fixture(1);
    fixture.run([&] {
        const auto resident = [] {
            long pages = 0;
            long unused = 0;
            if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
                if (std::fscanf(file, "%ld %ld", &unused, &pages) != 2) pages = 0;
                std::fclose(file);
            }
            return pages * 4;
        };
        const int count = scaled(1'000'000);
        for (int i = 0; i < 1000; ++i) fiber::with_timeout(10s, [] { fiber::yield(); });
        const long before = resident();
        for (int i = 0; i < count; ++i) fiber::with_timeout(10s, [] { fiber::yield(); });
        CHECK(fixture.runtime().statistics().timers == 0);
        if (!FIBER_TSAN && !FIBER_ASAN) CHECK(resident() - before < 1024);  // KiB; sanitizers keep shadows of their own
    });
}
