// promise, future and shared_future: values, errors, cancellation, several waiters, fibers and threads mixed.
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

template <class Action>
std::optional<std::error_code> future_error_of(Action action) {
    try {
        action();
    } catch (const std::future_error& error) {
        return error.code();
    }
    return std::nullopt;
}

}  // namespace

static_assert(!std::is_copy_constructible_v<fiber::future<int>>);
static_assert(!std::is_copy_constructible_v<fiber::promise<int>>);
static_assert(std::is_copy_constructible_v<fiber::shared_future<int>>);
static_assert(std::is_nothrow_move_constructible_v<fiber::future<int>>);
static_assert(std::is_nothrow_move_constructible_v<fiber::promise<int>>);

TEST_CASE("a value that is set before or after the wait arrives") {
    on_each_worker_count([] {
        fiber::promise<int> before;
        before.set_value(1);
        CHECK(before.get_future().get() == 1);

        fiber::promise<std::unique_ptr<int>> after;
        auto future = after.get_future();
        auto setter = fiber::spawn([&] { after.set_value(std::make_unique<int>(2)); });
        CHECK(*future.get() == 2);
        setter.get();

        fiber::promise<void> nothing;
        auto signal = nothing.get_future();
        auto opener = fiber::spawn([&] { nothing.set_value(); });
        signal.get();
        opener.get();
    });
}

TEST_CASE("an exception that is set arrives") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto setter =
            fiber::spawn([&] { promise.set_exception(std::make_exception_ptr(std::runtime_error("no value"))); });
        CHECK_THROWS_WITH_AS(future.get(), "no value", std::runtime_error);
        setter.get();
    });
}

TEST_CASE("an exception that is given away is destroyed by who gets it") {
    on_each_worker_count([] {
        fiber::promise<void> promise;
        auto future = promise.get_future();
        long left = -1;
        future.on_done([&] {
            CHECK_THROWS_AS(future.get(), tracked);
            future = {};
            left = tracked::live();
        });
        auto error = std::make_exception_ptr(tracked(1));
        promise.set_exception(std::move(error));
        CHECK(left == 0);
    });
}

TEST_CASE("a promise that is dropped breaks its future") {
    on_each_worker_count([] {
        fiber::future<int> future;
        { future = fiber::promise<int>().get_future(); }
        CHECK(future_error_of([&] { future.get(); }) == std::future_errc::broken_promise);

        auto promise = std::make_unique<fiber::promise<void>>();
        auto waited = promise->get_future();
        auto dropper = fiber::spawn([&] { promise.reset(); });
        CHECK(future_error_of([&] { waited.get(); }) == std::future_errc::broken_promise);
        dropper.get();

        fiber::promise<tracked> kept;
        auto late = kept.get_future();
        kept.set_value(tracked(1));
        { [[maybe_unused]] const auto gone = std::move(kept); }
        CHECK(late.get().value() == 1);
    });
}

TEST_CASE("assignment to a promise breaks the old one") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto old = promise.get_future();
        promise = fiber::promise<int>();
        CHECK(future_error_of([&] { old.get(); }) == std::future_errc::broken_promise);
        auto fresh = promise.get_future();
        promise.set_value(3);
        CHECK(fresh.get() == 3);
    });
}

TEST_CASE("misuse gives the codes of std::future_error") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        CHECK(future_error_of([&] { (void)promise.get_future(); }) == std::future_errc::future_already_retrieved);
        promise.set_value(1);
        CHECK(future_error_of([&] { promise.set_value(2); }) == std::future_errc::promise_already_satisfied);
        CHECK(future_error_of([&] { promise.set_exception(std::make_exception_ptr(3)); }) ==
              std::future_errc::promise_already_satisfied);
        CHECK(future.get() == 1);

        [[maybe_unused]] auto moved = std::move(promise);
        CHECK(future_error_of([&] { (void)promise.get_future(); }) == std::future_errc::no_state);
        CHECK(future_error_of([&] { promise.set_value(4); }) == std::future_errc::no_state);
        fiber::future<int> empty;
        CHECK(future_error_of([&] { empty.get(); }) == std::future_errc::no_state);
        CHECK(future_error_of([&] { empty.wait(); }) == std::future_errc::no_state);
        CHECK(future_error_of([&] { (void)empty.share(); }) == std::future_errc::no_state);
        const fiber::shared_future<int> none;
        CHECK(future_error_of([&] { (void)none.get(); }) == std::future_errc::no_state);
    });
}

