// shield() and uncancellable(): row 26 of the semantics, and the part of row 24 that they are for.
#include <future>
#include <memory>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

// A runtime that counts the exceptions which nobody retrieved.
struct reporting_fixture {
    explicit reporting_fixture(unsigned workers) : fixture(options(workers)) {}

    fiber::runtime_options options(unsigned workers) {
        fiber::runtime_options made{.workers = workers};
        made.on_unretrieved_exception = [this](const std::exception_ptr&) { ++reported; };
        return made;
    }

    std::atomic<int> reported{0};
    runtime_fixture fixture;
};

}  // namespace

TEST_CASE("row 26: cancelling the waiter leaves the shielded task alone") {
    on_each_worker_count([] {
        fiber::event leave;
        auto inner = fiber::spawn([&] {
            leave.wait();
            return 5;
        });
        const auto check = [&](auto wait) {
            auto waiter = fiber::spawn(wait);
            settle();
            CHECK(waiter.cancel("why"));
            std::string message;
            try {
                waiter.get();
            } catch (const fiber::cancelled& error) {
                message = error.message();
            }
            CHECK(message == "why");
            CHECK_FALSE(inner.done());
            CHECK(inner.cancelling() == 0);
        };
        check([&] { (void)fiber::shield(inner).get(); });
        check([&] { fiber::shield(inner).wait(); });
        check([&] { (void)fiber::shield(inner).wait_for(1h); });
        check([&] { (void)fiber::wait_for(fiber::shield(inner), 1h); });
        check([&] { fiber::with_timeout(1h, [&] { (void)fiber::shield(inner).get(); }); });
        check([&] { fiber::gather(fiber::shield(inner), [] {}); });
        check([&] { fiber::with_task_group([&](fiber::task_group&) { (void)fiber::shield(inner).get(); }); });
        leave.set();
        CHECK(fiber::shield(inner).get() == 5);
    });
}

TEST_CASE("row 26: the shield gives the task's value or exception, whatever its type") {
    on_each_worker_count([] {
        auto value = fiber::spawn([] { return std::make_unique<int>(3); });
        CHECK(*fiber::shield(value).get() == 3);
        auto nothing = fiber::spawn([] {});
        fiber::shield(nothing).get();
        int place = 0;
        auto reference = fiber::spawn([&]() -> int& { return place; });
        CHECK(&fiber::shield(reference).get() == &place);
        auto failing = fiber::spawn([] { throw std::runtime_error("failed"); });
        CHECK_THROWS_WITH_AS(fiber::shield(failing).get(), "failed", std::runtime_error);
        auto [one, two] = fiber::gather(fiber::shield(nothing), [] { return 2; });
        CHECK(two == 2);
        fiber::promise<int> promise;
        auto shielded = fiber::shield(promise.get_future());  // a future may be moved in
        CHECK_FALSE(shielded.done());
        promise.set_value(4);
        CHECK(shielded.done());
        CHECK(shielded.get() == 4);
        fiber::promise<int> other;
        other.set_value(6);
        const auto shared = other.get_future().share();
        CHECK(fiber::shield(shared).get() == 6);
    });
}

TEST_CASE("row 26: cancelling the inner cancels the waiter") {
    on_each_worker_count([] {
        auto inner = fiber::spawn(park_until_cancelled);
        auto waiter = fiber::spawn([&] { fiber::shield(inner).get(); });
        settle();
        CHECK(inner.cancel("inner"));
        std::string message;
        try {
            waiter.get();
        } catch (const fiber::cancelled& error) {
            message = error.message();
        }
        CHECK(message == "inner");
        CHECK(waiter.cancelled());
        CHECK(waiter.cancelling() == 0);  // nobody asked the waiter
    });
}

