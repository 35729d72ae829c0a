// Random load on the locks: fibers and plain threads together, at 1, 2, 4 and 16 workers, with time-outs and
// cancellations that race with every hand-over. Everything random derives from the printed seed. What is checked:
// exclusion holds, no permit, notification or arrival is lost or doubled, and nobody is left waiting.
#include <mutex>
#include <shared_mutex>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

using generator = fiber_test::random;

// Fibers that run body(generator&), some of which are cancelled on the way, and plain threads beside them.
template <class Body>
void crowd(int fibers, int threads, std::uint64_t stream, Body body) {
    std::vector<std::thread> outside;
    for (int t = 0; t < threads; ++t) {
        outside.emplace_back([=] {
            generator dice(stream + 1000 + static_cast<std::uint64_t>(t));
            body(dice);
        });
    }
    std::vector<fiber::task<void>> inside;
    for (int f = 0; f < fibers; ++f) {
        inside.push_back(fiber::spawn([=] {
            generator dice(stream + static_cast<std::uint64_t>(f));
            body(dice);
        }));
    }
    generator dice(stream + 5000);
    for (int i = 0; i < fibers * 8; ++i) {
        inside[dice.below(inside.size())].cancel();
        fiber::sleep_for(std::chrono::microseconds(dice.below(100)));
    }
    for (auto& each : inside) each.wait();
    fiber::to_thread([&] {
        for (auto& each : outside) each.join();
    });
}

// Runs `step` again and again; a cancellation ends one step, not the loop.
template <class Step>
void steps(int count, Step step) {
    for (int i = 0; i < count; ++i) {
        try {
            step();
        } catch (const fiber::cancelled&) {
        }
    }
}

std::chrono::microseconds some_time(generator& dice) { return std::chrono::microseconds(dice.below(60)); }

}  // namespace

