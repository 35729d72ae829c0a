// condition_variable: rows 31 and 34 of the semantics.
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

// Is the mutex held by anyone?
bool is_held(fiber::mutex& mutex) {
    return fiber::spawn([&] {
               if (!mutex.try_lock()) return true;
               mutex.unlock();
               return false;
           })
        .get();
}

// A lock of somebody else's making: its members may park.
class slow_lock {
 public:
    void lock() {
        fiber::sleep_for(10us);
        mutex_.lock();
    }
    void unlock() {
        mutex_.unlock();
        fiber::sleep_for(10us);
    }

 private:
    fiber::mutex mutex_;
};

struct refusing_lock {
    void lock() {}
    void unlock() { throw std::runtime_error("not now"); }
};

}  // namespace

TEST_CASE("row 31: notify_one wakes in the order of arrival, one each") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        fiber::condition_variable changed;
        journal<int> order;
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 5; ++i) {
            all.push_back(fiber::spawn([&, i] {
                std::unique_lock lock(mutex);
                changed.wait(lock);
                CHECK(lock.owns_lock());
                order.add(i);
            }));
            settle();
        }
        for (std::size_t i = 0; i < 5; ++i) {
            changed.notify_one();
            all[i].get();
            settle();
            CHECK(order.entries().size() == i + 1);
        }
        CHECK(order.entries() == std::vector<int>{0, 1, 2, 3, 4});
        changed.notify_one();  // nobody
        changed.notify_all();
    });
}

TEST_CASE("row 31: notify_all wakes everyone, a predicate is asked under the lock") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        fiber::condition_variable changed;
        bool ready = false;
        int passed = 0;
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 8; ++i) {
            all.push_back(fiber::spawn([&] {
                std::unique_lock lock(mutex);
                changed.wait(lock, [&] { return ready; });
                ++passed;
            }));
        }
        settle();
        changed.notify_all();  // too early: they wait on
        settle();
        {
            const std::lock_guard guard(mutex);
            CHECK(passed == 0);
            ready = true;
        }
        changed.notify_all();
        for (auto& one : all) one.get();
        CHECK(passed == 8);
    });
}

TEST_CASE("row 31: a cancelled wait holds the lock again before it throws") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        fiber::condition_variable changed;
        bool may_leave = false;
        std::atomic<bool> caught{false};
        auto waiting = fiber::spawn([&] {
            std::unique_lock lock(mutex);
            try {
                changed.wait(lock);
                FAIL("nobody notified");
            } catch (const fiber::cancelled& error) {
                CHECK(error.message() == "enough");
                CHECK(lock.owns_lock());
                CHECK(may_leave);  // it had to wait for the lock
                caught = true;
                throw;
            }
        });
        settle();
        {
            const std::lock_guard guard(mutex);
            CHECK(waiting.cancel("enough"));
            settle();
            CHECK_FALSE(caught);
            may_leave = true;
        }
        CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        CHECK(caught);
        CHECK_FALSE(is_held(mutex));
        changed.notify_one();
    });
}

TEST_CASE("row 31: a waiter that was notified and cancelled at once notifies another") {
    runtime_fixture fixture(1);  // so that nothing runs between the two
    fixture.run([] {
        for (const bool cancel_first : {false, true}) {
            fiber::mutex mutex;
            fiber::condition_variable changed;
            bool second_woke = false;
            const auto wait = [&] {
                std::unique_lock lock(mutex);
                changed.wait(lock);
            };
            auto first = fiber::spawn(wait);
            settle();
            auto second = fiber::spawn([&] {
                wait();
                second_woke = true;
            });
            settle();
            if (cancel_first) CHECK(first.cancel());
            changed.notify_one();
            if (!cancel_first) CHECK(first.cancel());
            CHECK_THROWS_AS(first.get(), fiber::cancelled);
            second.get();
            CHECK(second_woke);
        }
    });
}

TEST_CASE("row 31: a cancellation that is pending is delivered before the lock is given up") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        fiber::condition_variable changed;
        auto waiting = fiber::spawn([&] {
            std::unique_lock lock(mutex);
            fiber::this_fiber::cancel();
            CHECK_THROWS_AS(changed.wait(lock), fiber::cancelled);
            CHECK(lock.owns_lock());
            CHECK(changed.wait_for(lock, 100us) == std::cv_status::timeout);  // once only
        });
        waiting.wait();
    });
}

TEST_CASE("row 31: a notification may be followed at once by destruction") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(200); ++i) {
            fiber::mutex mutex;
            auto changed = std::make_unique<fiber::condition_variable>();
            fiber::condition_variable& condition = *changed;
            const bool everyone = i % 2 == 0;
            const auto wait = [&] {
                std::unique_lock lock(mutex);
                condition.wait(lock);
            };
            std::vector<fiber::task<void>> all;
            for (int w = 0; w < (everyone ? 3 : 1); ++w) all.push_back(fiber::spawn(wait));
            if (everyone) {  // one that may just be timing out
                all.push_back(fiber::spawn([&] {
                    std::unique_lock lock(mutex);
                    (void)condition.wait_for(lock, 50us);
                }));
            }
            settle();
            {
                const std::lock_guard guard(mutex);
                if (i % 3 == 0) all.front().cancel();
                everyone ? condition.notify_all() : condition.notify_one();
                if (i % 3 == 1) all.front().cancel();
                changed.reset();  // with the lock held, which they need to go on
            }
            for (auto& one : all) one.wait();
        }
    });
}

