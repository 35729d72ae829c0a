// event, latch, barrier and call_once: rows 32 and 34 of the semantics.
#include <stdexcept>
#include <system_error>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

// --- event ---

TEST_CASE("row 32: set wakes all that wait now, even if the event is cleared at once") {
    on_each_worker_count([] {
        fiber::event ready;
        std::atomic<int> woken{0};
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 5; ++i) {
            all.push_back(fiber::spawn([&, i] {
                if (i % 2 == 0) {
                    ready.wait();
                } else {
                    CHECK(ready.wait_for(1h));
                }
                ++woken;
            }));
        }
        settle();
        CHECK_FALSE(ready.is_set());
        ready.set();
        ready.clear();
        CHECK_FALSE(ready.is_set());
        for (auto& one : all) one.get();
        CHECK(woken == 5);
        CHECK_FALSE(ready.wait_for(1ms));
        CHECK_FALSE(ready.wait_for(0s));
        CHECK_FALSE(ready.wait_until(std::chrono::system_clock::now() - 1s));
        ready.set();
        ready.set();
        ready.wait();
        CHECK(ready.wait_for(-1s));
    });
}

TEST_CASE("row 32: waiting for an event is a cancellation point, set or not") {
    on_each_worker_count([] {
        fiber::event never_set;
        auto waiting = fiber::spawn([&] { never_set.wait(); });
        settle();
        CHECK(waiting.cancel("enough"));
        CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        fiber::event set;
        set.set();
        auto late = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            set.wait();
            FAIL("the cancellation was lost");
        });
        CHECK_THROWS_AS(late.get(), fiber::cancelled);
        never_set.set();  // nobody
    });
}

TEST_CASE("one who has seen the event set may destroy it while that set is returning") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(200); ++i) {
            fiber::task<void> setting;
            {
                fiber::event done;
                setting = fiber::spawn([&] { done.set(); });
                if (i % 3 == 0) {
                    while (!done.is_set()) fiber::yield();
                } else {
                    done.wait();
                }
            }
            setting.get();
        }
    });
}

TEST_CASE("an event between fibers and plain threads") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(50); ++i) {
            fiber::event there;
            fiber::event back;
            std::thread outside([&] {
                there.wait();
                back.set();
            });
            there.set();
            back.wait();
            fiber::to_thread([&] { outside.join(); });
        }
        fiber::event never_set;
        fiber::to_thread([&] { CHECK_FALSE(never_set.wait_for(1ms)); });
    });
}

// --- latch ---

TEST_CASE("row 32: a latch opens at zero, for good") {
    on_each_worker_count([] {
        fiber::latch latch(4);
        std::atomic<int> passed{0};
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 3; ++i) {
            all.push_back(fiber::spawn([&] {
                latch.wait();
                ++passed;
            }));
        }
        settle();
        latch.count_down(0);
        latch.count_down(2);
        CHECK_FALSE(latch.try_wait());
        CHECK_FALSE(latch.try_wait_for(100us));
        auto arriving = fiber::spawn([&] { latch.arrive_and_wait(); });
        settle();
        CHECK(passed == 0);
        latch.count_down();
        for (auto& one : all) one.get();
        arriving.get();
        CHECK(passed == 3);
        CHECK(latch.try_wait());
        latch.wait();
        fiber::latch open(0);
        open.wait();
        CHECK(open.try_wait_until(std::chrono::steady_clock::now()));
    });
}

TEST_CASE("row 32: a latch below zero is an error and counts nothing") {
    on_each_worker_count([] {
        CHECK_THROWS_AS(fiber::latch(-1), std::invalid_argument);
        fiber::latch latch(2);
        CHECK_THROWS_AS(latch.count_down(3), std::logic_error);
        CHECK_THROWS_AS(latch.count_down(-1), fiber::invalid_option);
        latch.count_down();
        CHECK_FALSE(latch.try_wait());
        latch.count_down();
        CHECK(latch.try_wait());
        CHECK_THROWS_AS(latch.count_down(), fiber::usage_error);
    });
}

TEST_CASE("a cancelled wait for a latch leaves what was counted") {
    on_each_worker_count([] {
        fiber::latch latch(2);
        auto arriving = fiber::spawn([&] { latch.arrive_and_wait(); });
        settle();
        CHECK(arriving.cancel());
        CHECK_THROWS_AS(arriving.get(), fiber::cancelled);
        auto too_late = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            latch.arrive_and_wait();  // counts nothing
        });
        CHECK_THROWS_AS(too_late.get(), fiber::cancelled);
        CHECK_FALSE(latch.try_wait());
        latch.count_down();
        CHECK(latch.try_wait());
    });
}

