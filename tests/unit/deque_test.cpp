// The deque used by one thread, also as its own thief: order, wrap-around, growth, and what each call reports.
#include "scheduler/queue/deque.hpp"

#include <cstddef>
#include <deque>
#include <doctest/doctest.h>
#include <vector>

#include "tests/support/seed.hpp"

namespace {

using fiber::engine::steal_verdict;

struct item {
    std::size_t number;
};

using deque = fiber::engine::work_stealing_deque<item>;
using sharing = deque::sharing;

std::vector<item> make_items(std::size_t count) {
    std::vector<item> items(count);
    for (std::size_t i = 0; i < count; ++i) items[i].number = i;
    return items;
}

constexpr sharing both_modes[] = {sharing::one_worker, sharing::stealable};

}  // namespace

TEST_SUITE_BEGIN("deque");

TEST_CASE("an empty deque gives nothing, again and again") {
    for (const sharing mode : both_modes) {
        item never_pushed{0};
        deque d(mode, 8);
        for (int round = 0; round < 3; ++round) {
            CHECK(d.pop() == nullptr);
            CHECK(d.take() == nullptr);
            CHECK(d.peek_top() == nullptr);
            CHECK_FALSE(d.pop_if(&never_pushed));
            CHECK_FALSE(d.take_if(&never_pushed));
            CHECK(d.empty());
            CHECK(d.size() == 0);
        }
    }
}

TEST_CASE("pop takes the newest, take the oldest") {
    for (const sharing mode : both_modes) {
        auto items = make_items(5);
        deque d(mode, 8);
        for (item& each : items) d.push(&each);
        CHECK(d.size() == 5);
        CHECK(d.peek_top() == &items[0]);
        CHECK(d.pop() == &items[4]);
        CHECK(d.take() == &items[0]);
        CHECK(d.pop() == &items[3]);
        CHECK(d.take() == &items[1]);
        CHECK_FALSE(d.empty());
        CHECK(d.pop() == &items[2]);
        CHECK(d.empty());
        CHECK(d.pop() == nullptr);
        CHECK(d.take() == nullptr);
    }
}

TEST_CASE("pop_if and take_if remove their own end's entry and no other") {
    for (const sharing mode : both_modes) {
        auto items = make_items(3);
        deque d(mode, 8);
        for (item& each : items) d.push(&each);
        CHECK_FALSE(d.pop_if(&items[0]));
        CHECK_FALSE(d.pop_if(&items[1]));
        CHECK_FALSE(d.take_if(&items[1]));
        CHECK_FALSE(d.take_if(&items[2]));
        CHECK(d.size() == 3);
        CHECK(d.pop_if(&items[2]));
        CHECK(d.take_if(&items[0]));
        CHECK(d.size() == 1);
        CHECK(d.take_if(&items[1]));
        CHECK(d.empty());
    }
}

TEST_CASE("what an empty deque's slots still hold is no entry") {
    for (const sharing mode : both_modes) {
        auto items = make_items(2);
        deque d(mode, 8);
        d.push(&items[0]);
        CHECK(d.take() == &items[0]);
        CHECK_FALSE(d.pop_if(&items[0]));
        CHECK_FALSE(d.take_if(&items[0]));
        d.push(&items[1]);
        CHECK(d.pop() == &items[1]);
        CHECK_FALSE(d.pop_if(&items[1]));
        CHECK_FALSE(d.take_if(&items[1]));
        CHECK(d.pop() == nullptr);
    }
}

TEST_CASE("remove_recent takes an entry out of the middle and keeps the order of the others") {
    for (const sharing mode : both_modes) {
        for (std::size_t removed = 0; removed < 6; ++removed) {
            auto items = make_items(7);
            deque d(mode, 8);
            for (std::size_t i = 0; i < 6; ++i) d.push(&items[i]);
            CHECK_FALSE(d.remove_recent(&items[6]));
            CHECK(d.size() == 6);
            if (removed != 1 && mode == sharing::stealable) d.expose();
            // At the top of what is shared thieves may already be at it: the owner uses take_if() there.
            const bool possible = mode == sharing::one_worker || removed > 0;
            CHECK(d.remove_recent(&items[removed]) == possible);
            CHECK(d.size() == (possible ? 5 : 6));
            CHECK_FALSE((possible && d.remove_recent(&items[removed])));
            for (std::size_t i = 0; i < 6; ++i) {
                if (!possible || i != removed) CHECK(d.take() == &items[i]);
            }
            CHECK(d.empty());
            CHECK_FALSE(d.remove_recent(&items[0]));
        }
    }
}

