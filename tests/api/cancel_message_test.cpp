// The message of a cancellation: which of several it is, and how far it comes.
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

// The message of the cancellation that ends waits().
template <class F>
std::string message_of(F&& waits) {
    try {
        (void)waits();
    } catch (const fiber::cancelled& why) {
        return why.message();
    }
    return "not cancelled";
}

int park() {
    park_until_cancelled();
    return 0;
}

}  // namespace

TEST_CASE("the message of a cancellation goes through a future to whoever waits for it") {
    on_each_worker_count([] {
        fiber::promise<int> direct;
        auto settled = direct.get_future();
        CHECK(settled.cancel("at the future"));
        CHECK(message_of([&] { return settled.get(); }) == "at the future");

        fiber::promise<int> awaited;
        fiber::event waiting;
        auto waiter = fiber::spawn([&, future = awaited.get_future()]() mutable {
            waiting.set();
            return message_of([&] { return future.get(); });
        });
        waiting.wait();
        settle();
        waiter.cancel("at the waiter");
        CHECK(waiter.get() == "at the waiter");

        fiber::promise<int> one;
        fiber::promise<int> other;
        fiber::shared_future<int> shared = one.get_future().share();
        auto gatherer = fiber::spawn([&, future = other.get_future()]() mutable {
            return message_of([&] { return fiber::gather(shared, future); });
        });
        settle();
        gatherer.cancel("at the gatherer");
        CHECK(gatherer.get() == "at the gatherer");
        CHECK(message_of([&] { return shared.get(); }) == "at the gatherer");
    });
}

TEST_CASE("a cancellation without a message does not have that of one before, which was delivered") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            const std::string first = message_of(park);
            fiber::this_fiber::cancel();
            const std::string second = message_of(park);
            fiber::this_fiber::cancel("third");
            return first + "," + second + "," + message_of(park);
        });
        settle();
        task.cancel("first");
        CHECK(task.get() == "first,,third");
    });
}

TEST_CASE("a cancellation without a message that comes on top of an undelivered one leaves that its message") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            fiber::this_fiber::cancel("why");
            fiber::this_fiber::cancel();
            return message_of(park);
        });
        CHECK(task.get() == "why");
    });
}

TEST_CASE("row 20: the request from outside that a group delivers again has its message") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            const auto group = [] {
                fiber::with_task_group([](fiber::task_group& members) {
                    members.spawn([] {
                        (void)message_of(park);
                        throw std::runtime_error("in clean-up");
                    });
                    park();
                });
            };
            CHECK_THROWS_AS(group(), fiber::exception_group);
            return message_of(park);
        });
        settle();
        task.cancel("from outside");
        CHECK(task.get() == "from outside");
    });
}
