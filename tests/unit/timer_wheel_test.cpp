// The timer wheel against its contract and against std::multimap, told the time by the test.
#include "scheduler/time/timer_wheel.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <doctest/doctest.h>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "tests/support/seed.hpp"

namespace {

using fiber::engine::nanos;
using fiber::engine::never;
using fiber::engine::timer_node;
using fiber::engine::timer_wheel;

constexpr nanos us = 1'000;
constexpr nanos ms = 1'000 * us;
constexpr nanos second = 1'000 * ms;
constexpr nanos hour = 3'600 * second;
constexpr nanos day = 24 * hour;
constexpr nanos tick = timer_wheel::tick_length;
constexpr nanos beginning = std::numeric_limits<nanos>::min();

struct numbered : timer_node {
    int id = 0;
};

using order = std::vector<int>;

// A wheel and nodes 0 … 63, which are cancelled at the end.
struct bench {
    explicit bench(nanos now) : wheel(now) {
        for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].id = static_cast<int>(i);
    }
    ~bench() {
        for (numbered& node : nodes) wheel.cancel(node);
    }

    order expire(nanos now) {
        order seen;
        wheel.expire(now, [&](timer_node& node) { seen.push_back(static_cast<numbered&>(node).id); });
        return seen;
    }

    std::array<numbered, 64> nodes;
    timer_wheel wheel;
};

// The end of the tick that covers the deadline.
constexpr nanos rounded_up(nanos deadline) {
    const nanos over = ((deadline % tick) + tick) % tick;
    return over == 0 ? deadline : deadline > never - 1 - (tick - over) ? never - 1 : deadline + (tick - over);
}

}  // namespace

TEST_CASE("timer_wheel: an empty wheel never expires") {
    bench b(5 * second);
    CHECK(b.wheel.empty());
    CHECK(b.wheel.size() == 0);
    CHECK(b.wheel.next_expiry() == never);
    CHECK(b.expire(6 * second).empty());
    CHECK(b.wheel.next_expiry() == never);
}

TEST_CASE("timer_wheel: a node expires exactly from its deadline on, whatever the distance") {
    for (const nanos start : {nanos{0}, nanos{1}, tick - 1, tick, 5 * day + 4711, -day}) {
        for (const nanos distance :
             {nanos{1}, nanos{2}, tick - 1, tick, tick + 1, 63 * tick, 64 * tick, 65 * tick, ms, 8'127 * tick,
              8'128 * tick, 8'191 * tick, 8'192 * tick, 8'193 * tick, second, hour, day, 400 * day, 100 * 365 * day}) {
            CAPTURE(start);
            CAPTURE(distance);
            bench b(start);
            const nanos deadline = start + distance;
            b.wheel.arm(b.nodes[7], deadline);
            CHECK(b.nodes[7].armed());
            CHECK(b.nodes[7].deadline() == deadline);
            CHECK(b.expire(start).empty());
            CHECK(b.expire(deadline - 1).empty());
            CHECK(b.wheel.size() == 1);
            CHECK(b.expire(deadline) == order{7});
            CHECK_FALSE(b.nodes[7].armed());
            CHECK(b.wheel.empty());
        }
    }
}

