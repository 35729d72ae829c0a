// Cancellations that meet a task in the middle of a step, replayed: the lock that guards a task's cancel message holds
// the canceller back between its look at what the task waits for and its delivery.
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

// The story: whoever cancels a task first looks whether that waits for another, and if not, leaves the cancellation
// with the task itself. A task that meanwhile calls its child on its own stack cannot be woken, and the child knew
// nothing: both waited for ever, if nobody else ended the child.
TEST_CASE("row 23: a cancellation that arrives while the task calls its child reaches the child") {
    on_each_worker_count([] {
        fiber::event go;
        fiber::event never;
        std::atomic<bool> child_waits{false};
        std::atomic<bool> child_cancelled{false};
        auto parent = fiber::spawn([&] {
            go.wait();
            auto child = fiber::spawn([&] {
                child_waits = true;
                try {
                    never.wait();
                } catch (const fiber::cancelled&) {
                    child_cancelled = true;
                    throw;
                }
            });
            child.get();
        });
        CHECK(yield_until([&] { return parent.slot().park.waiting(); }));
        std::unique_lock guard(parent.slot().lock);
        std::thread canceller([&] { CHECK(parent.cancel("from a thread")); });
        CHECK(yield_until([&] { return parent.cancelling() == 1; }));
        std::this_thread::sleep_for(2ms);  // it is about to write its message; if it is slower, another order is tested
        go.set();
        CHECK(yield_until([&] { return child_waits.load(); }));
        guard.unlock();
        CHECK(yield_until([&] { return parent.done(); }));
        never.set();  // so that a failure does not hang
        canceller.join();
        CHECK(child_cancelled);
        CHECK(parent.cancelled());
        CHECK(parent.cancelling() == 1);
        CHECK_THROWS_AS(parent.get(), fiber::cancelled);
    });
}

TEST_CASE("row 23: a child that its parent has called and that has not waited yet is cancelled through the parent") {
    on_each_worker_count([] {
        std::atomic<bool> child_runs{false};
        std::atomic<bool> is_cancelled{false};
        fiber::event never;
        auto parent = fiber::spawn([&] {
            auto child = fiber::spawn([&] {
                child_runs = true;
                while (!is_cancelled) std::this_thread::yield();  // no cancellation point
                never.wait();
            });
            child.get();
        });
        std::thread canceller([&] {
            while (!child_runs) std::this_thread::yield();
            parent.cancel("why");
            is_cancelled = true;
        });
        try {
            parent.get();
            CHECK(false);
        } catch (const fiber::cancelled& error) {
            CHECK(std::string(error.message()) == "why");
        }
        canceller.join();
    });
}
