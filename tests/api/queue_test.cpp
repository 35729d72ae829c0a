// queue, lifo_queue, priority_queue: asyncio.Queue's contract, with the shutdown of Python 3.13. Row 33 and row 34 of
// the semantics.
#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

static_assert(std::is_base_of_v<std::runtime_error, fiber::queue_shutdown>);

namespace {

template <class Body>
void on_one_worker(Body body) {
    runtime_fixture fixture(1);
    fixture.run(body);
}

template <class Queue>
std::vector<int> drain(Queue& from) {
    std::vector<int> items;
    while (auto item = from.try_get()) items.push_back(*item);
    return items;
}

}  // namespace

TEST_SUITE_BEGIN("queue");

TEST_CASE("first in, first out; last in, first out; smallest first") {
    on_one_worker([] {
        const int given[] = {5, 1, 4, 1, 3, 9, 2, 6};
        fiber::queue<int> fifo;
        fiber::lifo_queue<int> lifo;
        fiber::priority_queue<int> smallest;
        fiber::priority_queue<int, std::greater<int>> largest;
        for (const int each : given) {
            fifo.put(each);
            lifo.put(each);
            smallest.put(each);
            largest.put(each);
        }
        CHECK(drain(fifo) == std::vector<int>{5, 1, 4, 1, 3, 9, 2, 6});
        CHECK(drain(lifo) == std::vector<int>{6, 2, 9, 3, 1, 4, 1, 5});
        CHECK(drain(smallest) == std::vector<int>{1, 1, 2, 3, 4, 5, 6, 9});
        CHECK(drain(largest) == std::vector<int>{9, 6, 5, 4, 3, 2, 1, 1});
    });
}

