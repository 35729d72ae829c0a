// Cancellations that meet the end of the task they are meant for, step by step.
//
// The story. cancel() first counts the request, at the task and at each one further down that it waits for, and then
// delivers it to the last of them. Between the two that last one could finish: it took nothing any more, the one that
// had waited for it went on as if nobody had asked, and whoever had cancelled it, a parent on its way out, say, waited
// for it for ever. The same at the top of the chain: cancel() said true, and the task ended with a value.
//
// The moment between count and delivery is reached through a stop callback, which cancel() calls just there. Who
// cancels is a thread that runs no fibers, so that at one worker, too, the task can end meanwhile.
#include <functional>
#include <stop_token>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

// A task that waits to be cancelled, and returns 1 inside that cancel(): behind its count, before its delivery. The
// delivery then waits until `meanwhile` holds, too.
class ends_as_it_is_cancelled {
 public:
    using condition = std::function<bool()>;

    explicit ends_as_it_is_cancelled(condition meanwhile) : meanwhile_(std::move(meanwhile)) {}
    ends_as_it_is_cancelled() : ends_as_it_is_cancelled([] { return true; }) {}

    fiber::task<int>& task() { return task_; }

 private:
    void end() {
        may_end_.set();
        CHECK(spin_until([this] { return task_.done() && meanwhile_(); }));
    }

    const condition meanwhile_;
    fiber::event may_end_;
    fiber::task<int> task_ = fiber::spawn([this] {
        may_end_.wait();
        return 1;
    });
    std::stop_callback<std::function<void()>> in_between_{fiber::get_stop_token(task_), [this] { end(); }};
};

// From a thread that runs no fibers.
template <class T>
bool cancel_from_outside(fiber::task<T>& task) {
    settle();
    return fiber::to_thread([&task] { return task.cancel(); });
}

}  // namespace

TEST_CASE("row 21: cancel is false when the task ends with its value before the delivery") {
    on_each_worker_count([] {
        ends_as_it_is_cancelled last;
        CHECK_FALSE(cancel_from_outside(last.task()));
        CHECK_FALSE(last.task().cancelled());
        CHECK(last.task().cancelling() == 0);
        CHECK(last.task().get() == 1);
    });
}

TEST_CASE("row 23: what is awaited ends before the delivery: the waiter is cancelled all the same") {
    on_each_worker_count([] {
        ends_as_it_is_cancelled last;
        auto waiter = fiber::spawn([&] {
            (void)last.task().get();
            park_until_cancelled();
        });
        CHECK(cancel_from_outside(waiter));
        CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
        CHECK(waiter.cancelling() == 1);
    });
}

TEST_CASE("row 23: the same further down a chain: the nearest that goes on is cancelled") {
    on_each_worker_count([] {
        std::atomic<bool> went_on{false};
        ends_as_it_is_cancelled last([&] { return went_on.load(); });
        auto middle = fiber::spawn([&] {
            (void)last.task().get();
            went_on = true;
            park_until_cancelled();
        });
        auto top = fiber::spawn([&] { middle.get(); });
        CHECK(cancel_from_outside(top));
        CHECK_THROWS_AS(top.get(), fiber::cancelled);
        CHECK(middle.cancelled());
        CHECK(middle.cancelling() == 1);
        CHECK(top.cancelling() == 1);
    });
}

TEST_CASE("row 23: the same, and the nearest waits for another by then, which is cancelled") {
    on_each_worker_count([] {
        std::atomic<bool> went_on{false};
        ends_as_it_is_cancelled last([&] { return went_on.load(); });
        auto other = fiber::spawn(park_until_cancelled);
        auto middle = fiber::spawn([&] {
            (void)last.task().get();
            went_on = true;
            other.get();
        });
        auto top = fiber::spawn([&] { middle.get(); });
        CHECK(cancel_from_outside(top));
        CHECK_THROWS_AS(top.get(), fiber::cancelled);
        for (const auto* each : {&other, &middle, &top}) {
            CHECK(each->cancelled());
            CHECK(each->cancelling() == 1);
        }
    });
}

TEST_CASE("row 23: the same when a long chain ends at once but for its top") {
    on_each_worker_count([] {
        constexpr int length = 50;
        std::vector<fiber::task<void>> chain;
        chain.reserve(length);
        std::atomic<int> ended{0};
        ends_as_it_is_cancelled last([&] { return ended == length; });
        for (int i = 0; i < length; ++i) {
            chain.push_back(fiber::spawn([&, i] {
                i == 0 ? (void)last.task().get() : chain[static_cast<std::size_t>(i) - 1].get();
                ++ended;
            }));
            settle();
        }
        auto top = fiber::spawn([&] {
            chain.back().get();
            park_until_cancelled();
        });
        CHECK(cancel_from_outside(top));
        CHECK_THROWS_AS(top.get(), fiber::cancelled);
        CHECK(top.cancelling() == 1);
    });
}

// The one who waits has taken the request already when it passes it on: if nobody takes it, it is the waiter's own.
TEST_CASE("row 23: a pending cancel that the awaited task is too late for is not lost") {
    for_each_worker_count([](unsigned workers) {
        if (workers == 1) return;  // the waiter passes it on, on its own worker, where nothing else can end meanwhile
        runtime_fixture fixture(workers);
        fixture.run([] {
            ends_as_it_is_cancelled last;
            settle();
            auto waiter = fiber::spawn([&] {
                CHECK(fiber::this_fiber::cancel());
                return last.task().get();
            });
            CHECK_THROWS_AS(waiter.get(), fiber::cancelled);
            CHECK(last.task().get() == 1);
        });
    });
}