TEST_CASE("stress: a mutex with time-outs: one owner, every lock served") {
    on_each_worker_count([](runtime_fixture& fixture) {
        fiber::timed_mutex mutex;
        long plain = 0;
        std::atomic<long> counted{0};
        crowd(8, 2, fixture.runtime().workers(), [&](generator& dice) {
            steps(scaled(1500), [&] {
                if (dice.below(3) == 0) {
                    if (!mutex.try_lock_for(some_time(dice))) return;
                } else {
                    mutex.lock();
                }
                const std::lock_guard guard(mutex, std::adopt_lock);
                ++plain;
                ++counted;
                if (fiber::this_fiber::on_fiber() && dice.below(8) == 0) fiber::yield();
            });
        });
        CHECK(plain == counted);
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("stress: a shared mutex with time-outs: writers alone, nobody forgotten") {
    on_each_worker_count([](runtime_fixture& fixture) {
        fiber::shared_timed_mutex mutex;
        std::atomic<int> readers{0};
        std::atomic<int> writers{0};
        std::atomic<bool> mixed{false};
        crowd(8, 2, fixture.runtime().workers(), [&](generator& dice) {
            steps(scaled(1500), [&] {
                const bool timed = dice.below(3) == 0;
                if (dice.below(4) == 0) {
                    if (timed && !mutex.try_lock_for(some_time(dice))) return;
                    if (!timed) mutex.lock();
                    if (++writers != 1 || readers != 0) mixed = true;
                    if (dice.below(8) == 0) std::this_thread::yield();
                    --writers;
                    mutex.unlock();
                } else {
                    if (timed && !mutex.try_lock_shared_for(some_time(dice))) return;
                    if (!timed) mutex.lock_shared();
                    const std::shared_lock lock(mutex, std::adopt_lock);
                    ++readers;
                    if (writers != 0) mixed = true;
                    if (dice.below(8) == 0) std::this_thread::yield();
                    --readers;
                }
            });
        });
        CHECK_FALSE(mixed);
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("stress: a semaphore with time-outs and cancellations loses no permit") {
    on_each_worker_count([](runtime_fixture& fixture) {
        fiber::counting_semaphore<> permits(3);
        std::atomic<int> inside{0};
        std::atomic<bool> crowded{false};
        crowd(10, 2, fixture.runtime().workers(), [&](generator& dice) {
            steps(scaled(1500), [&] {
                if (dice.below(3) == 0) {
                    if (!permits.try_acquire_for(some_time(dice))) return;
                } else {
                    permits.acquire();
                }
                if (++inside > 3) crowded = true;
                if (dice.below(4) == 0) std::this_thread::yield();
                --inside;
                permits.release();
            });
        });
        CHECK_FALSE(crowded);
        int left = 0;
        while (permits.try_acquire()) ++left;
        CHECK(left == 3);
    });
}

TEST_CASE("stress: a bounded buffer on condition variables loses nothing, whoever is cancelled") {
    on_each_worker_count([](runtime_fixture& fixture) {
        fiber::mutex mutex;
        fiber::condition_variable filled;
        fiber::condition_variable drained;
        int stock = 0;
        long put = 0;
        long taken = 0;
        crowd(8, 2, fixture.runtime().workers(), [&](generator& dice) {
            steps(scaled(1000), [&] {
                std::unique_lock lock(mutex);
                const bool producing = dice.below(2) == 0;
                auto& turn = producing ? drained : filled;
                const auto mine = [&] { return producing ? stock < 4 : stock > 0; };
                // Everyone gives up in the end: the roles are random, and all might play the same one.
                if (!turn.wait_for(lock, some_time(dice) * 10, mine)) return;
                stock += producing ? 1 : -1;
                ++(producing ? put : taken);
                lock.unlock();
                if (dice.below(8) == 0) {
                    (producing ? filled : drained).notify_all();
                } else {
                    (producing ? filled : drained).notify_one();
                }
            });
        });
        CHECK(put - taken == stock);
    });
}

TEST_CASE("stress: a notification is never lost to one who was cancelled") {
    on_each_worker_count([](runtime_fixture& fixture) {
        generator dice(fixture.runtime().workers());
        for (int i = 0; i < scaled(1000); ++i) {
            fiber::mutex mutex;
            fiber::condition_variable changed;
            int tokens = 0;
            const auto take = [&] {
                std::unique_lock lock(mutex);
                changed.wait(lock, [&] { return tokens > 0; });
                --tokens;
            };
            auto doomed = fiber::spawn(take);
            auto lives = fiber::spawn(take);
            for (std::uint64_t turns = dice.below(4); turns > 0; --turns) fiber::yield();
            {
                const std::lock_guard guard(mutex);
                ++tokens;
            }
            changed.notify_one();
            doomed.cancel();
            doomed.wait();
            {
                std::unique_lock lock(mutex);
                if (doomed.cancelled() && tokens == 0 && !lives.done()) {
                    // it took the token and was cancelled at its end
                    ++tokens;
                    changed.notify_one();
                }
            }
            if (!doomed.cancelled()) {
                const std::lock_guard guard(mutex);
                ++tokens;
                changed.notify_one();
            }
            lives.get();
        }
    });
}

TEST_CASE("stress: barrier and latch with cancelled members end, and every phase is whole") {
    on_each_worker_count([](runtime_fixture& fixture) {
        generator dice(fixture.runtime().workers());
        for (int i = 0; i < scaled(200); ++i) {
            std::atomic<int> phases{0};
            fiber::barrier barrier(3, [&]() noexcept { ++phases; });
            fiber::latch started(4);  // one that is cancelled before never runs
            fiber::latch ended(4);
            std::vector<fiber::task<void>> members;
            for (int m = 0; m < 4; ++m) {  // one too many: who comes between two phases is part of the next
                members.push_back(fiber::spawn([&] {
                    started.count_down();
                    try {
                        for (;;) barrier.arrive_and_wait();
                    } catch (const fiber::cancelled&) {
                        ended.count_down();
                    }
                }));
            }
            started.wait();
            fiber::sleep_for(std::chrono::microseconds(dice.below(100)));
            for (auto& each : members) {
                each.cancel();
                if (dice.below(2) == 0) fiber::yield();
            }
            ended.wait();
            const int before = phases;
            auto one = barrier.arrive(2);  // all arrivals were taken back: it is the first of three again
            CHECK_FALSE(barrier.try_wait_for(one, 0s));
            auto two = barrier.arrive();
            CHECK(barrier.try_wait_for(two, 0s));
            CHECK(phases == before + 1);
            for (auto& each : members) each.wait();
        }
    });
}