TEST_CASE("a latch may be destroyed by who waited for it, counted down by fibers and threads") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(100); ++i) {
            std::vector<fiber::task<void>> all;
            std::thread outside;
            {
                fiber::latch latch(4);
                for (int f = 0; f < 3; ++f) all.push_back(fiber::spawn([&] { latch.count_down(); }));
                outside = std::thread([&] { latch.count_down(); });
                if (i % 3 == 0) {
                    while (!latch.try_wait()) fiber::yield();
                } else {
                    latch.wait();
                }
            }
            for (auto& one : all) one.get();
            fiber::to_thread([&] { outside.join(); });
        }
    });
}

// --- barrier ---

TEST_CASE("row 32: nobody passes a barrier before all have arrived, phase after phase") {
    on_each_worker_count([] {
        constexpr int members = 5;
        const int phases = scaled(100);
        std::atomic<int> arrived{0};
        int completed = 0;  // plain: the barrier orders the accesses
        fiber::barrier barrier(members, [&]() noexcept {
            CHECK(arrived == (completed + 1) * members);
            ++completed;
        });
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < members - 1; ++f) {
            all.push_back(fiber::spawn([&] {
                for (int phase = 0; phase < phases; ++phase) {
                    ++arrived;
                    barrier.arrive_and_wait();
                    CHECK(completed > phase);
                }
            }));
        }
        std::thread outside([&] {
            for (int phase = 0; phase < phases; ++phase) {
                ++arrived;
                barrier.arrive_and_wait();
            }
        });
        for (auto& one : all) one.get();
        fiber::to_thread([&] { outside.join(); });
        CHECK(completed == phases);
    });
}

TEST_CASE("row 32: a cancelled filler leaves the count whole") {
    on_each_worker_count([] {
        fiber::barrier<> barrier(3);
        std::atomic<int> passed{0};
        const auto meet = [&] {
            barrier.arrive_and_wait();
            ++passed;
        };
        auto leaves = fiber::spawn(meet);
        auto stays = fiber::spawn(meet);
        settle();
        CHECK(leaves.cancel());
        CHECK_THROWS_AS(leaves.get(), fiber::cancelled);
        auto cancelled_before = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            meet();
        });
        CHECK_THROWS_AS(cancelled_before.get(), fiber::cancelled);
        auto another = fiber::spawn(meet);
        settle();
        CHECK(passed == 0);  // two of three
        barrier.arrive_and_wait();
        stays.get();
        another.get();
        CHECK(passed == 2);
    });
}

TEST_CASE("row 32: a filler that is cancelled after the phase was complete has arrived all the same") {
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::barrier<> barrier(2);
        auto filler = fiber::spawn([&] { barrier.arrive_and_wait(); });
        settle();
        barrier.arrive_and_wait();
        CHECK(filler.cancel());
        CHECK_THROWS_AS(filler.get(), fiber::cancelled);
        auto next = fiber::spawn([&] { barrier.arrive_and_wait(); });
        settle();
        CHECK_FALSE(next.done());  // the next phase expects two, as ever
        barrier.arrive_and_wait();
        next.get();
    });
}

TEST_CASE("a barrier's arrival and waiting apart, with and without a limit") {
    on_each_worker_count([] {
        fiber::barrier<> barrier(3);
        auto token = barrier.arrive(2);
        CHECK_FALSE(barrier.try_wait_for(token, 1ms));
        CHECK_FALSE(barrier.try_wait_for(token, 0s));
        auto waiting = fiber::spawn([&] { barrier.wait(std::move(token)); });
        settle();
        CHECK(waiting.cancel());
        CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        auto last = barrier.arrive();  // the cancelled wait took no arrival back
        CHECK(barrier.try_wait_until(last, std::chrono::steady_clock::now()));
        barrier.wait(std::move(last));
    });
}

TEST_CASE("who drops out of a barrier is not expected any more") {
    on_each_worker_count([] {
        fiber::barrier<> barrier(3);
        auto one = fiber::spawn([&] {
            barrier.arrive_and_wait();
            barrier.arrive_and_wait();
        });
        auto two = fiber::spawn([&] { barrier.arrive_and_drop(); });
        barrier.arrive_and_wait();
        barrier.arrive_and_wait();  // two are enough
        one.get();
        two.get();
        barrier.arrive_and_drop();
        barrier.arrive_and_drop();
        CHECK_THROWS_AS(barrier.arrive_and_drop(), fiber::usage_error);
    });
}

TEST_CASE("what a completion function throws goes to the last, the others go on") {
    on_each_worker_count([] {
        fiber::barrier barrier(2, [] { throw std::runtime_error("no"); });
        auto first = fiber::spawn([&] { barrier.arrive_and_wait(); });
        settle();
        CHECK_THROWS_AS(barrier.arrive_and_wait(), std::runtime_error);
        first.get();
    });
}

