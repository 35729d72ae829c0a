// Channels: each item exactly once and in order, capacity, closing, from fibers and threads. Row 33 of the semantics.
// Time-outs, cancellations and moves that throw are in channel_interrupted_test.cpp.
#include <memory>
#include <ranges>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;
using fiber::channel;
using fiber::channel_status;

static_assert(std::ranges::input_range<channel<int>>);
static_assert(!std::is_copy_constructible_v<channel<int>> && !std::is_move_constructible_v<channel<int>>);
static_assert(std::is_same_v<decltype(std::declval<channel<int>&>().try_push(std::declval<int&>())), channel_status>);
static_assert(std::is_same_v<decltype(std::declval<channel<int>&>().try_push(1)), bool>);

namespace {

// One worker: what runs when is decided by the program alone.
template <class Body>
void on_one_worker(Body body) {
    runtime_fixture fixture(1);
    fixture.run(body);
}

}  // namespace

TEST_SUITE_BEGIN("channel");

TEST_CASE("row 33: every item arrives once, those of one pusher in order") {
    on_each_worker_count([] {
        for (const std::size_t capacity : {0u, 1u, 3u, 128u}) {
            constexpr int pushers = 3;
            const int items = scaled(400);
            channel<tracked> items_of_all(capacity);
            std::vector<fiber::task<void>> pushing;
            for (int p = 0; p < pushers; ++p) {
                pushing.push_back(fiber::spawn([&, p] {
                    for (int i = 0; i < items; ++i) CHECK(items_of_all.push(tracked(i * pushers + p)));
                }));
            }
            std::vector<std::atomic<int>> seen(static_cast<std::size_t>(items * pushers));
            std::vector<fiber::task<void>> popping;
            for (int c = 0; c < 4; ++c) {
                popping.push_back(fiber::spawn([&] {
                    int last[pushers] = {-1, -1, -1};
                    while (auto item = items_of_all.pop()) {
                        const int value = item->value();
                        ++seen[static_cast<std::size_t>(value)];
                        CHECK(last[value % pushers] < value);
                        last[value % pushers] = value;
                    }
                }));
            }
            fiber::gather(std::move(pushing));
            items_of_all.close();
            fiber::gather(std::move(popping));
            for (const auto& count : seen) CHECK(count == 1);
        }
    });
}

TEST_CASE("capacity: pushes that do not wait, then the first that does") {
    on_one_worker([] {
        channel<int> two(2);
        CHECK(two.capacity() == 2);
        CHECK(two.empty());
        CHECK(two.push(1));
        CHECK(two.try_push(2));
        CHECK(two.size() == 2);
        int third = 3;
        CHECK(two.try_push(third) == channel_status::full);
        CHECK_FALSE(two.try_push(3));
        auto pusher = fiber::spawn([&] { CHECK(two.push(third)); });
        settle();
        CHECK_FALSE(pusher.done());
        CHECK(two.pop() == 1);
        CHECK(two.size() == 2);  // the pusher's item has taken the place, before it ran
        CHECK(pusher.wait_for(1h));
        CHECK(two.pop() == 2);
        CHECK(two.pop() == 3);
        int none = 7;
        CHECK(two.try_pop(none) == channel_status::empty);
        CHECK(none == 7);
        CHECK_FALSE(two.try_pop().has_value());
    });
}

TEST_CASE("rendezvous: a push ends when its item was popped, a try needs who waits") {
    on_one_worker([] {
        channel<int> meet;
        journal<std::string> log;
        CHECK(meet.capacity() == 0);
        CHECK_FALSE(meet.try_push(0));
        CHECK_FALSE(meet.try_pop().has_value());
        auto pusher = fiber::spawn([&] {
            CHECK(meet.push(1));
            log.add("pushed");
        });
        settle();
        CHECK(log.entries().empty());
        CHECK(meet.size() == 0);
        CHECK(meet.try_pop() == 1);
        pusher.get();
        auto popper = fiber::spawn([&] { CHECK(meet.pop() == 2); });
        settle();
        int second = 2;
        CHECK(meet.try_push(second) == channel_status::ok);
        popper.get();
        CHECK(log.entries() == std::vector<std::string>{"pushed"});
    });
}

