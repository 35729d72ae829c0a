// Cancellation, and the exceptions that nobody retrieved: rows 21 to 25 of the semantics.
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

// A task that can reach its own handle: started() is called by the parent once the handle stands.
template <class T>
class self_reference {
 public:
    template <class Body>
    fiber::task<T>& spawn(Body body) {
        handle_.emplace(fiber::spawn([this, body] {
            ready_.wait();
            return body(*handle_);
        }));
        ready_.open();
        return *handle_;
    }

 private:
    gate ready_;
    std::optional<fiber::task<T>> handle_;
};

std::string message_of(const fiber::cancelled& error) { return std::string(error.message()); }

}  // namespace

static_assert(!std::is_base_of_v<std::exception, fiber::cancelled>);

TEST_CASE("row 21: a task cancelled before its start never runs") {
    runtime_fixture fixture(1);
    fixture.run([] {
        const long before = tracked::live();
        bool ran = false;
        auto task = fiber::spawn([&, held = tracked(1)] { ran = true; });
        CHECK(task.cancel());
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelled());
        CHECK_FALSE(ran);
        CHECK(tracked::live() == before);
    });
}

TEST_CASE("row 21: a task cancelled before the runtime runs never runs") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::atomic<bool> ran{false};
        auto task = fixture.runtime().spawn([&, held = tracked(1)] { ran = true; });
        CHECK(task.cancel("too early"));
        fixture.run([] {});
        CHECK(task.cancelled());
        CHECK_FALSE(ran);
        try {
            task.get();
            FAIL("a cancelled task gave a result");
        } catch (const fiber::cancelled& error) {
            CHECK(message_of(error) == "too early");
        }
    });
}

TEST_CASE("row 21: cancel is true and counted while the task is unfinished, false after") {
    on_each_worker_count([] {
        std::atomic<bool> leave{false};
        std::atomic<bool> started{false};
        auto task = fiber::spawn([&] {
            try {
                started = true;
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
            }
            while (!leave) std::this_thread::yield();  // no cancellation point
            return 1;
        });
        REQUIRE(yield_until([&] { return started.load(); }));
        CHECK(task.cancelling() == 0);
        CHECK(task.cancel());
        CHECK(task.cancel());
        CHECK(task.cancelling() == 2);
        leave = true;
        task.wait();
        CHECK_FALSE(task.cancel());
        auto finished = fiber::spawn([] { return 2; });
        finished.wait();
        CHECK_FALSE(finished.cancel());
        CHECK(finished.cancelling() == 0);
        CHECK(finished.get() == 2);
    });
}

TEST_CASE("row 21: a task that suppresses its cancellation keeps its result and is not cancelled") {
    in_virtual_time([] {
        std::atomic<bool> started{false};
        auto task = fiber::spawn([&] {
            try {
                started = true;
                park_until_cancelled();
            } catch (const fiber::cancelled& error) {
                CHECK(message_of(error) == "please");
            }
            fiber::yield();  // delivered once, so this is calm
            fiber::sleep_for(1ms);
            return 6;
        });
        REQUIRE(yield_until([&] { return started.load(); }));
        CHECK(task.cancel("please"));
        CHECK(task.get() == 6);
        CHECK_FALSE(task.cancelled());
    });
}

TEST_CASE("row 21: a cancelled task that lets it pass is cancelled, with the message") {
    on_each_worker_count([] {
        std::atomic<bool> started{false};
        auto task = fiber::spawn([&, held = tracked(1)] {
            started = true;
            park_until_cancelled();
        });
        REQUIRE(yield_until([&] { return started.load(); }));
        CHECK(task.cancel("enough"));
        try {
            task.get();
            FAIL("a cancelled task gave a result");
        } catch (const fiber::cancelled& error) {
            CHECK(message_of(error) == "enough");
        }
        CHECK(task.cancelled());
        CHECK(task.done());
    });
}

TEST_CASE("row 22: cancelling oneself takes effect at the next cancellation point") {
    on_each_worker_count([] {
        bool went_on = false;
        bool passed_the_point = false;
        self_reference<void> self;
        auto& task = self.spawn([&](fiber::task<void>& me) {
            CHECK(me.cancel());
            went_on = true;
            fiber::yield();
            passed_the_point = true;
        });
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelled());
        CHECK(went_on);
        CHECK_FALSE(passed_the_point);
    });
}

TEST_CASE("row 22: one who cancels himself and returns first still ends cancelled") {
    on_each_worker_count([] {
        const long before = tracked::live();
        self_reference<tracked> self;
        auto& task = self.spawn([](fiber::task<tracked>& me) {
            me.cancel();
            return tracked(5);
        });
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelled());
        CHECK(tracked::live() == before);
    });
}