TEST_CASE("priority_queue: random puts and gets against a sorted model") {
    fiber_test::random dice;
    fiber::priority_queue<int> queue;
    std::vector<int> model;
    for (int step = 0; step < scaled(20'000); ++step) {
        if (dice.below(5) < 3 || model.empty()) {
            const int item = static_cast<int>(dice.below(50));
            queue.put(item);
            model.insert(std::upper_bound(model.begin(), model.end(), item, std::greater<>()), item);
        } else {
            REQUIRE(queue.get() == model.back());
            model.pop_back();
        }
    }
    CHECK(queue.size() == model.size());
}

TEST_CASE("maxsize: no limit by default, otherwise put waits while the queue is full") {
    on_one_worker([] {
        fiber::queue<int> unbounded;
        CHECK(unbounded.maxsize() == 0);
        for (int i = 0; i < 10'000; ++i) CHECK(unbounded.try_put(i));
        CHECK_FALSE(unbounded.full());
        CHECK(unbounded.size() == 10'000);

        fiber::queue<int> two(2);
        CHECK(two.maxsize() == 2);
        CHECK(two.empty());
        two.put(1);
        two.put(2);
        CHECK(two.full());
        CHECK_FALSE(two.try_put(3));
        auto putter = fiber::spawn([&] { two.put(3); });
        settle();
        CHECK_FALSE(putter.done());
        CHECK(two.get() == 1);
        putter.get();
        CHECK(drain(two) == std::vector<int>{2, 3});
        CHECK_FALSE(two.try_get().has_value());
    });
}

TEST_CASE("a growing queue keeps its order, and moves what can be moved only") {
    on_one_worker([] {
        fiber::queue<std::unique_ptr<tracked>> queue;
        int put = 0;
        int got = 0;
        for (int round = 0; round < 40; ++round) {
            for (int i = 0; i < 7; ++i) queue.put(std::make_unique<tracked>(put++));
            for (int i = 0; i < 5; ++i) CHECK(queue.get()->value() == got++);
        }
        while (got < put) CHECK(queue.get()->value() == got++);
        queue.put(std::make_unique<tracked>(1));  // left for the destructor
        fiber::priority_queue<std::unique_ptr<int>> owned;
        owned.put(std::make_unique<int>(3));
        CHECK(*owned.get() == 3);
    });
}

TEST_CASE("row 33: producers and consumers: each item once, join waits for the work") {
    on_each_worker_count([] {
        constexpr int producers = 3;
        const int items = scaled(300);
        fiber::queue<tracked> queue(5);
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(items * producers));
        std::atomic<int> done{0};
        std::vector<fiber::task<void>> workers;
        for (int w = 0; w < 4; ++w) {
            workers.push_back(fiber::spawn([&] {
                for (;;) {
                    const tracked item = queue.get();
                    ++seen[static_cast<std::size_t>(item.value())];
                    fiber::yield();
                    ++done;
                    queue.task_done();
                }
            }));
        }
        std::vector<fiber::task<void>> producing;
        for (int p = 0; p < producers; ++p) {
            producing.push_back(fiber::spawn([&, p] {
                for (int i = 0; i < items; ++i) queue.put(tracked(i * producers + p));
            }));
        }
        fiber::gather(std::move(producing));
        queue.join();
        CHECK(done == items * producers);
        for (auto& worker : workers) worker.cancel();
        for (auto& worker : workers) CHECK_THROWS_AS(worker.get(), fiber::cancelled);
        for (const auto& count : seen) CHECK(count == 1);
    });
}

TEST_CASE("join and task_done: nothing to wait for, too often, cancelled") {
    on_one_worker([] {
        fiber::queue<int> queue;
        queue.join();
        CHECK_THROWS_AS(queue.task_done(), std::logic_error);
        queue.put(1);
        auto joiner = fiber::spawn([&] { queue.join(); });
        auto leaves = fiber::spawn([&] { queue.join(); });
        settle();
        leaves.cancel();
        CHECK_THROWS_AS(leaves.get(), fiber::cancelled);
        CHECK(queue.get() == 1);
        fiber::yield();
        CHECK_FALSE(joiner.done());  // it was got, but is not done
        queue.task_done();
        joiner.get();
        CHECK_THROWS_AS(queue.task_done(), fiber::usage_error);

        // An item that goes straight to who waits counts as well, and one that waited for its place only when it has
        // it.
        fiber::queue<int> one(1);
        auto getter = fiber::spawn([&] { return one.get(); });
        settle();
        one.put(1);
        CHECK(getter.get() == 1);
        one.put(2);
        auto putter = fiber::spawn([&] { one.put(3); });
        settle();
        one.task_done();
        one.task_done();
        one.join();
        CHECK(one.get() == 2);
        putter.get();
        one.task_done();
        CHECK_THROWS_AS(one.task_done(), fiber::usage_error);
        CHECK(one.get() == 3);
    });
}

TEST_CASE("row 33: a cancelled get or put loses nothing") {
    on_each_worker_count([] {
        fiber::queue<tracked> one(1);
        auto first = fiber::spawn([&] { (void)one.get(); });
        auto second = fiber::spawn([&] { return one.get().value(); });
        settle();
        first.cancel();
        CHECK_THROWS_AS(first.get(), fiber::cancelled);
        one.put(tracked(1));
        CHECK(second.get() == 1);

        one.put(tracked(2));
        auto leaves = fiber::spawn([&] {
            tracked mine(3);
            CHECK_THROWS_AS(one.put(std::move(mine)), fiber::cancelled);
            CHECK(mine.value() == 3);
        });
        auto stays = fiber::spawn([&] { one.put(tracked(4)); });
        settle();
        leaves.cancel();
        leaves.get();
        CHECK(one.get().value() == 2);
        CHECK(one.get().value() == 4);
        stays.get();
        CHECK(one.empty());
    });
}

TEST_CASE("row 34: put_for and get_for give up in time, and keep the item") {
    runtime_fixture fixture(fiber::runtime_options{.workers = 1, .virtual_time = true});
    fixture.run([] {
        const auto now_ms = [] { return fiber::detail::current_time() / 1'000'000; };
        fiber::queue<std::unique_ptr<int>> one(1);
        const auto start = now_ms();
        CHECK_FALSE(one.get_for(5ms).has_value());
        CHECK(now_ms() - start == 5);
        auto mine = std::make_unique<int>(7);
        CHECK(one.put_for(std::make_unique<int>(6), 5ms));
        CHECK_FALSE(one.put_for(std::move(mine), 5ms));
        CHECK(now_ms() - start == 10);
        REQUIRE(mine != nullptr);
        CHECK_FALSE(one.try_put(std::move(mine)));
        CHECK_FALSE(one.put_until(std::move(mine), std::chrono::system_clock::now() - 1s));
        CHECK(*mine == 7);
        CHECK(**one.get_for(1h) == 6);
        CHECK_FALSE(one.get_until(std::chrono::system_clock::now() - 1s).has_value());
    });
}

TEST_CASE("shutdown: puts throw, gets drain and throw then; those who wait are told") {
    on_each_worker_count([] {
        fiber::queue<tracked> two(2);
        two.put(tracked(1));
        two.put(tracked(2));
        auto putter = fiber::spawn([&] {
            tracked mine(3);
            CHECK_THROWS_AS(two.put(std::move(mine)), fiber::queue_shutdown);
            CHECK(mine.value() == 3);
        });
        auto joiner = fiber::spawn([&] { two.join(); });
        settle();
        CHECK_FALSE(two.is_shut_down());
        two.shutdown();
        two.shutdown();
        CHECK(two.is_shut_down());
        putter.get();
        CHECK_THROWS_AS(two.put(tracked(4)), fiber::queue_shutdown);
        CHECK_THROWS_AS((void)two.try_put(tracked(4)), fiber::queue_shutdown);
        CHECK_THROWS_AS((void)two.put_for(tracked(4), 1ms), fiber::queue_shutdown);
        CHECK(two.get().value() == 1);
        two.task_done();
        CHECK(two.try_get()->value() == 2);
        CHECK_FALSE(joiner.done());
        two.task_done();
        joiner.get();
        CHECK_THROWS_AS((void)two.get(), fiber::queue_shutdown);
        CHECK_THROWS_AS((void)two.try_get(), fiber::queue_shutdown);
        CHECK_THROWS_AS((void)two.get_for(1ms), fiber::queue_shutdown);
    });
}

TEST_CASE("shutdown at once: what is in the queue is thrown away and counts as done") {
    on_each_worker_count([] {
        fiber::lifo_queue<tracked> queue;
        queue.put(tracked(1));
        queue.put(tracked(2));
        queue.put(tracked(3));
        CHECK(queue.get().value() == 3);
        auto joiner = fiber::spawn([&] { queue.join(); });
        settle();
        const long alive = tracked::live();
        queue.shutdown(true);
        CHECK(tracked::live() == alive - 2);
        CHECK(queue.empty());
        CHECK_THROWS_AS((void)queue.get(), fiber::queue_shutdown);
        CHECK_FALSE(joiner.done());  // one was got, and is not done
        queue.task_done();
        joiner.get();
        CHECK_THROWS_AS(queue.task_done(), fiber::usage_error);

        fiber::priority_queue<int> waited_for;
        auto getter = fiber::spawn([&] { CHECK_THROWS_AS((void)waited_for.get(), fiber::queue_shutdown); });
        settle();
        waited_for.shutdown(true);
        getter.get();
    });
}

TEST_CASE("shutdown first gently, then at once, wakes those who join") {
    on_one_worker([] {
        fiber::queue<int> queue;
        queue.put(1);
        auto joiner = fiber::spawn([&] { queue.join(); });
        settle();
        queue.shutdown();
        fiber::yield();
        CHECK_FALSE(joiner.done());
        queue.shutdown(true);
        joiner.get();
    });
}

namespace {
struct by_mood {
    bool operator()(int a, int b) const {
        if (bad) throw std::runtime_error("cannot compare");
        return a < b;
    }
    static inline bool bad = false;
};
}  // namespace

TEST_CASE("a comparison that throws leaves the queue as it was") {
    on_one_worker([] {
        fiber::priority_queue<int, by_mood> queue;
        for (const int each : {4, 2, 8, 6}) queue.put(each);
        by_mood::bad = true;
        CHECK_THROWS_AS(queue.put(1), std::runtime_error);
        CHECK_THROWS_AS((void)queue.get(), std::runtime_error);
        by_mood::bad = false;
        CHECK(drain(queue) == std::vector<int>{2, 4, 6, 8});
    });
}

namespace {
// Its moves throw when their turn comes. Copyable: a row of them may grow by copies; move-only: it may not.
template <bool Copyable>
struct fragile : tracked {
    explicit fragile(int value) : tracked(value) {}
    fragile(fragile&& other) : tracked((look(), std::move(other))) {}
    fragile(const fragile& other) requires Copyable : tracked((look(), other)) {}
    fragile& operator=(fragile&& other) {
        look();
        tracked::operator=(std::move(other));
        return *this;
    }
    bool operator<(const fragile& other) const { return value() < other.value(); }

    static void look() {
        if (--until_failure == 0) throw std::runtime_error("cannot be moved");
    }
    static inline int until_failure = 0;
};

// Puts and gets with a failure at each move in turn: a call that throws has changed nothing.
template <class Queue, class Item>
void check_with_failing_moves() {
    for (int nth = 1, failures = 1; failures != 0; ++nth) {
        failures = 0;
        Queue queue;
        Item::until_failure = nth;
        for (int i = 0; i < 20; ++i) {
            Item mine((7 * i) % 20);
            while (mine.value() >= 0) {  // it stays the caller's until it is in
                try {
                    queue.put(std::move(mine));
                } catch (const std::runtime_error&) {
                    ++failures;
                }
            }
            CHECK(queue.size() == static_cast<std::size_t>(i + 1));
        }
        std::vector<int> seen;
        while (!queue.empty()) {
            try {
                if (const auto item = queue.try_get()) seen.push_back(item->value());
            } catch (const std::runtime_error&) {
                ++failures;
            }
            CHECK(seen.size() + queue.size() == 20);
        }
        if constexpr (std::is_same_v<Queue, fiber::priority_queue<Item>>)
            CHECK(std::is_sorted(seen.begin(), seen.end()));
        std::sort(seen.begin(), seen.end());
        CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    }
}
}  // namespace

// A priority_queue that was in the middle of putting an item in its place was left unordered, with an item that its
// owner had been told was not taken; a lifo_queue that grew had moved from the item before the others refused to go.
TEST_CASE("a move that throws leaves item and queue as they were") {
    on_one_worker([] {
        check_with_failing_moves<fiber::queue<fragile<true>>, fragile<true>>();
        check_with_failing_moves<fiber::queue<fragile<false>>, fragile<false>>();
        check_with_failing_moves<fiber::lifo_queue<fragile<true>>, fragile<true>>();
        check_with_failing_moves<fiber::lifo_queue<fragile<false>>, fragile<false>>();
        check_with_failing_moves<fiber::priority_queue<fragile<true>>, fragile<true>>();
        check_with_failing_moves<fiber::priority_queue<fragile<false>>, fragile<false>>();
    });
}

TEST_CASE("plain threads put, fibers get, and back") {
    for_each_worker_count([](unsigned workers) {
        const int items = scaled(200);
        runtime_fixture fixture(workers);
        fiber::queue<tracked> there(3);
        fiber::queue<tracked> back;
        std::thread outside([&] {
            for (int i = 0; i < items; ++i) there.put(tracked(i));
            there.join();
            for (int i = 0; i < items; ++i) CHECK(back.get().value() == i);
            CHECK_THROWS_AS((void)back.get(), fiber::queue_shutdown);
        });
        fixture.run([&] {
            for (int i = 0; i < items; ++i) {
                tracked item = there.get();
                CHECK(item.value() == i);
                back.put(std::move(item));
                there.task_done();
            }
            back.shutdown();
        });
        outside.join();
    });
}

TEST_SUITE_END();