TEST_CASE("first come, first served, on both sides") {
    on_one_worker([] {
        channel<int> meet;
        journal<int> order;
        std::vector<fiber::task<void>> poppers;
        for (int i = 0; i < 4; ++i) {
            poppers.push_back(fiber::spawn([&, i] { order.add(10 * i + *meet.pop()); }));
            settle();
        }
        for (int i = 0; i < 4; ++i) CHECK(meet.push(i));
        fiber::gather(std::move(poppers));
        CHECK(order.entries() == std::vector<int>{0, 11, 22, 33});

        std::vector<fiber::task<void>> pushers;
        for (int i = 0; i < 4; ++i) {
            pushers.push_back(fiber::spawn([&, i] { CHECK(meet.push(i)); }));
            settle();
        }
        for (int i = 0; i < 4; ++i) CHECK(meet.pop() == i);
        fiber::gather(std::move(pushers));
    });
}

TEST_CASE("move-only items, and whose an item is that was not pushed") {
    on_each_worker_count([] {
        channel<std::unique_ptr<int>> one(1);
        CHECK(one.push(std::make_unique<int>(1)));
        auto mine = std::make_unique<int>(2);
        CHECK(one.try_push(mine) == channel_status::full);
        CHECK_FALSE(one.try_push(std::move(mine)));
        CHECK(one.push_for(mine, 1ms) == channel_status::timeout);
        CHECK_FALSE(one.push_for(std::move(mine), 1ms));
        CHECK_FALSE(one.push_until(std::move(mine), std::chrono::steady_clock::now()));
        one.close();
        CHECK_FALSE(one.push(std::move(mine)));
        CHECK(one.try_push(mine) == channel_status::closed);
        REQUIRE(mine != nullptr);
        CHECK(*mine == 2);
        CHECK(one.pop_for(mine, 1h) == channel_status::ok);
        CHECK(*mine == 1);
        CHECK(one.pop_for(mine, 1h) == channel_status::closed);
        CHECK(*mine == 1);
    });
}

TEST_CASE("a const item is copied once, any other never") {
    on_one_worker([] {
        channel<tracked> three(3);
        const long before = tracked::copies();
        const tracked kept(5);
        CHECK(three.push(kept));
        CHECK(three.try_push(kept));
        CHECK(kept.value() == 5);
        CHECK(tracked::copies() == before + 2);
        tracked given(6);
        CHECK(three.try_push(given));
        CHECK(given.value() == -1);
        CHECK(three.pop()->value() == 5);
        CHECK(three.try_pop()->value() == 5);
        CHECK(three.pop_for(1s)->value() == 6);
        CHECK(three.push(tracked(7)));  // and one is left for the destructor
        CHECK(tracked::copies() == before + 2);
    });
}

TEST_CASE("the status: compared, switched over, and true when it is ok") {
    channel<int> one(1);
    int item = 4;
    if (one.try_push(item)) {
        switch (one.try_push(item)) {
            case channel_status::full:
                break;
            default:
                FAIL("not full");
        }
    } else {
        FAIL("not ok");
    }
    CHECK_FALSE(static_cast<bool>(one.try_push(item)));
    const channel_status got = one.try_pop(item);
    CHECK(got == channel_status::ok);
    CHECK(got != channel_status::closed);
}