TEST_CASE("a completion function may wait, the phase ends with it") {
    in_virtual_time([] {
        bool over = false;
        fiber::barrier barrier(2, [&]() noexcept {
            fiber::sleep_for(1ms);
            over = true;
        });
        auto other = fiber::spawn([&] {
            barrier.arrive_and_wait();
            CHECK(over);
        });
        barrier.arrive_and_wait();
        CHECK(over);
        other.get();
    });
}

TEST_CASE("who comes while a phase is being completed arrives in the next") {
    on_each_worker_count([] {
        fiber::event completing;
        fiber::event go_on;
        int completed = 0;
        fiber::barrier barrier(2, [&]() noexcept {
            if (++completed > 1) return;
            completing.set();
            go_on.wait();
        });
        auto one = fiber::spawn([&] { barrier.arrive_and_wait(); });
        auto two = fiber::spawn([&] { barrier.arrive_and_wait(); });
        completing.wait();
        auto early = fiber::spawn([&] { barrier.arrive_and_wait(); });
        settle();
        go_on.set();
        one.get();
        two.get();
        settle();
        CHECK_FALSE(early.done());
        barrier.arrive_and_wait();
        early.get();
        CHECK(completed == 2);
    });
}

TEST_CASE("bad numbers at a barrier are errors and change nothing") {
    on_each_worker_count([] {
        CHECK_THROWS_AS(fiber::barrier<>(0), std::invalid_argument);
        CHECK_THROWS_AS(fiber::barrier<>(-1), fiber::invalid_option);
        fiber::barrier<> barrier(2);
        CHECK_THROWS_AS((void)barrier.arrive(0), fiber::invalid_option);
        CHECK_THROWS_AS((void)barrier.arrive(-2), fiber::invalid_option);
        CHECK_THROWS_AS((void)barrier.arrive(3), fiber::usage_error);
        auto token = barrier.arrive();
        CHECK_FALSE(barrier.try_wait_for(token, 0s));
        (void)barrier.arrive();
        CHECK(barrier.try_wait_for(token, 0s));
    });
}

// --- call_once ---

TEST_CASE("call_once calls once, and everyone finds it done") {
    on_each_worker_count([] {
        fiber::once_flag flag;
        int calls = 0;
        const auto need = [&](int by) {
            fiber::call_once(
                flag,
                [&](int step) {
                    fiber::sleep_for(1ms);
                    calls += step;
                },
                by);
            CHECK(calls == 1);
        };
        std::thread outside([&] { need(1); });
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 8; ++f) all.push_back(fiber::spawn([&] { need(1); }));
        for (auto& one : all) one.get();
        fiber::to_thread([&] { outside.join(); });
        need(1);
    });
}

TEST_CASE("call_once: a call that throws is none, the next who waits makes it") {
    in_virtual_time([] {
        fiber::once_flag flag;
        std::atomic<int> calls{0};
        std::atomic<int> failures{0};
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 5; ++f) {
            all.push_back(fiber::spawn([&] {
                try {
                    fiber::call_once(flag, [&] {
                        const int number = ++calls;
                        fiber::sleep_for(100us);
                        if (number < 3) throw std::runtime_error("again");
                    });
                } catch (const std::runtime_error&) {
                    ++failures;
                }
            }));
        }
        for (auto& one : all) one.get();
        CHECK(calls == 3);
        CHECK(failures == 2);
    });
}

TEST_CASE("call_once: waiting for another's call can be cancelled, and a turn that came with it goes on") {
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::once_flag flag;
        fiber::event fail;
        bool done = false;
        fiber::task<void> second;
        auto first = fiber::spawn([&] {
            try {
                fiber::call_once(flag, [&] {
                    fail.wait();
                    throw std::runtime_error("no");
                });
            } catch (const std::runtime_error&) {
                CHECK(second.cancel());  // the turn is the second's now, which has not run yet
            }
        });
        settle();
        second = fiber::spawn([&] { fiber::call_once(flag, [] { FAIL("it was cancelled"); }); });
        settle();
        auto third = fiber::spawn([&] { fiber::call_once(flag, [&] { done = true; }); });
        settle();
        fail.set();
        first.get();
        CHECK_THROWS_AS(second.get(), fiber::cancelled);
        third.get();
        CHECK(done);
    });
}

TEST_CASE("call_once from within its own call is an error") {
    on_each_worker_count([] {
        fiber::once_flag flag;
        fiber::call_once(flag, [&] { CHECK_THROWS_AS(fiber::call_once(flag, [] {}), std::system_error); });
    });
}
