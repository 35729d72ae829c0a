// mutex, timed_mutex and recursive_mutex: rows 30 and 34 of the semantics.
#include <mutex>
#include <system_error>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

template <class Call>
std::error_code error_of(Call call) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

const std::error_code not_permitted = std::make_error_code(std::errc::operation_not_permitted);
const std::error_code would_deadlock = std::make_error_code(std::errc::resource_deadlock_would_occur);

// What each caller may do alone: entering twice at once is noticed.
class room {
 public:
    class visit {
     public:
        explicit visit(room& in) : in_(in) {
            if (in_.inside_.exchange(true)) in_.crowded_ = true;
        }
        visit(const visit&) = delete;
        visit& operator=(const visit&) = delete;
        ~visit() { in_.inside_ = false; }

     private:
        room& in_;
    };
    bool was_crowded() const { return crowded_; }

 private:
    std::atomic<bool> inside_{false};
    std::atomic<bool> crowded_{false};
};

}  // namespace

TEST_CASE("row 30: one owner at a time, whatever std's guards do with the mutex") {
    on_each_worker_count([] {
        fiber::mutex first;
        fiber::mutex second;
        room alone;
        long sum = 0;  // plain: the mutex orders the accesses
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 8; ++f) {
            all.push_back(fiber::spawn([&, f] {
                for (int i = 0; i < scaled(300); ++i) {
                    if (i % 3 == 0) {
                        const std::lock_guard guard(first);
                        const room::visit here(alone);
                        ++sum;
                    } else if (i % 3 == 1) {
                        std::unique_lock lock(first, std::try_to_lock);
                        if (!lock.owns_lock()) lock.lock();
                        const room::visit here(alone);
                        ++sum;
                    } else {
                        const std::scoped_lock both(f % 2 == 0 ? first : second, f % 2 == 0 ? second : first);
                        const room::visit here(alone);
                        if (i % 2 == 0) fiber::yield();
                        ++sum;
                    }
                }
            }));
        }
        for (auto& one : all) one.get();
        CHECK(sum == 8 * scaled(300));
        CHECK_FALSE(alone.was_crowded());
    });
}

TEST_CASE("row 30: a mutex goes to those who wait in the order in which they came") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        journal<int> order;
        mutex.lock();
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 6; ++i) {
            all.push_back(fiber::spawn([&, i] {
                const std::lock_guard guard(mutex);
                order.add(i);
            }));
            settle();  // it stands in the queue
        }
        mutex.unlock();
        for (auto& one : all) one.get();
        CHECK(order.entries() == std::vector<int>{0, 1, 2, 3, 4, 5});
    });
}

TEST_CASE("row 30: nobody slips in between an unlock and the one it was handed to") {
    runtime_fixture fixture(1);
    fixture.run([] {
        fiber::mutex mutex;
        bool served = false;
        mutex.lock();
        auto waiting = fiber::spawn([&] {
            const std::lock_guard guard(mutex);
            served = true;
        });
        settle();
        mutex.unlock();  // it owns the mutex now, and has not run yet
        CHECK_FALSE(served);
        CHECK_FALSE(mutex.try_lock());
        mutex.lock();
        CHECK(served);
        mutex.unlock();
        waiting.get();
    });
}

TEST_CASE("row 30: unlocking what the caller does not hold is an error and changes nothing") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        CHECK(error_of([&] { mutex.unlock(); }) == not_permitted);
        mutex.lock();
        CHECK(fiber::spawn([&] { return error_of([&] { mutex.unlock(); }); }).get() == not_permitted);
        CHECK(fiber::to_thread([&] { return error_of([&] { mutex.unlock(); }); }) == not_permitted);
        CHECK_FALSE(fiber::spawn([&] { return mutex.try_lock(); }).get());
        mutex.unlock();
        CHECK(error_of([&] { mutex.unlock(); }) == not_permitted);
        fiber::to_thread([&] { mutex.lock(); });  // and leaves it locked
        CHECK(error_of([&] { mutex.unlock(); }) == not_permitted);
        CHECK_FALSE(mutex.try_lock());
    });
}

