// One owner that uses every way in and out, three thieves: each item leaves exactly once, and whole.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <doctest/doctest.h>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "scheduler/queue/deque.hpp"
#include "scheduler/queue/injection_queue.hpp"
#include "tests/support/seed.hpp"

namespace {

using fiber::engine::steal_verdict;

// The fields are plain: whoever takes an item must see what was written before its push, or ThreadSanitizer tells.
struct item {
    item* queue_next = nullptr;
    std::uint64_t payload = 0;
    std::uint64_t times_taken = 0;
};

using deque = fiber::engine::work_stealing_deque<item>;

constexpr std::uint64_t mark = 0x5eed;

void consume(item& taken) {
    if (taken.payload == mark) ++taken.times_taken;
}

std::uint64_t number_of(const item* one, const std::vector<item>& items) {
    return static_cast<std::uint64_t>(one - items.data());
}

void check_each_left_once(const std::vector<item>& items) {
    std::size_t wrong = 0;
    for (const item& each : items) wrong += each.times_taken != 1;
    CHECK(wrong == 0);
}

// Owner: mostly pushes in bursts, then removes some by a way chosen at random.
void own(deque& d, std::vector<item>& items, fiber_test::random& random) {
    std::size_t pushed = 0;
    while (pushed < items.size()) {
        for (auto burst = random.below(12); burst > 0 && pushed < items.size(); --burst) {
            items[pushed].payload = mark;
            d.push(&items[pushed++]);
            d.share();
        }
        for (auto removals = random.below(12); removals > 0 && pushed > 0; --removals) {
            item* newest = &items[pushed - 1];
            item* oldest = d.peek_top();
            item* recent = &items[pushed - 1 - random.below(std::min<std::size_t>(pushed, 8))];
            switch (random.below(5)) {
                case 0:
                    if (item* got = d.pop()) consume(*got);
                    break;
                case 1:
                    if (item* got = d.take()) consume(*got);
                    break;
                case 2:
                    if (d.pop_if(newest)) consume(*newest);
                    break;
                case 3:
                    if (d.remove_recent(recent)) consume(*recent);
                    break;
                default:
                    if (oldest != nullptr && d.take_if(oldest)) consume(*oldest);
            }
        }
    }
    while (item* rest = d.pop()) consume(*rest);
}

// Thief: steals one or half until told to stop, and lets nobody steal from it.
void steal_from(deque& victim, const std::atomic<bool>& stop, fiber_test::random random) {
    deque mine(deque::sharing::stealable, 8);
    while (!stop.load(std::memory_order_acquire)) {  // with the owner's store of `stop`
        const deque::stolen got = random.below(2) == 0 ? victim.steal() : victim.steal_half(mine, 1 + random.below(8));
        if (got.verdict == steal_verdict::taken) consume(*got.item);
        while (item* more = mine.take()) consume(*more);
        if (got.verdict == steal_verdict::empty) {
            random.below(4) == 0 ? victim.expose() : victim.ask();
            std::this_thread::yield();
        }
    }
}

}  // namespace

TEST_SUITE_BEGIN("deque");

TEST_CASE("one owner and three thieves: each item leaves exactly once") {
    constexpr std::size_t rounds = 8;
    for (std::size_t round = 0; round < rounds; ++round) {
        std::vector<item> items(10'000);
        deque d(deque::sharing::stealable, 1);
        std::atomic<bool> stop{false};
        std::latch started(4);
        std::vector<std::thread> thieves;
        for (std::size_t i = 0; i < 3; ++i) {
            thieves.emplace_back([&, stream = 1 + round * 4 + i] {
                started.arrive_and_wait();
                steal_from(d, stop, fiber_test::random(stream));
            });
        }
        started.arrive_and_wait();
        fiber_test::random random(100 + round);
        own(d, items, random);
        stop.store(true, std::memory_order_release);  // with the thieves' loads
        for (std::thread& each : thieves) each.join();
        CHECK(d.empty());
        check_each_left_once(items);
    }
}

TEST_CASE("workers that push and steal from each other: each item leaves exactly once") {
    constexpr std::size_t workers = 3;
    constexpr std::size_t per_worker = 15'000;
    std::vector<item> items(workers * per_worker);
    std::array<std::unique_ptr<deque>, workers> deques;
    for (auto& each : deques) each = std::make_unique<deque>(deque::sharing::stealable, 16);
    std::atomic<std::size_t> left{items.size()};
    const auto work = [&](std::size_t self) {
        fiber_test::random random(300 + self);
        std::size_t pushed = 0;
        const auto run = [&](item& one) {
            consume(one);
            left.fetch_sub(1, std::memory_order_relaxed);  // only counted; join() orders the rest
        };
        while (left.load(std::memory_order_relaxed) != 0) {
            for (auto burst = random.below(30); burst > 0 && pushed < per_worker; --burst) {
                item& one = items[self * per_worker + pushed++];
                one.payload = mark;
                deques[self]->push(&one);
                deques[self]->share();
            }
            for (auto removals = random.below(16); removals > 0; --removals) {
                item* one = random.below(2) == 0 ? deques[self]->take() : deques[self]->pop();
                if (one == nullptr) break;
                run(*one);
            }
            const std::size_t victim = random.below(workers);
            if (victim == self) continue;
            const deque::stolen got = deques[victim]->steal_half(*deques[self]);
            if (got.verdict == steal_verdict::taken) run(*got.item);
            if (got.verdict == steal_verdict::empty) {
                random.below(8) == 0 ? deques[victim]->expose() : deques[victim]->ask();
            }
        }
    };
    std::vector<std::thread> threads;
    for (std::size_t self = 0; self < workers; ++self) threads.emplace_back(work, self);
    for (std::thread& each : threads) each.join();
    for (auto& each : deques) CHECK(each->empty());
    check_each_left_once(items);
}

TEST_CASE("injection queue: each object pushed by three threads is handed out once, each pusher's in order") {
    constexpr std::size_t pushers = 3;
    constexpr std::size_t each_pushes = 5'000;
    fiber::engine::injection_queue<item> q;
    std::vector<item> items(pushers * each_pushes);
    std::vector<std::thread> threads;
    for (std::size_t p = 0; p < pushers; ++p) {
        threads.emplace_back([&, p] {
            for (std::size_t i = 0; i < each_pushes; ++i) {
                item& one = items[p * each_pushes + i];
                one.payload = mark;
                q.push(one);
            }
        });
    }
    fiber_test::random random(200);
    std::size_t next_of[pushers] = {};
    std::size_t out_of_order = 0;
    std::size_t handed_out = 0;
    const auto take = [&](item& one) {
        consume(one);
        const std::uint64_t number = number_of(&one, items);
        out_of_order += number % each_pushes != next_of[number / each_pushes]++;
        ++handed_out;
    };
    while (handed_out < items.size()) {
        if (random.below(2) == 0) {
            if (item* one = q.pop()) take(*one);
        } else {
            q.pop_batch(take, 1 + random.below(64));
        }
    }
    for (std::thread& each : threads) each.join();
    CHECK(q.empty());
    CHECK(out_of_order == 0);
    check_each_left_once(items);
}

TEST_SUITE_END();
