// on_done(): asyncio's add_done_callback; and what many may do with one shared_future.
#include <future>
#include <memory>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

TEST_CASE("on_done is called by whoever brings the end: value, exception, cancellation, broken promise") {
    on_each_worker_count([] {
        const auto calls_when = [](auto end) {
            std::atomic<int> calls{0};
            std::optional<fiber::promise<int>> promise(std::in_place);
            auto future = promise->get_future();
            future.on_done([&] {
                CHECK(future.done());
                ++calls;
            });
            CHECK(calls == 0);
            end(promise, future);
            if (!future.cancelled()) (void)future.exception();  // retrieved
            return calls == 1;
        };
        CHECK(calls_when([](auto& promise, auto&) { promise->set_value(1); }));
        CHECK(calls_when(
            [](auto& promise, auto&) { promise->set_exception(std::make_exception_ptr(std::runtime_error("no"))); }));
        CHECK(calls_when([](auto&, auto& future) { CHECK(future.cancel()); }));
        CHECK(calls_when([](auto& promise, auto&) { promise.reset(); }));
    });
}

TEST_CASE("on_done: several are called in their order, each is destroyed after its call") {
    on_each_worker_count([] {
        fiber::promise<void> promise;
        auto future = promise.get_future();
        std::vector<int> order;
        for (int i = 0; i < 5; ++i) future.on_done([&, i, held = std::make_unique<tracked>(i)] { order.push_back(i); });
        CHECK(tracked::live() == 5);
        promise.set_value();
        CHECK(order == std::vector{0, 1, 2, 3, 4});
        CHECK(tracked::live() == 0);
        future.on_done([&] { order.push_back(5); });  // the end has come: at once
        CHECK(order.back() == 5);
    });
}

TEST_CASE("on_done of a shared future, a group's task, and an offloaded call") {
    on_each_worker_count([] {
        std::atomic<int> calls{0};
        fiber::promise<int> promise;
        auto shared = promise.get_future().share();
        auto copy = shared;
        shared.on_done([&] { ++calls; });
        copy.on_done([&] { ++calls; });
        promise.set_value(3);
        CHECK(calls == 2);
        fiber::task_group group;
        auto member = group.spawn([] { fiber::yield(); });
        member.on_done([&] { ++calls; });
        group.join();
        CHECK(yield_until([&] { return calls == 3; }));
        auto offloaded = fiber::run_in_executor([] {});
        offloaded.on_done([&] { ++calls; });
        offloaded.get();
        CHECK(yield_until([&] { return calls == 4; }));
    });
}

TEST_CASE("on_done may drop the future, settle another, start a task") {
    on_each_worker_count([] {
        fiber::promise<int> first;
        fiber::promise<int> second;
        auto dropped = std::make_unique<fiber::future<int>>(first.get_future());
        auto other = second.get_future();
        std::optional<fiber::task<int>> task;
        dropped->on_done([&] {
            dropped.reset();
            second.set_value(2);
            task = fiber::spawn([] { return 3; });
        });
        first.set_value(1);
        CHECK(other.get() == 2);
        CHECK(task->get() == 3);
    });
}

TEST_CASE("what on_done's callable throws is reported, and the others are called") {
    on_each_worker_count([] {
        std::atomic<int> reported{0};
        const auto before = fiber::set_unretrieved_exception_handler([&](const std::exception_ptr&) { ++reported; });
        std::atomic<int> calls{0};
        fiber::promise<int> promise;
        auto future = promise.get_future();
        future.on_done([&] {
            ++calls;
            throw std::runtime_error("from a callback");
        });
        future.on_done([&] { ++calls; });
        promise.set_value(1);
        fiber::set_unretrieved_exception_handler(before);
        CHECK(calls == 2);
        CHECK(reported == 1);
        CHECK(future.get() == 1);
    });
}

TEST_CASE("on_done: bad input") {
    fiber::future<int> nothing;
    CHECK_THROWS_AS(nothing.on_done([held = tracked(1)] {}), std::future_error);
    fiber::shared_future<int> none;
    CHECK_THROWS_AS(none.on_done([held = tracked(1)] {}), std::future_error);
    struct throws_on_copy {
        throws_on_copy() = default;
        throws_on_copy(const throws_on_copy&) { throw std::runtime_error("copy failed"); }
        void operator()() const {}
    };
    fiber::promise<int> promise;
    auto future = promise.get_future();
    const throws_on_copy fragile;
    CHECK_THROWS_AS(future.on_done(fragile), std::runtime_error);
    promise.set_value(1);
    CHECK(future.get() == 1);
    CHECK(tracked::live() == 0);
}

TEST_CASE("on_done that races with the end is called once") {
    on_each_worker_count([] {
        for (int round = 0; round < scaled(500); ++round) {
            std::atomic<int> calls{0};
            fiber::promise<int> promise;
            auto future = promise.get_future();
            auto setter = fiber::spawn([&] { promise.set_value(1); });
            if (round % 2 == 0) fiber::yield();
            future.on_done([&] { ++calls; });
            setter.get();
            CHECK(yield_until([&] { return calls == 1; }));
        }
    });
}

TEST_CASE("shared_future: copies, waits with limits, cancel, exception; the value lives as long as a copy") {
    on_each_worker_count([] {
        std::optional<fiber::promise<tracked>> promise(std::in_place);
        auto shared = promise->get_future().share();
        fiber::shared_future<tracked> copy = shared;
        CHECK(copy.valid());
        CHECK_FALSE(copy.done());
        CHECK_FALSE(copy.wait_for(0s));
        promise->set_value(tracked(5));
        promise.reset();
        CHECK(copy.wait_until(std::chrono::steady_clock::now() + 1h));
        CHECK(copy.exception() == nullptr);
        shared = {};
        CHECK(copy.get().value() == 5);
        CHECK_FALSE(copy.cancel());
        copy = {};
        CHECK(tracked::live() == 0);

        fiber::promise<int> other;
        auto to_cancel = other.get_future().share();
        std::vector<fiber::task<void>> waiters;
        for (int i = 0; i < 3; ++i) waiters.push_back(fiber::spawn([to_cancel] { (void)to_cancel.get(); }));
        settle();
        CHECK(to_cancel.cancel("for all"));
        CHECK(to_cancel.cancelled());
        for (auto& each : waiters) CHECK_THROWS_AS(each.get(), fiber::cancelled);
    });
}

// asyncio: `await future` in several tasks passes a cancellation on to the one future, and all see it. Shared futures
// are what many wait for: one that gives up must not take it from the others.
TEST_CASE("one of many that wait for a shared_future is cancelled: the others wait on") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        const auto shared = promise.get_future().share();
        auto leaves = fiber::spawn([shared] { (void)shared.get(); });
        auto stays = fiber::spawn([shared] { return shared.get(); });
        settle();
        CHECK(leaves.cancel());
        CHECK_THROWS_AS(leaves.get(), fiber::cancelled);
        CHECK_FALSE(stays.done());
        promise.set_value(7);
        CHECK(stays.get() == 7);
    });
}