TEST_CASE("row 22: the same while others wait for it") {
    on_each_worker_count([] {
        const long before = tracked::live();
        gate leave;
        auto task = fiber::spawn([&] {
            leave.wait();
            fiber::this_fiber::cancel("by itself");
            return tracked(5);
        });
        const auto wait = [&] { task.wait(); };
        auto first = fiber::spawn(wait);
        auto second = fiber::spawn(wait);
        settle();
        leave.open();
        fiber::gather(first, second);
        CHECK(task.cancelled());
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(tracked::live() == before);
    });
}

TEST_CASE("row 22: one who cancels himself and throws keeps his exception") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            CHECK(fiber::this_fiber::cancel());
            CHECK(fiber::this_fiber::cancelling() == 1);
            throw std::runtime_error("mine");
        });
        CHECK_THROWS_WITH_AS(task.get(), "mine", std::runtime_error);
        CHECK_FALSE(task.cancelled());
    });
}

TEST_CASE("row 22: throwing cancelled without a cancel ends as cancelled, count 0") {
    on_each_worker_count([] {
        auto task = fiber::spawn([]() -> int { throw fiber::cancelled{}; });
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelled());
        CHECK(task.cancelling() == 0);
    });
}

TEST_CASE("row 23: cancelling a waiter cancels what it awaits, recursively") {
    on_each_worker_count([] {
        journal<std::string> seen;
        std::atomic<bool> at_the_bottom{false};
        const auto note = [&](const char* who, auto wait) {
            try {
                wait();
            } catch (const fiber::cancelled& error) {
                seen.add(who + (": " + message_of(error)));
                throw;
            }
        };
        auto outer = fiber::spawn([&] {
            auto middle = fiber::spawn([&] {
                auto inner = fiber::spawn([&] {
                    note("inner", [&] {
                        at_the_bottom = true;
                        park_until_cancelled();
                    });
                });
                note("middle", [&] { inner.get(); });
            });
            note("outer", [&] { middle.get(); });
        });
        REQUIRE(yield_until([&] { return at_the_bottom.load(); }));
        settle();
        CHECK(outer.cancel("stop"));
        CHECK_THROWS_AS(outer.get(), fiber::cancelled);
        CHECK(seen.entries() == std::vector<std::string>{"inner: stop", "middle: stop", "outer: stop"});
    });
}

TEST_CASE("row 23: an awaited task that suppresses the cancel gives its result to the waiter") {
    on_each_worker_count([] {
        std::atomic<bool> parked{false};
        auto outer = fiber::spawn([&] {
            auto inner = fiber::spawn([&] {
                try {
                    parked = true;
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                }
                return 12;
            });
            return inner.get();
        });
        REQUIRE(yield_until([&] { return parked.load(); }));
        settle();  // until outer waits too: before that, the cancel would be outer's own
        CHECK(outer.cancel());
        CHECK(outer.get() == 12);
        CHECK_FALSE(outer.cancelled());
    });
}

TEST_CASE("row 23: cancelling what is awaited makes the waiter see cancelled") {
    on_each_worker_count([] {
        std::atomic<bool> parked{false};
        auto inner = fiber::spawn([&] {
            parked = true;
            park_until_cancelled();
        });
        std::atomic<bool> saw{false};
        auto outer = fiber::spawn([&] {
            try {
                inner.get();
            } catch (const fiber::cancelled& error) {
                saw = message_of(error) == "inner only";
            }
            fiber::yield();  // the waiter itself was not cancelled
            return 3;
        });
        REQUIRE(yield_until([&] { return parked.load(); }));
        CHECK(inner.cancel("inner only"));
        CHECK(outer.get() == 3);
        CHECK(saw);
        CHECK(outer.cancelling() == 0);
        CHECK_FALSE(outer.cancelled());
    });
}

TEST_CASE("row 23: uncancel to 0 withdraws a cancel that was not delivered") {
    in_virtual_time([] {
        self_reference<int> self;
        auto& task = self.spawn([](fiber::task<int>& me) {
            CHECK(me.cancel());
            CHECK(me.cancelling() == 1);
            CHECK(me.uncancel() == 0);
            CHECK(me.cancelling() == 0);
            fiber::yield();
            fiber::sleep_for(1ms);
            return 4;
        });
        CHECK(task.get() == 4);
        CHECK_FALSE(task.cancelled());
    });
}

TEST_CASE("row 23: uncancel that leaves a count withdraws nothing") {
    on_each_worker_count([] {
        self_reference<void> self;
        auto& task = self.spawn([](fiber::task<void>& me) {
            me.cancel();
            me.cancel();
            CHECK(me.uncancel() == 1);
            fiber::yield();
            FAIL("a pending cancel was not delivered");
        });
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelled());
    });
}

TEST_CASE("row 23: uncancel below zero stays at zero") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] { return 1; });
        CHECK(task.uncancel() == 0);
        CHECK(task.cancelling() == 0);
        CHECK(task.get() == 1);
    });
}