TEST_CASE("row 26: an error after the waiter has left is reported once, with its handle") {
    for_each_worker_count([](unsigned workers) {
        reporting_fixture both(workers);
        both.fixture.run([&] {
            fiber::event leave;
            {
                auto inner = fiber::spawn([&] {
                    leave.wait();
                    throw std::runtime_error("late");
                });
                auto waiter = fiber::spawn([&] { fiber::shield(inner).get(); });
                settle();
                waiter.cancel();
                waiter.wait();
                CHECK(waiter.cancelled());
                leave.set();
                inner.wait();
                CHECK(both.reported == 0);
            }
            CHECK(both.reported == 1);
            {
                auto inner = fiber::spawn([] { throw std::runtime_error("seen"); });
                CHECK_THROWS_AS(fiber::shield(inner).get(), std::runtime_error);
            }
            CHECK(both.reported == 1);
        });
        CHECK(both.reported == 1);
    });
}

TEST_CASE("row 26: the shield does not outlive its task's owner: who drops the task cancels it") {
    on_each_worker_count([] {
        std::atomic<bool> inner_cancelled{false};
        auto owner = fiber::spawn([&] {
            auto inner = fiber::spawn([&] { note_cancellation(inner_cancelled); });
            fiber::shield(inner).get();
        });
        settle();
        owner.cancel();
        CHECK_THROWS_AS(owner.get(), fiber::cancelled);
        CHECK(inner_cancelled);
    });
}

TEST_CASE("shield of a handle that refers to nothing is refused") {
    on_each_worker_count([] {
        fiber::task<int> nothing;
        CHECK_THROWS_AS((void)fiber::shield(nothing), std::future_error);
        CHECK_THROWS_AS((void)fiber::shield(fiber::future<int>()), std::future_error);
        CHECK_THROWS_AS((void)fiber::shield(fiber::shared_future<int>()), std::future_error);
    });
}

TEST_CASE("row 24: inside uncancellable a cancel is counted, and delivered at the first point after it") {
    in_virtual_time([] {
        std::atomic<int> reached{0};
        auto task = fiber::spawn([&] {
            const int value = fiber::uncancellable([&] {
                const auto start = virtual_now();
                fiber::sleep_for(1s);
                CHECK(took(start, 1s));
                fiber::yield();
                CHECK(fiber::this_fiber::cancelling() == 1);
                fiber::this_fiber::check_cancelled();
                return 1;
            });
            reached += value;
            fiber::yield();
            ++reached;
        });
        fiber::sleep_for(10ms);
        CHECK(task.cancel());
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(reached == 1);
    });
}

TEST_CASE("row 24: uncancellable scopes nest, end with exceptions, and return what is returned") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            fiber::this_fiber::cancel();
            CHECK_THROWS_AS(fiber::uncancellable([] {
                                fiber::uncancellable([] { fiber::yield(); });
                                fiber::yield();
                                throw std::runtime_error("out");
                            }),
                            std::runtime_error);
            int place = 0;
            CHECK(&fiber::uncancellable([&]() -> int& { return place; }) == &place);
            CHECK_THROWS_AS(fiber::yield(), fiber::cancelled);
        });
        task.wait();
        CHECK(task.exception() == nullptr);
        CHECK(fiber::uncancellable([] { return 2; }) == 2);
    });
    CHECK(fiber::uncancellable([] { return 3; }) == 3);  // on a plain thread
}

TEST_CASE("row 24: every wait inside uncancellable holds, a clean-up that waits is finished") {
    on_each_worker_count([] {
        std::atomic<int> steps{0};
        auto task = fiber::spawn([&] {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                fiber::uncancellable([&] {
                    auto child = fiber::spawn([&] { fiber::yield(); });
                    child.get();
                    ++steps;
                    fiber::gather([] { fiber::yield(); }, [] { fiber::yield(); });
                    ++steps;
                    fiber::channel<int> channel(0);
                    auto pusher = fiber::spawn([&] { channel.push(1); });
                    CHECK(channel.pop() == 1);
                    pusher.get();
                    ++steps;
                    fiber::to_thread([] {});
                    ++steps;
                    fiber::with_task_group([&](fiber::task_group& group) { group.spawn([&] { ++steps; }); });
                });
                throw;
            }
        });
        settle();
        task.cancel();
        CHECK(yield_until([&] { return steps > 0 || task.done(); }));
        (void)task.cancel();  // a second request, in the middle of the clean-up, or after it
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(steps == 5);
    });
}