TEST_CASE("row 34: wait_for and wait_until end in time, with the lock held") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        fiber::condition_variable changed;
        std::unique_lock lock(mutex);
        CHECK(changed.wait_for(lock, 1ms) == std::cv_status::timeout);
        CHECK(lock.owns_lock());
        CHECK(is_held(mutex));
        CHECK(changed.wait_for(lock, 0s) == std::cv_status::timeout);
        CHECK(changed.wait_until(lock, std::chrono::system_clock::now() - 1h) == std::cv_status::timeout);
        CHECK_FALSE(changed.wait_for(lock, 1ms, [] { return false; }));
        CHECK(changed.wait_for(lock, 1h, [] { return true; }));
        int asked = 0;
        CHECK(changed.wait_until(lock, std::chrono::steady_clock::now() + 1ms, [&] { return ++asked == 2; }));
        auto notifier = fiber::spawn([&] {
            const std::lock_guard guard(mutex);
            changed.notify_one();
        });
        CHECK(changed.wait_for(lock, 1h) == std::cv_status::no_timeout);
        notifier.get();
    });
}

TEST_CASE("a stop request ends the wait") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        fiber::condition_variable changed;
        std::stop_source source;
        bool ready = false;
        const auto wait = [&] {
            std::unique_lock lock(mutex);
            const bool result = changed.wait(lock, source.get_token(), [&] { return ready; });
            CHECK(lock.owns_lock());
            return result;
        };
        auto stopped = fiber::spawn(wait);
        settle();
        source.request_stop();
        CHECK_FALSE(stopped.get());
        CHECK_FALSE(wait());  // stopped before
        ready = true;
        CHECK(wait());
        std::unique_lock lock(mutex);
        const std::stop_source calm;
        CHECK_FALSE(changed.wait_for(lock, calm.get_token(), 1ms, [] { return false; }));
        CHECK(changed.wait_until(lock, calm.get_token(), std::chrono::steady_clock::now() + 1h, [] { return true; }));
    });
}

TEST_CASE("a stop request from anywhere, at any moment, is never missed") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(100); ++i) {
            fiber::mutex mutex;
            fiber::condition_variable changed;
            std::stop_source source;
            auto waiting = fiber::spawn([&] {
                std::unique_lock lock(mutex);
                return changed.wait(lock, source.get_token(), [] { return false; });
            });
            if (i % 2 == 0) fiber::yield();
            if (i % 8 == 0) {
                fiber::to_thread([&] { source.request_stop(); });
            } else {
                source.request_stop();
            }
            CHECK_FALSE(waiting.get());
        }
    });
}

TEST_CASE("any lock will do, also one that parks, and a shared one") {
    in_virtual_time([] {
        slow_lock slow;
        fiber::condition_variable changed;
        bool ready = false;
        auto waiting = fiber::spawn([&] {
            const std::lock_guard guard(slow);
            changed.wait(slow, [&] { return ready; });
        });
        for (int i = 0; i < 5; ++i) fiber::yield();
        {
            const std::lock_guard guard(slow);
            ready = true;
        }
        changed.notify_one();
        waiting.get();

        fiber::shared_mutex shared;
        bool written = false;
        auto reader = fiber::spawn([&] {
            std::shared_lock lock(shared);
            changed.wait(lock, [&] { return written; });
        });
        {
            const std::lock_guard guard(shared);
            written = true;
        }
        changed.notify_all();
        reader.get();
    });
}

TEST_CASE("what the lock's unlock throws leaves no waiter behind") {
    on_each_worker_count([] {
        fiber::condition_variable changed;
        refusing_lock refuses;
        CHECK_THROWS_AS(changed.wait(refuses), std::runtime_error);
        fiber::mutex mutex;
        std::unique_lock lock(mutex);
        auto notifier = fiber::spawn([&] {
            const std::lock_guard guard(mutex);
            changed.notify_one();  // must not go to the one that is gone
        });
        changed.wait(lock);
        notifier.get();
        lock.unlock();
        CHECK_THROWS_AS(changed.wait(mutex), std::system_error);  // not locked
    });
}

TEST_CASE("fibers and plain threads wait together and notify one another") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        fiber::condition_variable changed;
        int tokens = 0;
        int taken = 0;
        const int each = scaled(100);
        const auto take = [&] {
            for (int i = 0; i < each; ++i) {
                std::unique_lock lock(mutex);
                while (tokens == 0) {
                    if (i % 4 == 0) {
                        (void)changed.wait_for(lock, 20us);
                    } else {
                        changed.wait(lock);
                    }
                }
                --tokens;
                ++taken;
            }
        };
        const auto give = [&](int count) {
            for (int i = 0; i < count; ++i) {
                {
                    const std::lock_guard guard(mutex);
                    ++tokens;
                }
                changed.notify_one();
                if (i % 16 == 0) fiber::yield();
            }
        };
        std::thread taker(take);
        std::thread giver([&] { give(2 * each); });
        auto fiber_taker = fiber::spawn(take);
        auto another = fiber::spawn(take);
        give(each);
        fiber_taker.get();
        another.get();
        fiber::to_thread([&] {
            taker.join();
            giver.join();
        });
        CHECK(taken == 3 * each);
        CHECK(tokens == 0);
    });
}
