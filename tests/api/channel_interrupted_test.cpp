// Channels whose operations are interrupted: by a time-out, a cancellation, a move that throws. Row 33 and row 34 of
// the semantics. The races are replayed on one worker, where the program alone decides what runs when.
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;
using fiber::channel;
using fiber::channel_status;

namespace {

template <class Body>
void on_one_worker(Body body) {
    runtime_fixture fixture(1);
    fixture.run(body);
}

// One worker whose clock stands still while anything runs.
template <class Body>
void in_virtual_time(Body body) {
    runtime_fixture fixture(fiber::runtime_options{.workers = 1, .virtual_time = true});
    fixture.run(body);
}

std::int64_t now_ms() { return fiber::detail::current_time() / 1'000'000; }

}  // namespace

TEST_SUITE_BEGIN("channel, interrupted");

TEST_CASE("row 34: timed operations end at their time, and not before") {
    in_virtual_time([] {
        channel<int> one(1);
        const auto start = now_ms();
        CHECK_FALSE(one.pop_for(30ms).has_value());
        CHECK(now_ms() - start == 30);
        CHECK(one.push_for(1, 30ms));
        CHECK(now_ms() - start == 30);
        CHECK_FALSE(one.push_for(2, 12ms));
        CHECK(now_ms() - start == 42);
        int item = 3;
        CHECK(one.push_for(item, 8ms) == channel_status::timeout);
        CHECK(item == 3);
        CHECK(now_ms() - start == 50);
        CHECK(one.pop_for(item, 0s) == channel_status::ok);
        CHECK(item == 1);
        CHECK(one.pop_for(item, -1s) == channel_status::timeout);
        CHECK(one.pop_for(item, std::chrono::duration<double>(0.01)) == channel_status::timeout);
        CHECK(now_ms() - start == 60);
        CHECK(one.empty());
    });
}

TEST_CASE("row 34: an item in time, an item too late") {
    in_virtual_time([] {
        channel<tracked> meet;
        auto popper = fiber::spawn([&] {
            CHECK(meet.pop_for(10ms)->value() == 1);
            CHECK_FALSE(meet.pop_for(10ms).has_value());
            CHECK(meet.pop_for(10ms)->value() == 2);
        });
        fiber::sleep_for(9ms);
        CHECK(meet.push(tracked(1)));
        fiber::sleep_for(11ms);
        const auto start = now_ms();
        CHECK(meet.push(tracked(2)));
        CHECK(now_ms() - start <= 1);
        popper.get();
    });
}

TEST_CASE("row 34: until a time point, of any clock") {
    on_each_worker_count([] {
        channel<int> one(1);
        int item = 0;
        CHECK_FALSE(one.pop_until(std::chrono::steady_clock::now() + 2ms).has_value());
        CHECK(one.pop_until(item, std::chrono::system_clock::now() + 2ms) == channel_status::timeout);
        CHECK(one.push_until(1, std::chrono::system_clock::now() - 1h));
        CHECK_FALSE(one.push_until(2, std::chrono::system_clock::now() - 1h));
        CHECK(one.push_until(item, std::chrono::steady_clock::now() + 1ms) == channel_status::timeout);
        CHECK(one.pop_until(std::chrono::steady_clock::time_point::min()) == 1);
    });
}

TEST_CASE("row 33: a cancelled pop takes no item with it") {
    on_each_worker_count([] {
        channel<tracked> meet;
        auto leaves = fiber::spawn([&] { (void)meet.pop(); });
        auto stays = fiber::spawn([&] { return meet.pop()->value(); });
        settle();
        leaves.cancel();
        CHECK_THROWS_AS(leaves.get(), fiber::cancelled);
        CHECK(meet.push(tracked(8)));
        CHECK(stays.get() == 8);
    });
}

TEST_CASE("row 33: a cancelled push takes its item back, and its place") {
    on_each_worker_count([] {
        channel<tracked> one(1);
        CHECK(one.push(tracked(1)));
        auto leaves = fiber::spawn([&] {
            tracked mine(2);
            try {
                one.push(std::move(mine));
                FAIL("pushed");
            } catch (const fiber::cancelled&) {
                CHECK(mine.value() == 2);
                throw;
            }
        });
        auto stays = fiber::spawn([&] { CHECK(one.push(tracked(3))); });
        settle();
        leaves.cancel();
        CHECK_THROWS_AS(leaves.get(), fiber::cancelled);
        CHECK(one.pop()->value() == 1);
        CHECK(one.pop()->value() == 3);
        CHECK_FALSE(one.try_pop().has_value());
        stays.get();
    });
}

TEST_CASE("row 33: the hand-over was faster than the cancellation: it counts, and the cancellation comes later") {
    on_one_worker([] {
        channel<tracked> meet;
        bool popped = false;
        auto popper = fiber::spawn([&] {
            CHECK(meet.pop()->value() == 4);  // no throw
            popped = true;
            fiber::yield();
            FAIL("the cancellation was lost");
        });
        settle();
        CHECK(meet.push(tracked(4)));  // has claimed the popper, which has not run yet
        CHECK(popper.cancel());
        CHECK_THROWS_AS(popper.get(), fiber::cancelled);
        CHECK(popped);

        bool pushed = false;
        auto pusher = fiber::spawn([&] {
            CHECK(meet.push(tracked(5)));
            pushed = true;
            fiber::yield();
            FAIL("the cancellation was lost");
        });
        settle();
        CHECK(meet.pop()->value() == 5);
        CHECK(pusher.cancel());
        CHECK_THROWS_AS(pusher.get(), fiber::cancelled);
        CHECK(pushed);
    });
}