TEST_CASE("wait_for says whether the future is ready, and takes nothing") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        CHECK_FALSE(future.wait_for(0s));
        CHECK_FALSE(future.wait_for(1ms));
        CHECK_FALSE(future.wait_until(std::chrono::steady_clock::now() + 1ms));
        promise.set_value(5);
        CHECK(future.wait_for(0s));
        CHECK(future.wait_for(1h));
        future.wait();
        CHECK(future.get() == 5);
    });
}

TEST_CASE("many fibers may wait for one shared_future, and see the same value") {
    on_each_worker_count([] {
        fiber::promise<tracked> promise;
        const auto shared = promise.get_future().share();
        std::vector<fiber::task<const tracked*>> waiters;
        for (int i = 0; i < 20; ++i) waiters.push_back(fiber::spawn([shared] { return &shared.get(); }));
        fiber::yield();
        promise.set_value(tracked(6));
        for (auto& waiter : waiters) CHECK(waiter.get() == &shared.get());
        CHECK(shared.get().value() == 6);
    });
}

TEST_CASE("a shared exception is thrown to everyone") {
    on_each_worker_count([] {
        fiber::promise<void> promise;
        const auto shared = promise.get_future().share();
        std::vector<fiber::task<void>> waiters;
        for (int i = 0; i < 5; ++i) waiters.push_back(fiber::spawn([shared] { shared.get(); }));
        promise.set_exception(std::make_exception_ptr(std::runtime_error("all")));
        for (auto& waiter : waiters) CHECK_THROWS_WITH_AS(waiter.get(), "all", std::runtime_error);
    });
}

TEST_CASE("on_done is called once the future is ready, at once when it is already") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        std::atomic<int> calls{0};
        future.on_done([&] { ++calls; });
        future.on_done([&, held = tracked(1)] { ++calls; });
        CHECK(calls == 0);
        promise.set_value(1);
        CHECK(yield_until([&] { return calls == 2; }));
        future.on_done([&] { ++calls; });
        CHECK(yield_until([&] { return calls == 3; }));
        CHECK(future.get() == 1);
        CHECK(calls == 3);
    });
}

TEST_CASE("on_done is called on a broken promise, and destroyed with its future") {
    on_each_worker_count([] {
        std::atomic<int> calls{0};
        {
            fiber::promise<int> promise;
            auto future = promise.get_future();
            future.on_done([&, held = tracked(1)] { ++calls; });
        }
        CHECK(yield_until([&] { return calls == 1; }));
    });
}

TEST_CASE("a cancelled future throws cancelled to those who wait; cancel tells whether it was in time") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto canceller = fiber::spawn([&] { CHECK(future.cancel()); });
        CHECK_THROWS_AS(future.get(), fiber::cancelled);
        canceller.get();

        fiber::promise<int> done;
        auto ready = done.get_future();
        done.set_value(1);
        CHECK_FALSE(ready.cancel());
        CHECK(ready.get() == 1);
    });
}

TEST_CASE("row 23: a waiter that is cancelled cancels the future it waits for, as await does") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto waiter = fiber::spawn([&] { future.get(); });
        settle();
        CHECK(waiter.cancel("leave"));
        CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
        CHECK(waiter.cancelled());
        CHECK(promise.done());
        CHECK(future_error_of([&] { promise.set_value(1); }) == std::future_errc::promise_already_satisfied);
    });
}

TEST_CASE("row 23: a cancellation is not lost in wait()") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        auto waits_for_future = fiber::spawn([&] { future.wait(); });
        auto task = fiber::spawn(park_until_cancelled);
        auto waits_for_task = fiber::spawn([&] { task.wait(); });
        settle();
        CHECK(waits_for_future.cancel());
        CHECK(waits_for_task.cancel());
        waits_for_future.wait();
        waits_for_task.wait();
        CHECK(waits_for_future.cancelled());
        CHECK(waits_for_task.cancelled());
    });
}

TEST_CASE("a value that nobody takes is destroyed with the last owner") {
    on_each_worker_count([] {
        const long before = tracked::live();
        {
            fiber::promise<tracked> promise;
            [[maybe_unused]] auto future = promise.get_future();
            promise.set_value(tracked(1));
        }
        {
            fiber::promise<tracked> promise;
            promise.set_value(tracked(2));
        }
        CHECK(tracked::live() == before);
    });
}

TEST_CASE("a set that races with the wait loses nothing") {
    on_each_worker_count([] {
        for (int round = 0; round < scaled(500); ++round) {
            fiber::promise<int> there;
            fiber::promise<int> back;
            auto future = back.get_future();
            auto partner = fiber::spawn([&, waits = there.get_future()]() mutable { back.set_value(waits.get() + 1); });
            there.set_value(round);
            REQUIRE(future.get() == round + 1);
            partner.get();
        }
    });
}