TEST_CASE("timer_wheel: polling at next_expiry() expires each node at the end of its tick") {
    for (const nanos distance : {nanos{1}, tick, tick + 1, ms, second, hour, 30 * day}) {
        CAPTURE(distance);
        bench b(123'456'789);
        const nanos deadline = 123'456'789 + distance;
        // Ten nodes: too many for next_expiry() to name the deadline from an upper level.
        for (int i = 0; i < 10; ++i) b.wheel.arm(b.nodes[i], deadline);
        int looks = 0;
        order seen;
        while (seen.empty()) {
            const nanos next = b.wheel.next_expiry();
            REQUIRE(next <= rounded_up(deadline));
            seen = b.expire(next);
            REQUIRE(++looks <= 9);
            if (!seen.empty()) CHECK(next == rounded_up(deadline));
        }
        CHECK(seen == order{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    }
}

TEST_CASE("timer_wheel: a few long timers are named at once, without stops on the way") {
    bench b(0);
    b.wheel.arm(b.nodes[0], 10 * hour + 5);
    b.wheel.arm(b.nodes[1], 10 * hour + 3 * ms);
    CHECK(b.wheel.next_expiry() == rounded_up(10 * hour + 5));
}

TEST_CASE("timer_wheel: next_expiry() forgets what was cancelled") {
    bench b(0);
    b.wheel.arm(b.nodes[0], 2 * ms);
    b.wheel.arm(b.nodes[1], second);
    CHECK(b.wheel.next_expiry() == rounded_up(2 * ms));
    b.wheel.cancel(b.nodes[0]);
    CHECK(b.wheel.next_expiry() == rounded_up(second));
    b.wheel.cancel(b.nodes[1]);
    CHECK(b.wheel.next_expiry() == never);
}

TEST_CASE("timer_wheel: deadlines in the past expire at the next expire(), in order of deadline") {
    bench b(day);
    b.wheel.arm(b.nodes[0], day);
    b.wheel.arm(b.nodes[1], hour);
    b.wheel.arm(b.nodes[2], beginning);
    b.wheel.arm(b.nodes[3], -5);
    b.wheel.arm(b.nodes[4], hour);
    b.wheel.arm(b.nodes[5], day + 1);
    CHECK(b.wheel.next_expiry() <= day);
    CHECK(b.expire(day) == order{2, 3, 1, 4, 0});
    CHECK(b.expire(day + 1) == order{5});
}

TEST_CASE("timer_wheel: the whole range of the clock fits") {
    bench b(beginning);
    b.wheel.arm(b.nodes[0], never - 1);
    b.wheel.arm(b.nodes[1], 0);
    b.wheel.arm(b.nodes[2], beginning);
    b.wheel.arm(b.nodes[3], beginning + 1);
    b.wheel.arm(b.nodes[4], never);
    b.wheel.arm(b.nodes[5], -1);
    CHECK(b.expire(beginning) == order{2});
    CHECK(b.expire(-1) == order{3, 5});
    CHECK(b.wheel.next_expiry() <= rounded_up(0));
    CHECK(b.expire(0) == order{1});
    CHECK(b.wheel.next_expiry() == never - 1);
    CHECK(b.expire(never - 2).empty());
    CHECK(b.wheel.next_expiry() == never - 1);
    CHECK(b.expire(never - 1) == order{0});
    CHECK(b.wheel.next_expiry() == never);
}

TEST_CASE("timer_wheel: the deadline `never` is armed, cancelled and counted, but does not expire") {
    bench b(0);
    b.wheel.arm(b.nodes[0], never);
    b.wheel.arm(b.nodes[1], never);
    CHECK(b.nodes[0].armed());
    CHECK(b.wheel.size() == 2);
    CHECK(b.wheel.next_expiry() == never);
    CHECK(b.expire(100 * 365 * day).empty());
    CHECK(b.expire(never).empty());
    b.wheel.arm(b.nodes[2], never);
    CHECK(b.expire(never).empty());
    CHECK(b.wheel.cancel(b.nodes[0]));
    CHECK_FALSE(b.wheel.cancel(b.nodes[0]));
    CHECK(b.wheel.size() == 2);
}

TEST_CASE("timer_wheel: time that stands still or goes back is ignored") {
    bench b(second);
    b.wheel.arm(b.nodes[0], second + 100 * ms);
    b.wheel.arm(b.nodes[1], second + 50 * ms);
    CHECK(b.expire(second + 60 * ms) == order{1});
    CHECK(b.expire(second + 60 * ms).empty());
    CHECK(b.expire(0).empty());
    // Told a little more, within the tick and with nothing due: this, too, is the wheel's time from then on.
    CHECK(b.expire(second + 60 * ms + 10).empty());
    b.wheel.arm(b.nodes[3], second + 60 * ms + 5);
    CHECK(b.expire(second + 60 * ms) == order{3});
    // In the past of the wheel's time, though not of the time that expire() is told.
    b.wheel.arm(b.nodes[2], second + 55 * ms);
    CHECK(b.expire(second) == order{2});
    CHECK(b.expire(second + 100 * ms - 1).empty());
    CHECK(b.expire(second + 100 * ms) == order{0});
}

TEST_CASE("timer_wheel: within one tick, too, nodes expire by deadline, and not before it") {
    bench b(10 * tick);
    b.wheel.arm(b.nodes[0], 10 * tick + 300);
    b.wheel.arm(b.nodes[1], 10 * tick + 100);
    b.wheel.arm(b.nodes[2], 10 * tick + 200);
    b.wheel.arm(b.nodes[3], 10 * tick + 100);
    CHECK(b.expire(10 * tick + 99).empty());
    CHECK(b.expire(10 * tick + 100) == order{1, 3});
    b.wheel.arm(b.nodes[4], 10 * tick + 250);
    CHECK(b.expire(10 * tick + 1000) == order{2, 4, 0});
}

TEST_CASE("timer_wheel: equal deadlines expire in order of arming, from whatever level they came") {
    bench b(0);
    const nanos deadline = 2 * hour + 12'345;
    b.wheel.arm(b.nodes[0], deadline);
    CHECK(b.expire(hour).empty());
    b.wheel.arm(b.nodes[1], deadline);
    CHECK(b.expire(deadline - second).empty());
    b.wheel.arm(b.nodes[2], deadline);
    CHECK(b.expire(deadline - 3 * tick).empty());
    b.wheel.arm(b.nodes[3], deadline);
    CHECK(b.expire(deadline - 1).empty());
    b.wheel.arm(b.nodes[4], deadline);
    CHECK(b.expire(deadline) == order{0, 1, 2, 3, 4});
}

TEST_CASE("timer_wheel: what comes near together expires tick by tick, also when time goes on in leaps") {
    // One node in every third tick, from within the near ring to far beyond it.
    constexpr int count = 20'000;
    for (const nanos step : {tick, 64 * tick - 1, 1'000 * tick, 8'192 * tick, 8'193 * tick, 30'000 * tick}) {
        CAPTURE(step);
        std::vector<timer_node> nodes(count);
        timer_wheel wheel(7 * tick);
        for (int i = 0; i < count; ++i) {
            const int mixed = i * 7'919 % count;
            wheel.arm(nodes[static_cast<std::size_t>(mixed)], 7 * tick + (3 * mixed + 1) * tick);
        }
        nanos latest = 0;
        for (nanos now = 7 * tick; !wheel.empty(); now += step) {
            REQUIRE(wheel.next_expiry() > now - step);
            wheel.expire(now, [&](timer_node& node) {
                REQUIRE(node.deadline() > latest);
                REQUIRE(node.deadline() <= now);
                REQUIRE(node.deadline() > now - step);
                latest = node.deadline();
            });
        }
    }
}

TEST_CASE("timer_wheel: a jump over everything still delivers by deadline") {
    bench b(0);
    const std::array<nanos, 8> deadlines{day, ms, hour, ms, 5, second, day - 1, 3};
    for (std::size_t i = 0; i < deadlines.size(); ++i) b.wheel.arm(b.nodes[i], deadlines[i]);
    CHECK(b.expire(2 * day) == order{7, 4, 1, 3, 5, 2, 6, 0});
}

TEST_CASE("timer_wheel: cancel takes a node out of the first, the middle and the last place of a slot") {
    bench b(0);
    for (int i = 0; i < 5; ++i) b.wheel.arm(b.nodes[i], second);
    CHECK(b.wheel.cancel(b.nodes[0]));
    CHECK(b.wheel.cancel(b.nodes[2]));
    CHECK(b.wheel.cancel(b.nodes[4]));
    CHECK_FALSE(b.wheel.cancel(b.nodes[4]));
    CHECK(b.wheel.size() == 2);
    b.wheel.arm(b.nodes[2], second);
    CHECK(b.expire(second) == order{1, 3, 2});
    CHECK_FALSE(b.wheel.cancel(b.nodes[1]));
}

TEST_CASE("timer_wheel: within one tick, nodes are cancelled in any order, between others that are armed") {
    std::mt19937_64 random(fiber_test::seed());
    for (int round = 0; round < 2'000; ++round) {
        CAPTURE(round);
        bench b(0);
        order armed;  // in order of arming
        for (int step = 0; step < 60; ++step) {
            const auto choice = static_cast<std::size_t>(random() % 3);
            if (choice == 0 && !armed.empty()) {
                const auto victim = armed.begin() + static_cast<std::ptrdiff_t>(random() % armed.size());
                REQUIRE(b.wheel.cancel(b.nodes[static_cast<std::size_t>(*victim)]));
                armed.erase(victim);
            } else {
                b.wheel.arm(b.nodes[static_cast<std::size_t>(step)], ms);
                armed.push_back(step);
            }
            REQUIRE(b.wheel.size() == armed.size());
            REQUIRE(b.wheel.next_expiry() == (armed.empty() ? never : rounded_up(ms)));
        }
        REQUIRE(b.expire(ms) == armed);
    }
}

TEST_CASE("timer_wheel: `each` may cancel what is due as well, and arm again, the same node included") {
    bench b(0);
    for (int i = 0; i < 4; ++i) b.wheel.arm(b.nodes[i], ms + i);
    order seen;
    const auto each = [&](timer_node& node) {
        const int id = static_cast<numbered&>(node).id;
        CHECK_FALSE(node.armed());
        seen.push_back(id);
        if (id == 0) {
            CHECK(b.wheel.cancel(b.nodes[1]));  // due, not yet delivered
            CHECK(b.wheel.cancel(b.nodes[2]));
            b.wheel.arm(b.nodes[2], 0);  // for the next expire(), although it was due in this one
            b.wheel.arm(node, 0);        // likewise: no endless loop
        }
    };
    CHECK(b.wheel.expire(2 * ms, each) == 2);
    CHECK(seen == order{0, 3});
    CHECK(b.wheel.size() == 2);
    seen.clear();
    b.wheel.cancel(b.nodes[0]);
    CHECK(b.wheel.expire(2 * ms, each) == 1);
    CHECK(seen == order{2});
}

TEST_CASE("timer_wheel: what an exception of `each` left undelivered comes with the next expire()") {
    bench b(0);
    for (int i = 0; i < 3; ++i) b.wheel.arm(b.nodes[i], ms + i);
    CHECK_THROWS_AS(b.wheel.expire(second, [](timer_node&) { throw std::runtime_error("each"); }), std::runtime_error);
    CHECK(b.wheel.size() == 2);
    CHECK(b.wheel.next_expiry() <= second);
    CHECK(b.expire(second) == order{1, 2});
}

TEST_CASE("timer_wheel: many deadlines within one tick are sorted, stably") {
    std::mt19937_64 random(20);
    std::vector<numbered> nodes(5'000);
    std::vector<std::pair<nanos, int>> expected;
    timer_wheel wheel(0);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        nodes[i].id = static_cast<int>(i);
        const nanos deadline = 70 * tick + 1 + static_cast<nanos>(random() % 500);
        expected.emplace_back(deadline, nodes[i].id);
        wheel.arm(nodes[i], deadline);
    }
    std::sort(expected.begin(), expected.end());
    std::vector<std::pair<nanos, int>> seen;
    const auto each = [&](timer_node& node) { seen.emplace_back(node.deadline(), static_cast<numbered&>(node).id); };
    for (nanos now = 70 * tick; wheel.size() > 0; now += 100) wheel.expire(now, each);
    CHECK(seen == expected);
}

namespace {

// Random arming, cancelling and waiting, each step compared with a multimap: whose order within equal keys is the order
// of insertion, which is the wheel's contract.
class comparison {
 public:
    explicit comparison(std::uint64_t seed, nanos start) : random_(seed), now_(start), wheel_(start), nodes_(400) {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            nodes_[i].id = static_cast<int>(i);
            places_.push_back(model_.end());
        }
    }
    ~comparison() {
        for (numbered& node : nodes_) wheel_.cancel(node);
    }

    void step() {
        const auto choice = random_() % 8;
        const std::size_t i = random_() % nodes_.size();
        if (choice < 5) {
            toggle(i, choice < 4);
        } else {
            expire(choice == 5 ? wheel_.next_expiry() : now_ + distance() / 2 - (random_() % 16 == 0 ? 40 * us : 0));
        }
        REQUIRE(wheel_.size() == model_.size());
        REQUIRE(wheel_.empty() == model_.empty());
        check_next();
    }

 private:
    // Anything from a nanosecond to weeks, each magnitude equally often.
    nanos distance() {
        const auto bits = random_() % 51;
        return static_cast<nanos>(random_() & ((std::uint64_t{1} << bits) - 1));
    }

    nanos deadline() {
        const auto choice = random_() % 32;
        if (choice == 0) return never;
        if (choice == 1) return beginning + distance();
        if (choice < 5) return now_ - distance();
        if (choice < 10 && !model_.empty()) return std::next(model_.begin(), random_() % model_.size())->first;
        return now_ + distance();
    }

    void toggle(std::size_t i, bool arm_if_idle) {
        const bool armed = places_[i] != model_.end();
        REQUIRE(nodes_[i].armed() == armed);
        if (!armed && arm_if_idle) {
            const nanos when = deadline();
            wheel_.arm(nodes_[i], when);
            places_[i] = model_.emplace(when, static_cast<int>(i));
        } else {
            REQUIRE(wheel_.cancel(nodes_[i]) == armed);
            if (armed) forget(i);
        }
    }

    void forget(std::size_t i) {
        model_.erase(places_[i]);
        places_[i] = model_.end();
    }

    void expire(nanos now) {
        if (now > day * 365 * 200) now = now_;  // next_expiry() may be `never`
        now_ = std::max(now, now_);
        const std::size_t before = wheel_.size();
        const std::size_t delivered = wheel_.expire(now, [&](timer_node& node) {
            const int id = static_cast<numbered&>(node).id;
            REQUIRE(!model_.empty());
            REQUIRE(model_.begin()->first <= now_);
            REQUIRE(model_.begin()->second == id);
            REQUIRE(node.deadline() == model_.begin()->first);
            forget(static_cast<std::size_t>(id));
        });
        REQUIRE(wheel_.size() + delivered == before);
        REQUIRE((model_.empty() || model_.begin()->first > now_ || model_.begin()->first == never));
        REQUIRE(wheel_.next_expiry() > now_);
    }

    void check_next() {
        const nanos next = wheel_.next_expiry();
        const nanos earliest = model_.empty() ? never : model_.begin()->first;
        if (earliest == never) {
            // Cancelling may leave a look at the current tick behind, which finds nothing.
            REQUIRE(next >= now_);
        } else {
            REQUIRE(next <= std::max(now_, rounded_up(earliest)));
        }
    }

    std::mt19937_64 random_;
    nanos now_;
    timer_wheel wheel_;
    std::vector<numbered> nodes_;
    std::multimap<nanos, int> model_;
    std::vector<std::multimap<nanos, int>::iterator> places_;
};

}  // namespace

TEST_CASE("timer_wheel: behaves as std::multimap does, seeded") {
    for (std::uint64_t i = 1; i <= 40; ++i) {
        CAPTURE(i);
        comparison c(fiber_test::seed() + i, i % 3 == 0 ? -day : static_cast<nanos>(i) * 977 * second);
        for (int step = 0; step < 5'000; ++step) c.step();
    }
}
