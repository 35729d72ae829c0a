// shared_mutex: readers together, writers alone, everyone in the order of arrival.
#include <mutex>
#include <shared_mutex>
#include <system_error>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

template <class Call>
bool is_refused(Call call, std::errc why) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code() == std::make_error_code(why);
    }
    return false;
}

}  // namespace

TEST_CASE("readers share: each of them is in while all of them are") {
    on_each_worker_count([] {
        fiber::shared_mutex mutex;
        fiber::barrier all_in(8);
        std::vector<fiber::task<void>> readers;
        for (int f = 0; f < 8; ++f) {
            readers.push_back(fiber::spawn([&] {
                const std::shared_lock lock(mutex);
                all_in.arrive_and_wait();
                CHECK_FALSE(mutex.try_lock());
            }));
        }
        for (auto& one : readers) one.get();
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("a writer is alone") {
    on_each_worker_count([] {
        fiber::shared_mutex mutex;
        std::atomic<int> readers{0};
        std::atomic<int> writers{0};
        std::atomic<bool> mixed{false};
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 8; ++f) {
            all.push_back(fiber::spawn([&, f] {
                for (int i = 0; i < scaled(200); ++i) {
                    if ((f + i) % 4 == 0) {
                        const std::lock_guard guard(mutex);
                        if (++writers != 1 || readers != 0) mixed = true;
                        if (i % 8 == 0) fiber::yield();
                        --writers;
                    } else {
                        const std::shared_lock lock(mutex);
                        ++readers;
                        if (writers != 0) mixed = true;
                        if (i % 8 == 0) fiber::yield();
                        --readers;
                    }
                }
            }));
        }
        for (auto& one : all) one.get();
        CHECK_FALSE(mixed);
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("readers that come while a writer waits stand behind it, and enter together") {
    on_each_worker_count([] {
        fiber::shared_mutex mutex;
        journal<std::string> order;
        mutex.lock_shared();
        auto writer = fiber::spawn([&] {
            const std::lock_guard guard(mutex);
            order.add("writer");
        });
        settle();
        CHECK_FALSE(mutex.try_lock_shared());
        std::atomic<int> inside{0};
        const auto read = [&] {
            const std::shared_lock lock(mutex);
            order.add("reader");
            ++inside;
            CHECK(yield_until([&] { return inside == 2; }));  // both at once
        };
        auto one = fiber::spawn(read);
        auto two = fiber::spawn(read);
        settle();
        CHECK(order.entries().empty());
        mutex.unlock_shared();
        writer.get();
        one.get();
        two.get();
        CHECK(order.entries() == std::vector<std::string>{"writer", "reader", "reader"});
    });
}

TEST_CASE("a writer that gives up lets the readers behind it join those that are in") {
    on_each_worker_count([] {
        fiber::shared_timed_mutex mutex;
        mutex.lock_shared();
        auto writer = fiber::spawn([&] { return mutex.try_lock_for(5ms); });
        settle();
        auto reader = fiber::spawn([&] {
            const std::shared_lock lock(mutex);
            return true;
        });
        CHECK_FALSE(writer.get());
        CHECK(reader.get());  // although the first reader is still in
        CHECK_FALSE(fiber::spawn([&] { return mutex.try_lock_for(0s); }).get());
        CHECK(mutex.try_lock_shared_for(0s));
        mutex.unlock_shared();
        mutex.unlock_shared();
        mutex.lock();
        CHECK_FALSE(fiber::spawn([&] { return mutex.try_lock_shared_for(1ms); }).get());
        mutex.unlock();
    });
}

TEST_CASE("misuse of a shared mutex is an error where it can be told") {
    on_each_worker_count([] {
        fiber::shared_mutex mutex;
        CHECK(is_refused([&] { mutex.unlock(); }, std::errc::operation_not_permitted));
        CHECK(is_refused([&] { mutex.unlock_shared(); }, std::errc::operation_not_permitted));
        mutex.lock();
        CHECK(is_refused([&] { mutex.lock(); }, std::errc::resource_deadlock_would_occur));
        CHECK(is_refused([&] { mutex.lock_shared(); }, std::errc::resource_deadlock_would_occur));
        CHECK(is_refused([&] { mutex.unlock_shared(); }, std::errc::operation_not_permitted));
        CHECK_FALSE(mutex.try_lock_shared());
        mutex.unlock();
        mutex.lock_shared();
        CHECK(is_refused([&] { mutex.unlock(); }, std::errc::operation_not_permitted));
        CHECK_FALSE(mutex.try_lock());
        mutex.unlock_shared();
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("fibers and plain threads share a shared mutex") {
    on_each_worker_count([] {
        fiber::shared_mutex mutex;
        long sum = 0;
        std::atomic<bool> torn{false};
        const auto work = [&] {
            for (int i = 0; i < scaled(200); ++i) {
                if (i % 3 == 0) {
                    const std::lock_guard guard(mutex);
                    sum += 1;
                    if (i % 9 == 0) std::this_thread::yield();
                    sum += 1;
                } else {
                    const std::shared_lock lock(mutex);
                    if (sum % 2 != 0) torn = true;
                }
            }
        };
        std::thread outside(work);
        std::vector<fiber::task<void>> all;
        for (int f = 0; f < 4; ++f) all.push_back(fiber::spawn(work));
        for (auto& each : all) each.get();
        fiber::to_thread([&] { outside.join(); });
        CHECK_FALSE(torn);
        CHECK(sum == 5 * 2 * ((scaled(200) + 2) / 3));
    });
}
