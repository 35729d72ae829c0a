// counting_semaphore and binary_semaphore: rows 30 and 34 of the semantics.
#include <cmath>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

TEST_CASE("row 30: permits go to those who wait in the order in which they came") {
    on_each_worker_count([] {
        fiber::counting_semaphore<> permits(0);
        journal<int> order;
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 6; ++i) {
            all.push_back(fiber::spawn([&, i] {
                permits.acquire();
                order.add(i);
            }));
            settle();
        }
        for (std::size_t i = 0; i < 3; ++i) {
            permits.release();
            all[i].get();
        }
        CHECK(order.entries() == std::vector<int>{0, 1, 2});
        permits.release(4);
        for (std::size_t i = 3; i < 6; ++i) all[i].get();
        CHECK(permits.try_acquire());
        CHECK_FALSE(permits.try_acquire());
    });
}

TEST_CASE("row 30: nobody slips in between a release and the one it was handed to") {
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::binary_semaphore permit(0);
        bool served = false;
        auto waiting = fiber::spawn([&] {
            permit.acquire();
            served = true;
        });
        settle();
        permit.release();
        CHECK_FALSE(served);
        CHECK_FALSE(permit.try_acquire());
        CHECK_FALSE(permit.try_acquire_for(0s));
        waiting.get();
        CHECK(served);
    });
}

TEST_CASE("row 30: never more owners than permits") {
    on_each_worker_count([] {
        fiber::counting_semaphore<3> permits(3);
        std::atomic<int> inside{0};
        std::atomic<int> most{0};
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 10; ++f) {
            all.push_back(fiber::spawn([&, f] {
                for (int i = 0; i < scaled(200); ++i) {
                    if ((f + i) % 3 == 0) {
                        if (!permits.try_acquire_for(10us)) permits.acquire();
                    } else {
                        permits.acquire();
                    }
                    const int now = ++inside;
                    if (now > most) most = now;
                    if (i % 4 == 0) fiber::yield();
                    --inside;
                    permits.release();
                }
            }));
        }
        for (auto& one : all) one.get();
        CHECK(most <= 3);
        for (int i = 0; i < 3; ++i) CHECK(permits.try_acquire());
        CHECK_FALSE(permits.try_acquire());
    });
}

TEST_CASE("row 30: a waiter that got its permit and was cancelled at once passes it on") {
    runtime_fixture fixture(1);  // so that nothing runs between the two
    fixture.run([] {
        for (const bool cancel_first : {false, true}) {
            fiber::binary_semaphore permit(0);
            auto first = fiber::spawn([&] { permit.acquire(); });
            settle();
            auto second = fiber::spawn([&] { permit.acquire(); });
            settle();
            if (cancel_first) CHECK(first.cancel());
            permit.release();
            if (!cancel_first) CHECK(first.cancel());
            CHECK_THROWS_AS(first.get(), fiber::cancelled);
            second.get();
            CHECK_FALSE(permit.try_acquire());
        }
    });
}

TEST_CASE("row 30: a permit that nobody else waits for comes back from a cancelled waiter") {
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::binary_semaphore permit(0);
        auto only = fiber::spawn([&] { permit.acquire(); });
        settle();
        permit.release();
        CHECK(only.cancel());
        CHECK_THROWS_AS(only.get(), fiber::cancelled);
        CHECK(permit.try_acquire());

        auto again = fiber::spawn([&] { permit.acquire(); });
        settle();
        permit.release();
        permit.release();  // full again, for the first was handed over
        CHECK(again.cancel());
        CHECK_THROWS_AS(again.get(), fiber::cancelled);
        CHECK(permit.try_acquire());
        CHECK_FALSE(permit.try_acquire());
    });
}