TEST_CASE("row 24: a pending cancel is not thrown while the stack unwinds") {
    struct waits_in_destructor {
        std::atomic<int>& cleaned;
        ~waits_in_destructor() {
            fiber::yield();
            fiber::sleep_for(1ms);
            fiber::spawn([] { fiber::yield(); }).get();
            ++cleaned;
        }
    };
    in_virtual_time([] {
        std::atomic<int> cleaned{0};
        self_reference<void> self;
        auto& task = self.spawn([&](fiber::task<void>& me) {
            const waits_in_destructor outer{cleaned};
            const waits_in_destructor inner{cleaned};
            me.cancel();
            throw std::runtime_error("unwinding");
        });
        CHECK_THROWS_WITH_AS(task.get(), "unwinding", std::runtime_error);
        CHECK(cleaned == 2);
    });
}

TEST_CASE("row 24: a second cancel does not disturb the unwinding of the first") {
    struct waits_in_destructor {
        std::atomic<int>& stage;
        ~waits_in_destructor() {
            stage = 2;
            while (stage != 3) fiber::sleep_for(100us);
            fiber::sleep_for(100us);
            stage = 4;
        }
    };
    in_virtual_time([] {
        std::atomic<int> stage{0};
        auto task = fiber::spawn([&] {
            const waits_in_destructor guard{stage};
            stage = 1;
            park_until_cancelled();
        });
        REQUIRE(yield_until([&] { return stage == 1; }));
        CHECK(task.cancel());
        REQUIRE(yield_until([&] { return stage == 2; }));
        CHECK(task.cancel());
        stage = 3;
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(stage == 4);
    });
}

TEST_CASE("row 24: the destructor of a task never throws the parent's cancel") {
    on_each_worker_count([] {
        std::atomic<bool> cleaning{false};
        gate finish_cleaning;
        std::atomic<bool> after_child{false};
        auto parent = fiber::spawn([&] {
            {
                std::atomic<bool> parked{false};
                auto child = fiber::spawn([&] {
                    try {
                        parked = true;
                        park_until_cancelled();
                    } catch (const fiber::cancelled&) {
                        cleaning = true;
                        finish_cleaning.wait();
                        throw;
                    }
                });
                while (!parked) fiber::yield();
            }
            after_child = true;
            fiber::yield();
            FAIL("the parent's cancel was lost");
        });
        REQUIRE(yield_until([&] { return cleaning.load(); }));
        CHECK(parent.cancel());
        finish_cleaning.open();
        CHECK_THROWS_AS(parent.get(), fiber::cancelled);
        CHECK(after_child);
    });
}

// What a callable holds is destroyed by the library, where no exception may leave: a destructor that waits must not
// meet the cancellation there.
TEST_CASE("row 24: a callable's destructor may wait, also if its task was cancelled before its start") {
    struct waits_at_its_end {
        std::shared_ptr<std::atomic<int>> ended;
        ~waits_at_its_end() {
            if (ended == nullptr) return;
            fiber::yield();
            fiber::sleep_for(1us);
            ++*ended;
        }
        waits_at_its_end(std::shared_ptr<std::atomic<int>> count) : ended(std::move(count)) {}
        waits_at_its_end(waits_at_its_end&&) noexcept = default;
    };
    on_each_worker_count([] {
        const auto ended = std::make_shared<std::atomic<int>>(0);
        std::atomic<bool> ran{false};  // another worker may be faster than the cancellation
        auto never_starts = fiber::spawn([&ran, held = waits_at_its_end(ended)] { ran = true; });
        never_starts.cancel();
        never_starts.wait();
        CHECK((never_starts.cancelled() || ran));
        CHECK(*ended == 1);
        auto returns_first = fiber::spawn([held = waits_at_its_end(ended)] { fiber::this_fiber::cancel(); });
        returns_first.wait();
        CHECK(returns_first.cancelled());
        CHECK(*ended == 2);
    });
}

TEST_CASE("a cancelled sleep, join and offload end at once, whatever their length") {
    on_each_worker_count([] {
        const auto begin = std::chrono::steady_clock::now();
        auto sleeper = fiber::spawn([] { fiber::sleep_for(1h); });
        auto joiner = fiber::spawn([] { fiber::spawn([] { fiber::sleep_for(1h); }).get(); });
        auto timed = fiber::spawn([] { (void)fiber::spawn([] { fiber::sleep_for(1h); }).wait_for(2h); });
        settle();
        sleeper.cancel();
        joiner.cancel();
        timed.cancel();
        CHECK_THROWS_AS(sleeper.get(), fiber::cancelled);
        CHECK_THROWS_AS(joiner.get(), fiber::cancelled);
        CHECK_THROWS_AS(timed.get(), fiber::cancelled);
        CHECK(std::chrono::steady_clock::now() - begin < 30min);
    });
}