TEST_CASE("exchange_top goes once around the queue, also when the ring is full; an empty one stays empty") {
    auto items = make_items(9);
    deque d(sharing::one_worker, 8);
    CHECK(d.exchange_top(&items[8]) == nullptr);
    CHECK(d.empty());
    for (std::size_t i = 0; i < 8; ++i) d.push(&items[i]);
    item* mine = &items[8];
    for (std::size_t turn = 0; turn < 100; ++turn) {
        REQUIRE(d.size() == 8);
        item* oldest = d.exchange_top(mine);
        REQUIRE(oldest == &items[turn % 9]);
        mine = oldest;
    }
}

TEST_CASE("reserve makes room for pushes that then do not grow, and keeps what is there") {
    for (const sharing mode : both_modes) {
        auto items = make_items(100);
        deque d(mode, 8);
        for (std::size_t i = 0; i < 6; ++i) d.push(&items[i]);
        for (std::size_t i = 0; i < 3; ++i) CHECK(d.take() == &items[i]);
        d.reserve(97);
        for (std::size_t i = 6; i < items.size(); ++i) d.push(&items[i]);
        for (std::size_t i = 3; i < items.size(); ++i) REQUIRE(d.take() == &items[i]);
        CHECK(d.empty());
    }
}

TEST_CASE("indices wrap around a ring of 8 without growing it or losing order") {
    for (const sharing mode : both_modes) {
        auto items = make_items(1000);
        deque d(mode, 8);
        std::size_t pushed = 0;
        std::size_t taken = 0;
        while (taken < items.size()) {
            while (pushed < items.size() && d.size() < 8) d.push(&items[pushed++]);
            for (int i = 0; i < 3 && taken < pushed; ++i) REQUIRE(d.take() == &items[taken++]);
        }
        CHECK(d.empty());
    }
}

TEST_CASE("growth keeps every entry in its order, whatever place in the ring it starts from") {
    for (const sharing mode : both_modes) {
        for (std::size_t offset = 0; offset < 9; ++offset) {
            auto items = make_items(500);
            deque d(mode, 1);
            for (std::size_t i = 0; i < offset; ++i) {
                d.push(&items[0]);
                REQUIRE(d.take() == &items[0]);
            }
            for (item& each : items) d.push(&each);
            CHECK(d.size() == items.size());
            for (std::size_t i = 0; i < 250; ++i) {
                REQUIRE(d.take() == &items[i]);
                REQUIRE(d.pop() == &items[499 - i]);
            }
            CHECK(d.empty());
        }
    }
}

TEST_CASE("random operations agree with std::deque") {
    for (const sharing mode : both_modes) {
        fiber_test::random random(1);
        auto items = make_items(64);
        deque d(mode, 8);
        std::deque<item*> model;
        for (int step = 0; step < 100'000; ++step) {
            item* any = &items[random.below(items.size())];
            const bool room = model.size() < items.size();
            switch (random.below(room ? 7 : 4)) {
                case 0: {
                    item* expected = model.empty() ? nullptr : model.back();
                    if (expected) model.pop_back();
                    REQUIRE(d.pop() == expected);
                    break;
                }
                case 1: {
                    item* expected = model.empty() ? nullptr : model.front();
                    if (expected) model.pop_front();
                    REQUIRE(d.take() == expected);
                    break;
                }
                case 2: {
                    const bool expected = !model.empty() && model.back() == any;
                    if (expected) model.pop_back();
                    REQUIRE(d.pop_if(any) == expected);
                    break;
                }
                case 3: {
                    const bool expected = !model.empty() && model.front() == any;
                    if (expected) model.pop_front();
                    REQUIRE(d.take_if(any) == expected);
                    break;
                }
                default:
                    model.push_back(any);
                    d.push(any);
            }
            REQUIRE(d.size() == model.size());
            REQUIRE(d.empty() == model.empty());
            REQUIRE(d.peek_top() == (model.empty() ? nullptr : model.front()));
        }
    }
}