TEST_CASE("row 30: a cancellation loses no permit, whenever it comes") {
    on_each_worker_count([] {
        fiber::counting_semaphore<> permits(0);
        int sent = 0;
        std::atomic<int> got{0};
        for (int i = 0; i < scaled(300); ++i) {
            auto one = fiber::spawn([&] {
                permits.acquire();
                ++got;
            });
            auto two = fiber::spawn([&] {
                permits.acquire();
                ++got;
            });
            if (i % 2 == 0) fiber::yield();
            permits.release();
            ++sent;
            one.cancel();
            if (i % 4 == 1) two.cancel();
            one.wait();
            if (i % 4 == 1) {
                two.wait();
            } else if (!two.done()) {
                permits.release();  // the first may have taken the only one
                ++sent;
                two.get();
            }
        }
        int left = 0;
        while (permits.try_acquire()) ++left;
        CHECK(sent == got + left);
    });
}

TEST_CASE("acquire is a cancellation point, also when a permit is there") {
    on_each_worker_count([] {
        fiber::binary_semaphore permit(1);
        auto task = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            CHECK_THROWS_AS(permit.acquire(), fiber::cancelled);
            fiber::this_fiber::cancel();
            CHECK_THROWS_AS((void)permit.try_acquire_for(1s), fiber::cancelled);
        });
        task.wait();
        CHECK(permit.try_acquire());
    });
}

TEST_CASE("row 34: try_acquire_for gives up in time and leaves the queue") {
    on_each_worker_count([] {
        fiber::binary_semaphore permit(0);
        CHECK_FALSE(permit.try_acquire_for(1ms));
        CHECK_FALSE(permit.try_acquire_for(0s));
        CHECK_FALSE(permit.try_acquire_until(std::chrono::system_clock::now() - 1s));
        permit.release();  // to nobody: the one above has left
        CHECK(permit.try_acquire_for(0s));
        auto late = fiber::spawn([&] { return permit.try_acquire_until(std::chrono::steady_clock::now() + 1h); });
        settle();
        permit.release();
        CHECK(late.get());
    });
}

TEST_CASE("bad numbers are errors and change nothing") {
    on_each_worker_count([] {
        CHECK_THROWS_AS(fiber::counting_semaphore<>(-1), fiber::invalid_option);
        CHECK_THROWS_AS(fiber::binary_semaphore(2), std::invalid_argument);
        fiber::counting_semaphore<5> permits(3);
        static_assert(permits.max() == 5);
        CHECK_THROWS_AS(permits.release(3), std::logic_error);
        CHECK_THROWS_AS(permits.release(-1), fiber::invalid_option);
        CHECK_THROWS_AS(permits.release(std::numeric_limits<std::ptrdiff_t>::max()), fiber::usage_error);
        permits.release(0);
        for (int i = 0; i < 3; ++i) CHECK(permits.try_acquire());
        CHECK_FALSE(permits.try_acquire());
        fiber::binary_semaphore permit(1);
        CHECK_THROWS_AS(permit.release(), fiber::usage_error);
        fiber::counting_semaphore<> many(0);
        CHECK_THROWS_AS((void)many.try_acquire_for(std::chrono::duration<double>(std::nan(""))), std::invalid_argument);
    });
}

TEST_CASE("one who has acquired may destroy the semaphore while the release is returning") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(200); ++i) {
            fiber::task<void> releasing;
            {
                fiber::binary_semaphore done(0);
                releasing = fiber::spawn([&] { done.release(); });
                if (i % 2 == 0) {
                    while (!done.try_acquire()) fiber::yield();
                } else {
                    done.acquire();
                }
            }
            releasing.get();
        }
    });
}

TEST_CASE("fibers and plain threads hand permits to one another") {
    on_each_worker_count([] {
        fiber::counting_semaphore<> there(0);
        fiber::counting_semaphore<> back(0);
        const int rounds = scaled(200);
        std::thread outside([&] {
            for (int i = 0; i < rounds; ++i) {
                there.acquire();
                back.release();
            }
        });
        for (int i = 0; i < rounds; ++i) {
            there.release();
            back.acquire();
        }
        fiber::to_thread([&] { outside.join(); });
        CHECK_FALSE(there.try_acquire());
        CHECK_FALSE(back.try_acquire());
    });
}
