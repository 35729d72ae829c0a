// The injection queue used by one thread: order and batches.
#include "scheduler/queue/injection_queue.hpp"

#include <cstddef>
#include <deque>
#include <doctest/doctest.h>
#include <stdexcept>
#include <vector>

namespace {

struct item {
    item* queue_next = nullptr;
    item* other_next = nullptr;
};

using queue = fiber::engine::injection_queue<item>;

std::vector<std::size_t> pop_all(queue& q, const std::deque<item>& items, std::size_t limit) {
    std::vector<std::size_t> numbers;
    q.pop_batch(
        [&](item& each) {
            for (std::size_t i = 0; i < items.size(); ++i) {
                if (&items[i] == &each) numbers.push_back(i);
            }
        },
        limit);
    return numbers;
}

using numbers = std::vector<std::size_t>;

}  // namespace

TEST_SUITE_BEGIN("injection queue");

TEST_CASE("pop hands out in the order of the pushes") {
    std::deque<item> items(5);
    queue q;
    CHECK(q.empty());
    CHECK(q.pop() == nullptr);
    for (int round = 0; round < 3; ++round) {
        for (item& each : items) q.push(each);
        CHECK(q.size() == 5);
        for (item& each : items) {
            CHECK_FALSE(q.empty());
            CHECK(q.pop() == &each);
        }
        CHECK(q.empty());
        CHECK(q.pop() == nullptr);
    }
}

TEST_CASE("a push between pops goes to the end") {
    std::deque<item> items(3);
    queue q;
    q.push(items[0]);
    q.push(items[1]);
    CHECK(q.pop() == &items[0]);
    q.push(items[2]);
    q.push(items[0]);
    CHECK(q.pop() == &items[1]);
    CHECK(q.pop() == &items[2]);
    CHECK(q.pop() == &items[0]);
    CHECK(q.empty());
}

TEST_CASE("pop_batch takes up to its limit and leaves the rest in order") {
    std::deque<item> items(7);
    queue q;
    CHECK(q.pop_batch([](item&) {}, 4) == 0);
    for (item& each : items) q.push(each);
    CHECK(q.pop_batch([](item&) {}, 0) == 0);
    CHECK(q.size() == 7);
    CHECK(pop_all(q, items, 3) == numbers{0, 1, 2});
    CHECK(q.size() == 4);
    CHECK(pop_all(q, items, 4) == numbers{3, 4, 5, 6});
    CHECK(q.empty());
    q.push(items[2]);
    CHECK(pop_all(q, items, 100) == numbers{2});
}

TEST_CASE("a batch's consumer may push the object at once, here or elsewhere") {
    std::deque<item> items(3);
    queue q;
    queue elsewhere;
    for (item& each : items) q.push(each);
    CHECK(q.pop_batch([&](item& each) { (&each == &items[1] ? q : elsewhere).push(each); }, 10) == 3);
    CHECK(elsewhere.pop() == &items[0]);
    CHECK(elsewhere.pop() == &items[2]);
    CHECK(elsewhere.empty());
    CHECK(q.pop() == &items[1]);
    CHECK(q.empty());
}

TEST_CASE("the link may be any member") {
    fiber::engine::injection_queue<item, &item::other_next> q;
    queue other;
    std::deque<item> items(2);
    for (item& each : items) {
        q.push(each);
        other.push(each);
    }
    CHECK(q.pop() == &items[0]);
    CHECK(other.pop() == &items[0]);
    CHECK(q.pop() == &items[1]);
    CHECK(other.pop() == &items[1]);
}

TEST_SUITE_END();