TEST_CASE("row 30: locking again what the caller holds is an error, also while others wait") {
    on_each_worker_count([] {
        fiber::timed_mutex mutex;
        mutex.lock();
        CHECK(error_of([&] { mutex.lock(); }) == would_deadlock);
        CHECK(error_of([&] { (void)mutex.try_lock_for(1h); }) == would_deadlock);
        CHECK_FALSE(mutex.try_lock());
        auto waiting = fiber::spawn([&] { const std::lock_guard guard(mutex); });
        settle();
        CHECK(error_of([&] { mutex.lock(); }) == would_deadlock);
        mutex.unlock();
        waiting.get();
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("row 30: the owner is the task: it may sleep, migrate and be joined in between") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 20; ++i) {
            all.push_back(fiber::spawn([&] {
                const std::lock_guard guard(mutex);
                fiber::sleep_for(100us);
                fiber::spawn([&] { CHECK(error_of([&] { mutex.unlock(); }) == not_permitted); }).get();
            }));
        }
        for (auto& one : all) one.get();
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("lock is no cancellation point: who was cancelled while it waited owns the mutex all the same") {
    on_each_worker_count([] {
        fiber::mutex mutex;
        bool owned = false;
        mutex.lock();
        auto waiting = fiber::spawn([&] {
            const std::lock_guard guard(mutex);
            owned = true;
            fiber::yield();
            FAIL("the cancellation was lost");
        });
        settle();
        CHECK(waiting.cancel());
        settle();
        CHECK_FALSE(owned);
        mutex.unlock();
        CHECK_THROWS_AS(waiting.get(), fiber::cancelled);
        CHECK(owned);
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("row 34: try_lock_for gives up in time and leaves the queue") {
    on_each_worker_count([] {
        fiber::timed_mutex mutex;
        journal<int> order;
        mutex.lock();
        auto early = fiber::spawn([&] { return mutex.try_lock_for(2ms); });
        settle();
        auto late = fiber::spawn([&] {
            CHECK(mutex.try_lock_until(std::chrono::steady_clock::now() + 1h));
            order.add(1);
            mutex.unlock();
        });
        CHECK_FALSE(early.get());
        CHECK_FALSE(fiber::spawn([&] { return mutex.try_lock_for(0s); }).get());
        CHECK_FALSE(fiber::spawn([&] { return mutex.try_lock_for(-1h); }).get());
        CHECK_FALSE(fiber::spawn([&] { return mutex.try_lock_until(std::chrono::system_clock::now() - 1s); }).get());
        mutex.unlock();
        late.get();
        CHECK(order.entries() == std::vector<int>{1});
        CHECK(mutex.try_lock_for(0s));
        mutex.unlock();
    });
}

TEST_CASE("row 34: a time-out that comes with the unlock: either the lock or the time, never both, never neither") {
    runtime_fixture fixture({.workers = 1, .virtual_time = true});
    fixture.run([] {
        for (int i = 0; i < 20; ++i) {
            fiber::timed_mutex mutex;
            mutex.lock();
            auto waiting = fiber::spawn([&] {
                const bool locked = mutex.try_lock_for(1ms);
                if (locked) mutex.unlock();
                return locked;
            });
            fiber::sleep_for(std::chrono::microseconds(990 + i));
            mutex.unlock();
            (void)waiting.get();
            CHECK(mutex.try_lock());
            mutex.unlock();
        }
    });
}

TEST_CASE("fibers and plain threads share a mutex and hand it to one another") {
    on_each_worker_count([] {
        fiber::timed_mutex mutex;
        room alone;
        long sum = 0;
        const auto work = [&] {
            for (int i = 0; i < scaled(200); ++i) {
                if (i % 4 == 0) {
                    if (!mutex.try_lock_for(10us)) mutex.lock();
                } else {
                    mutex.lock();
                }
                {
                    const room::visit here(alone);
                    ++sum;
                    if (i % 16 == 0) std::this_thread::yield();
                }
                mutex.unlock();
            }
        };
        std::thread one(work);
        std::thread two(work);
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 4; ++f) all.push_back(fiber::spawn(work));
        for (auto& each : all) each.get();
        fiber::to_thread([&] {
            one.join();
            two.join();
        });
        CHECK(sum == 6 * scaled(200));
        CHECK_FALSE(alone.was_crowded());
    });
}

TEST_CASE("one who has locked and unlocked a mutex may destroy it while the last unlock is returning") {
    on_each_worker_count([] {
        struct shared {
            fiber::mutex mutex;
            int users = 3;
        };
        for (int i = 0; i < scaled(300); ++i) {
            auto* thing = new shared;
            const auto drop = [thing] {
                thing->mutex.lock();
                const bool last = --thing->users == 0;
                thing->mutex.unlock();
                if (last) delete thing;
            };
            auto one = fiber::spawn(drop);
            auto two = fiber::spawn(drop);
            drop();
            one.get();
            two.get();
        }
    });
}

TEST_CASE("a recursive mutex is free after as many unlocks as locks") {
    on_each_worker_count([] {
        fiber::recursive_timed_mutex mutex;
        const auto is_free = [&] {
            return fiber::spawn([&] {
                       const bool locked = mutex.try_lock_for(0s);
                       if (locked) mutex.unlock();
                       return locked;
                   })
                .get();
        };
        CHECK(error_of([&] { mutex.unlock(); }) == not_permitted);
        mutex.lock();
        CHECK(mutex.try_lock());
        CHECK(mutex.try_lock_for(1s));
        mutex.unlock();
        mutex.unlock();
        CHECK_FALSE(is_free());
        CHECK(fiber::spawn([&] { return error_of([&] { mutex.unlock(); }); }).get() == not_permitted);
        mutex.unlock();
        CHECK(is_free());
        CHECK(error_of([&] { mutex.unlock(); }) == not_permitted);
        const std::lock_guard guard(mutex);
    });
}

TEST_CASE("a recursive mutex keeps others out until its owner has left for the last time") {
    on_each_worker_count([] {
        fiber::recursive_mutex mutex;
        room alone;
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 6; ++f) {
            all.push_back(fiber::spawn([&] {
                for (int i = 0; i < scaled(100); ++i) {
                    const std::lock_guard outer(mutex);
                    const room::visit here(alone);
                    const std::lock_guard inner(mutex);
                    if (i % 10 == 0) fiber::yield();
                }
            }));
        }
        for (auto& one : all) one.get();
        CHECK_FALSE(alone.was_crowded());
    });
}