TEST_CASE("row 33: the cancellation was faster than the hand-over: the next one gets the item") {
    on_one_worker([] {
        channel<tracked> meet;
        auto first = fiber::spawn([&] { (void)meet.pop(); });
        settle();
        auto second = fiber::spawn([&] { return meet.pop()->value(); });
        settle();
        CHECK(first.cancel());         // has claimed it, but its entry still stands in the channel
        CHECK(meet.push(tracked(6)));  // passes over it
        CHECK(second.get() == 6);
        CHECK_THROWS_AS(first.get(), fiber::cancelled);
    });
}

TEST_CASE("row 34: a time-out at the moment of a close or a push: one of them wins") {
    in_virtual_time([] {
        for (const bool close : {false, true}) {
            channel<tracked> meet;
            auto popper = fiber::spawn([&] { return meet.pop_for(10ms).has_value(); });
            bool pushed = false;
            auto other = fiber::spawn([&] {
                fiber::sleep_for(10ms);
                close ? meet.close() : static_cast<void>(pushed = meet.try_push(tracked(1)));
            });
            other.get();
            CHECK(popper.get() == pushed);
        }
    });
}

TEST_CASE("a cancellation that is there on entry is thrown before anything happens") {
    on_one_worker([] {
        channel<tracked> one(1);
        auto task = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            tracked mine(1);
            CHECK(one.try_push(tracked(9)));  // no cancellation point
            CHECK(one.try_pop()->value() == 9);
            CHECK_THROWS_AS(one.push(std::move(mine)), fiber::cancelled);
            CHECK(mine.value() == 1);
            CHECK(one.push(std::move(mine)));
            fiber::this_fiber::cancel();
            CHECK_THROWS_AS((void)one.pop(), fiber::cancelled);
            CHECK(one.pop()->value() == 1);
            fiber::this_fiber::uncancel();
            fiber::this_fiber::uncancel();
        });
        task.get();
    });
}

TEST_CASE("a cancellation that is taken back before it was seen leaves the wait as it was") {
    on_one_worker([] {
        channel<int> meet;
        auto popper = fiber::spawn([&] { return *meet.pop(); });
        settle();
        CHECK(popper.cancel());
        CHECK(popper.uncancel() == 0);
        fiber::yield();
        settle();
        CHECK_FALSE(popper.done());
        CHECK(meet.push(3));
        CHECK(popper.get() == 3);
    });
}

namespace {

// Throws when it is moved and the fuse has burnt down.
struct fragile {
    explicit fragile(int value) : value(value) {}
    fragile(fragile&& other) : value(other.value), counted(other.counted.value()) {
        if (fuse >= 0 && fuse-- == 0) throw std::runtime_error("move failed");
    }
    fragile& operator=(fragile&& other) = default;

    static inline thread_local int fuse = -1;  // moves that go well before one throws; negative: all go well
    int value;
    tracked counted{0};
};

}  // namespace

TEST_CASE("a move that throws: in one's own hands nothing has happened, in a partner's the owner repeats it") {
    on_one_worker([] {
        SUBCASE("into and out of the store") {
            channel<fragile> one(1);
            fragile::fuse = 0;
            CHECK_THROWS_AS(one.push(fragile(1)), std::runtime_error);
            CHECK(one.empty());
            CHECK(one.push(fragile(2)));
            fragile::fuse = 0;
            CHECK_THROWS_AS((void)one.try_pop(), std::runtime_error);
            CHECK(one.size() == 1);
            CHECK(one.pop()->value == 2);
        }
        SUBCASE("into the hands of a popper that waits") {
            channel<fragile> meet;
            auto popper = fiber::spawn([&] { return meet.pop()->value; });
            settle();
            fragile::fuse = 0;
            CHECK_THROWS_AS(meet.push(fragile(1)), std::runtime_error);
            CHECK(meet.push(fragile(2)));
            CHECK(popper.get() == 2);
        }
        SUBCASE("out of the hands of a pusher that waits") {
            channel<fragile> meet;
            auto pusher = fiber::spawn([&] { CHECK(meet.push(fragile(1))); });
            settle();
            fragile::fuse = 0;
            CHECK_THROWS_AS((void)meet.pop(), std::runtime_error);
            CHECK(meet.pop()->value == 1);
            pusher.get();
        }
        SUBCASE("from a pusher that waits into the store: the next pusher gets the place, nobody is forgotten") {
            channel<fragile> one(1);
            CHECK(one.push(fragile(1)));
            auto second = fiber::spawn([&] { CHECK(one.push(fragile(2))); });
            settle();
            auto third = fiber::spawn([&] { CHECK(one.push(fragile(3))); });
            settle();
            fragile::fuse = 1;  // the pop itself goes well
            CHECK(one.pop()->value == 1);
            CHECK(one.pop()->value == 3);
            CHECK(one.pop()->value == 2);
            second.get();
            third.get();
        }
        fragile::fuse = -1;
    });
}

TEST_SUITE_END();
