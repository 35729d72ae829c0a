// call_later and call_at: asyncio's delayed calls.
#include <future>
#include <limits>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"
#include "tests/api/waits_at_its_end.hpp"

using namespace fiber::test;

TEST_CASE("call_later calls when the time has come, not before, as a task of its own") {
    in_virtual_time([] {
        const auto start = virtual_now();
        std::atomic<std::uint64_t> called_on{0};
        std::atomic<bool> in_time{false};
        fiber::event called;
        fiber::call_later(50ms, [&, held = tracked(1)] {
            in_time = took(start, 50ms);
            called_on = fiber::this_fiber::id();
            fiber::yield();  // it may wait
            called.set();
        });
        CHECK(tracked::live() == 1);
        fiber::sleep_for(49ms);
        CHECK_FALSE(called.is_set());
        called.wait();
        CHECK(in_time);
        CHECK(called_on != 0);
        CHECK(called_on != fiber::this_fiber::id());
        CHECK(yield_until([] { return tracked::live() == 0; }));
    });
}

TEST_CASE("call_later of zero or less calls soon, but not at once") {
    on_each_worker_count([] {
        for (const auto delay : {0s, -1s, std::chrono::seconds::min()}) {
            std::atomic<bool> called{false};
            const auto caller = fiber::this_fiber::id();
            fiber::call_later(delay, [&, caller] {
                CHECK(fiber::this_fiber::id() != caller);
                called = true;
            });
            CHECK(yield_until([&] { return called.load(); }));
        }
    });
}

TEST_CASE("calls come in the order of their times, those for one time in the order of asking") {
    runtime_fixture fixture(fiber::runtime_options{.workers = 1, .virtual_time = true});
    fixture.run([] {
        journal<int> order;
        for (const int n : {3, 1, 2}) fiber::call_later(n * 10ms, [&, n] { order.add(n); });
        for (const int n : {7, 8, 9}) fiber::call_later(0ms, [&, n] { order.add(n); });
        fiber::sleep_for(1s);
        CHECK(order.entries() == std::vector{7, 8, 9, 1, 2, 3});
    });
}

TEST_CASE("call_at takes time points of any clock") {
    in_virtual_time([] {
        const auto start = virtual_now();
        fiber::event called;
        fiber::call_at(std::chrono::steady_clock::time_point(start + 20ms), [&] { called.set(); });
        called.wait();
        CHECK(took(start, 20ms));
        fiber::event past;
        fiber::call_at(std::chrono::system_clock::now() - 1h, [&] { past.set(); });
        past.wait();
        CHECK(took(start, 20ms));
    });
}

TEST_CASE("cancel: true before the call, and it does not happen; false after, and the second time") {
    in_virtual_time([](runtime_fixture& fixture) {
        std::atomic<int> calls{0};
        auto cancelled = fiber::call_later(1h, [&, held = tracked(1)] { ++calls; });
        auto copy = cancelled;
        CHECK(fixture.runtime().statistics().timers == 1);
        CHECK(cancelled.cancel());
        CHECK(tracked::live() == 0);
        CHECK(fixture.runtime().statistics().timers == 0);
        CHECK_FALSE(cancelled.cancel());
        CHECK_FALSE(copy.cancel());
        auto happened = fiber::call_later(10ms, [&] { ++calls; });
        fiber::sleep_for(20ms);
        CHECK(calls == 1);
        CHECK_FALSE(happened.cancel());
        fiber::sleep_for(2h);
        CHECK(calls == 1);
        CHECK_THROWS_AS(fiber::call_handle().cancel(), std::future_error);
    });
}

TEST_CASE("a call whose time has come can still be cancelled before its turn") {
    runtime_fixture fixture(1);
    fixture.run([] {
        bool called = false;
        auto soon = fiber::call_later(0s, [&, held = tracked(1)] { called = true; });
        CHECK(soon.cancel());
        fiber::yield();
        CHECK_FALSE(called);
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("cancel races with the call: it happens, or cancel was true") {
    on_each_worker_count([] {
        for (int round = 0; round < scaled(300); ++round) {
            std::atomic<bool> called{false};
            auto handle = fiber::call_later(std::chrono::microseconds(round % 60), [&] { called = true; });
            for (int turn = 0; turn < round % 7; ++turn) fiber::yield();
            if (!handle.cancel()) CHECK(yield_until([&] { return called.load(); }));
            settle();
        }
    });
}

TEST_CASE("a handle works from plain threads, and outlives its run") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::optional<fiber::call_handle> left;
        std::atomic<bool> called{false};
        fixture.run([&] {
            auto handle = fiber::call_later(1h, [&] { called = true; });
            std::thread([&] { CHECK(handle.cancel()); }).join();
            left = fiber::call_later(1h, [&, held = tracked(1)] { called = true; });
        });
        CHECK(tracked::live() == 0);  // what has not begun when run() ends is dropped
        CHECK_FALSE(left->cancel());
        CHECK_FALSE(called);
    });
}

TEST_CASE("the end of run drops calls that have not begun, and cancels those that have") {
    for_each_worker_count([](unsigned workers) {
        const auto begin = std::chrono::steady_clock::now();
        runtime_fixture fixture(workers);
        std::atomic<bool> began{false};
        std::atomic<bool> cancelled{false};
        fixture.run([&] {
            fiber::call_later(1h, [held = tracked(1)] {});
            fiber::call_later(0s, [&] {
                began = true;
                note_cancellation(cancelled);
            });
            CHECK(yield_until([&] { return began.load(); }));
        });
        CHECK(cancelled);
        CHECK(std::chrono::steady_clock::now() - begin < 30min);
    });
}

TEST_CASE("what a call throws is reported; its value is dropped") {
    for_each_worker_count([](unsigned workers) {
        std::atomic<int> reported{0};
        fiber::runtime_options options{.workers = workers};
        options.on_unretrieved_exception = [&](const std::exception_ptr&) { ++reported; };
        runtime_fixture fixture(options);
        fixture.run([&] {
            fiber::call_later(0s, [] { throw std::runtime_error("nobody sees it"); });
            fiber::call_later(0s, [] { return tracked(1); });
            CHECK(yield_until([&] { return reported == 1; }));
            settle();
        });
        CHECK(reported == 1);
    });
}

TEST_CASE("call_later: bad input") {
    CHECK_THROWS_AS(fiber::call_later(1s, [held = tracked(1)] {}), fiber::usage_error);
    CHECK(tracked::live() == 0);
    on_each_worker_count([](runtime_fixture& fixture) {
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        CHECK_THROWS_AS(fiber::call_later(nan, [held = tracked(1)] {}), std::invalid_argument);
        struct throws_on_copy {
            throws_on_copy() = default;
            throws_on_copy(const throws_on_copy&) { throw std::runtime_error("copy failed"); }
            void operator()() const {}
        };
        const throws_on_copy fragile;
        CHECK_THROWS_AS(fiber::call_later(1s, fragile), std::runtime_error);
        CHECK(tracked::live() == 0);
        CHECK(fixture.runtime().statistics().timers == 0);
        auto never = fiber::call_later(std::chrono::hours::max(), [] { FAIL("called at the end of time"); });
        CHECK(never.cancel());
    });
}

TEST_CASE("a call that is cancelled in time is destroyed on the caller, who may wait for that though cancelled") {
    on_each_worker_count([] {
        destroys_though_cancelled([](auto callable) {
            auto call = fiber::call_later(1h, std::move(callable));
            fiber::this_fiber::cancel();
            CHECK(call.cancel());
        });
    });
}