TEST_CASE("row 33: close: pops drain, pushes fail at once, those who wait are told") {
    on_each_worker_count([] {
        channel<tracked> one(1);
        CHECK(one.push(tracked(1)));
        std::vector<fiber::task<void>> pushers;
        for (int i = 0; i < 3; ++i) {
            pushers.push_back(fiber::spawn([&] {
                tracked mine(2);
                CHECK(one.push_for(mine, 1h) == channel_status::closed);
                CHECK(mine.value() == 2);
            }));
        }
        settle();
        CHECK_FALSE(one.closed());
        one.close();
        CHECK(one.closed());
        fiber::gather(std::move(pushers));
        CHECK_FALSE(one.push(tracked(3)));
        CHECK_FALSE(one.try_push(tracked(3)));
        CHECK(one.pop()->value() == 1);
        CHECK_FALSE(one.pop().has_value());
        tracked untouched(9);
        CHECK(one.try_pop(untouched) == channel_status::closed);
        CHECK(untouched.value() == 9);
    });
    SUBCASE("poppers") {
        on_one_worker([] {
            channel<int> meet;
            std::vector<fiber::task<void>> poppers;
            for (int i = 0; i < 3; ++i) {
                poppers.push_back(fiber::spawn([&] { CHECK_FALSE(meet.pop().has_value()); }));
            }
            settle();
            meet.close();
            fiber::gather(std::move(poppers));
        });
    }
}

TEST_CASE("bad input: closing twice, absurd capacities, durations that are not numbers") {
    channel<int> twice(1);
    twice.close();
    CHECK_THROWS_AS(twice.close(), fiber::usage_error);
    CHECK_THROWS_AS(channel<char>((std::size_t{1} << 31) + 1), fiber::invalid_option);
    CHECK_THROWS_AS(channel<int>(static_cast<std::size_t>(-1)), fiber::invalid_option);
    channel<int> open(1);
    const std::chrono::duration<double> not_a_number(std::numeric_limits<double>::quiet_NaN());
    CHECK_THROWS_AS((void)open.pop_for(not_a_number), std::invalid_argument);
    CHECK_THROWS_AS((void)open.push_for(1, not_a_number), std::invalid_argument);
    CHECK(open.empty());
}

TEST_CASE("range-for pops until the channel is closed and drained") {
    on_each_worker_count([] {
        channel<std::unique_ptr<int>> items(2);
        auto pusher = fiber::spawn([&] {
            for (int i = 1; i <= 20; ++i) CHECK(items.push(std::make_unique<int>(i)));
            items.close();
        });
        int sum = 0;
        for (auto& item : items) {
            sum += *item;
            if (*item == 5) break;
        }
        CHECK(sum == 15);
        for (std::unique_ptr<int> taken; auto& item : items) {
            taken = std::move(item);
            sum += *taken;
        }
        CHECK(sum == 210);
        pusher.get();
        for (auto& item : items) CHECK(item == nullptr);  // closed: no step at all
    });
}

TEST_CASE("plain threads and fibers, in any mixture") {
    for_each_worker_count([](unsigned workers) {
        const int items = scaled(300);
        runtime_fixture fixture(workers);
        channel<tracked> there(2), back(0);
        std::thread doubles([&] {
            for (auto& item : there) CHECK(back.push(tracked(2 * item.value())));
            back.close();
        });
        fixture.run([&] {
            auto pusher = fiber::spawn([&] {
                for (int i = 0; i < items; ++i) CHECK(there.push(tracked(i)));
                there.close();
            });
            int expected = 0;
            for (auto& item : back) CHECK(item.value() == 2 * expected++);
            CHECK(expected == items);
            pusher.get();
        });
        doubles.join();
    });
}

TEST_CASE("plain threads alone: waits, time-outs, close") {
    const resource_guard guard;
    channel<tracked> meet;
    CHECK_FALSE(meet.pop_for(1ms).has_value());
    CHECK_FALSE(meet.push_for(tracked(0), 1ms));
    std::thread popper([&] {
        CHECK(meet.pop()->value() == 1);
        CHECK_FALSE(meet.pop().has_value());
    });
    CHECK(meet.push(tracked(1)));
    meet.close();
    popper.join();
}

TEST_CASE("who was woken last may destroy the channel") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(200); ++i) {
            auto meet = std::make_unique<channel<int>>();
            channel<int>& shared = *meet;
            auto popper = fiber::spawn([mine = std::move(meet)]() mutable {
                CHECK(mine->pop() == 2);
                mine.reset();
            });
            CHECK(shared.push(2));
            popper.get();
        }
    });
}

TEST_SUITE_END();