TEST_CASE("steal takes the oldest and says when there is nothing") {
    auto items = make_items(3);
    deque d(sharing::stealable, 8);
    CHECK(d.steal().verdict == steal_verdict::empty);
    CHECK(d.steal().item == nullptr);
    for (item& each : items) d.push(&each);
    CHECK(d.steal().verdict == steal_verdict::empty);  // they are the owner's own
    d.expose();                                        // half of three, rounded up
    for (std::size_t i = 0; i < 2; ++i) {
        const deque::stolen got = d.steal();
        CHECK(got.verdict == steal_verdict::taken);
        CHECK(got.item == &items[i]);
    }
    CHECK(d.steal().verdict == steal_verdict::empty);
    d.expose();
    CHECK(d.steal().item == &items[2]);
    CHECK(d.steal().verdict == steal_verdict::empty);
    CHECK(d.pop() == nullptr);
}

TEST_CASE("the owner shares half when it was asked, once, and never the newest") {
    auto items = make_items(9);
    deque d(sharing::stealable, 16);
    d.ask();
    d.push(&items[0]);
    d.share();
    CHECK(d.steal().verdict == steal_verdict::empty);
    d.push(&items[1]);
    d.share();
    CHECK(d.steal().item == &items[0]);
    CHECK(d.steal().verdict == steal_verdict::empty);
    for (std::size_t i = 2; i < items.size(); ++i) {
        d.push(&items[i]);
        d.share();
    }
    CHECK(d.steal().verdict == steal_verdict::empty);
    d.ask();
    d.share();  // four of eight: 1 to 4
    CHECK(d.steal().item == &items[1]);
    for (std::size_t i = 8; i >= 4; --i) CHECK(d.pop() == &items[i]);  // the last of them a shared one
    CHECK(d.steal().item == &items[2]);                                // the oldest is still shared, and no more
    CHECK(d.steal().verdict == steal_verdict::empty);
    CHECK(d.take() == &items[3]);
    CHECK(d.empty());
}

TEST_CASE("steal_half takes half, rounded up, oldest first, and keeps the order") {
    for (std::size_t count = 1; count <= 20; ++count) {
        auto items = make_items(count);
        deque victim(sharing::stealable, 8);
        deque own(sharing::stealable, 64);
        for (item& each : items) victim.push(&each);
        victim.expose();
        const deque::stolen first = victim.steal_half(own);
        CHECK(first.verdict == steal_verdict::taken);
        CHECK(first.item == &items[0]);
        const std::size_t half = (count + 1) / 2;
        CHECK(own.size() == half - 1);
        CHECK(victim.size() == count - half);
        for (std::size_t i = 1; i < half; ++i) REQUIRE(own.take() == &items[i]);
        for (std::size_t i = half; i < count; ++i) REQUIRE(victim.take() == &items[i]);
    }
}

TEST_CASE("steal_half keeps to its limit and to the room in the thief's deque, and adds behind what lies there") {
    auto items = make_items(101);
    deque victim(sharing::stealable, 8);
    deque own(sharing::stealable, 4);
    deque other(sharing::stealable, 4);
    CHECK(victim.steal_half(own).verdict == steal_verdict::empty);
    for (std::size_t i = 0; i < 100; ++i) victim.push(&items[i]);
    victim.expose();
    CHECK(victim.steal_half(own, 1).item == &items[0]);
    CHECK(own.empty());
    CHECK(victim.steal_half(own, 3).item == &items[1]);
    CHECK(own.size() == 2);
    CHECK(victim.size() == 96);

    CHECK(own.take() == &items[2]);
    own.push(&items[100]);
    CHECK(victim.steal_half(own).item == &items[4]);
    CHECK(own.size() == 4);  // its capacity
    CHECK(victim.size() == 93);
    CHECK(victim.steal_half(own).item == &items[7]);  // no room at all: still one, to be run at once
    CHECK(own.size() == 4);
    for (const std::size_t number : {3u, 100u, 5u, 6u}) CHECK(own.take() == &items[number]);
    CHECK(victim.steal_half(other).item == &items[8]);
    CHECK(other.size() == 4);
    CHECK(other.take() == &items[9]);
}

TEST_SUITE_END();
