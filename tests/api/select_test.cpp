// select: exactly one case, a fair choice, and nothing lost when several partners, a time-out and a cancellation meet.
// Row 33 and row 34 of the semantics.
#include <memory>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;
using fiber::channel;
using fiber::on_pop;
using fiber::on_push;
using fiber::on_timeout;
using fiber::otherwise;
using fiber::select;

static_assert(std::is_base_of_v<std::runtime_error, fiber::channel_closed>);

namespace {

template <class Body>
void on_one_worker(Body body) {
    runtime_fixture fixture(1);
    fixture.run(body);
}

template <class Body>
void in_virtual_time(Body body) {
    runtime_fixture fixture(fiber::runtime_options{.workers = 1, .virtual_time = true});
    fixture.run(body);
}

// For cases that must not be taken.
constexpr auto wrong = [](auto&&...) { FAIL("the wrong case"); };
constexpr auto nothing = [](auto&&...) {};

}  // namespace

TEST_SUITE_BEGIN("select");

TEST_CASE("the case that is ready is taken, alone, and its index returned") {
    on_each_worker_count([] {
        channel<int> empty(1);
        channel<std::string> full(1);
        full.push("there");
        std::string got;
        CHECK(select(on_pop(empty, wrong), on_pop(full, [&](std::optional<std::string> item) { got = *item; })) == 1);
        CHECK(got == "there");
        CHECK(full.empty());
        full.push("again");
        CHECK(select(on_push(empty, 3, nothing), on_push(full, "no room", wrong)) == 0);
        CHECK(empty.pop() == 3);
        CHECK(full.pop() == "again");
    });
}

TEST_CASE("select waits, and is woken by a push, a pop, a close") {
    on_each_worker_count([] {
        channel<tracked> a;
        channel<tracked> b(1);
        const auto take = [&] {
            int value = 0;
            select(on_pop(a, [&](std::optional<tracked> item) { value = item ? item->value() : -1; }),
                   on_pop(b, [&](std::optional<tracked> item) { value = item ? 10 * item->value() : -10; }));
            return value;
        };
        auto first = fiber::spawn(take);
        settle();
        CHECK(a.push(tracked(1)));
        CHECK(first.get() == 1);
        auto second = fiber::spawn(take);
        settle();
        CHECK(b.push(tracked(2)));
        CHECK(second.get() == 20);
        auto third = fiber::spawn(take);
        settle();
        b.close();
        CHECK(third.get() == -10);

        auto pushes = fiber::spawn([&] { return select(on_push(a, tracked(5), [] {}), on_timeout(1h, wrong)); });
        settle();
        CHECK(a.pop()->value() == 5);
        CHECK(pushes.get() == 0);
    });
}

TEST_CASE("closed channels count as ready") {
    on_one_worker([] {
        channel<int> closed(1);
        closed.push(1);
        closed.close();
        std::vector<int> got;
        const auto note = [&](std::optional<int> item) { got.push_back(item.value_or(-1)); };
        select(on_pop(closed, note), otherwise(wrong));
        select(on_pop(closed, note), otherwise(wrong));
        CHECK(got == std::vector<int>{1, -1});
        bool pushed = true;
        CHECK(select(on_push(closed, 2, [&](bool did) { pushed = did; })) == 0);
        CHECK_FALSE(pushed);
        CHECK_THROWS_AS(select(on_push(closed, 2, [] { FAIL("pushed"); })), fiber::channel_closed);
        channel<int> open(1);
        CHECK(select(on_push(open, 2, [&](bool did) { pushed = did; })) == 0);
        CHECK(pushed);
    });
}

TEST_CASE("closing tells a select that waits to push") {
    on_each_worker_count([] {
        channel<tracked> meet;
        auto told = fiber::spawn([&] {
            tracked mine(4);
            bool pushed = true;
            select(on_push(meet, std::move(mine), [&](bool did) { pushed = did; }), on_timeout(1h, wrong));
            CHECK_FALSE(pushed);
            CHECK(mine.value() == 4);
        });
        auto thrown = fiber::spawn([&] { select(on_push(meet, tracked(5), [] { FAIL("pushed"); })); });
        settle();
        meet.close();
        told.get();
        CHECK_THROWS_AS(thrown.get(), fiber::channel_closed);
    });
}

TEST_CASE("otherwise: at once when nothing is ready") {
    on_one_worker([] {
        channel<int> meet;
        channel<int> full(1);
        full.push(1);
        CHECK(select(on_pop(meet, wrong), on_push(full, 2, wrong), otherwise([] {})) == 2);
        CHECK(select(otherwise([] {}), on_pop(full, nothing)) == 1);
        CHECK(select(on_timeout(0s, wrong), on_pop(meet, wrong), otherwise([] {})) == 2);
        CHECK(select(otherwise([] {})) == 0);
        CHECK(meet.try_push(1) == false);  // the select has left nothing behind
    });
}

TEST_CASE("row 34: on_timeout, the earliest of several") {
    in_virtual_time([] {
        const auto now_ms = [] { return fiber::detail::current_time() / 1'000'000; };
        channel<int> meet;
        const auto start = now_ms();
        CHECK(select(on_timeout(20ms, wrong), on_pop(meet, wrong), on_timeout(7ms, [] {})) == 2);
        CHECK(now_ms() - start == 7);
        CHECK(select(on_timeout(3ms, [] {})) == 0);
        CHECK(now_ms() - start == 10);
        CHECK(select(on_pop(meet, wrong), on_timeout(std::chrono::steady_clock::time_point::min(), [] {})) == 1);
        CHECK(now_ms() - start == 10);
        auto pusher = fiber::spawn([&] {
            fiber::sleep_for(5ms);
            CHECK(meet.push(1));
        });
        CHECK(select(on_pop(meet, nothing), on_timeout(6ms, wrong)) == 0);
        CHECK(now_ms() - start == 15);
        pusher.get();
        CHECK_FALSE(meet.try_push(1));
    });
}

TEST_CASE("bad input: no case, a duration that is not a number") {
    CHECK_THROWS_AS(select(), fiber::usage_error);
    channel<int> open(1);
    const std::chrono::duration<double> not_a_number(std::numeric_limits<double>::quiet_NaN());
    CHECK_THROWS_AS(select(on_pop(open, wrong), on_timeout(not_a_number, wrong)), std::invalid_argument);
}

TEST_CASE("row 33: select is fair among those that are ready") {
    on_one_worker([] {
        constexpr int rounds = 4000;
        channel<int> a(1), b(1), c(1);
        int taken[3] = {};
        for (int i = 0; i < rounds; ++i) {
            a.try_push(1);
            b.try_push(1);
            c.try_push(1);
            ++taken[select(on_pop(a, nothing), on_pop(b, nothing), on_pop(c, nothing))];
        }
        for (const int count : taken) CHECK(count > rounds / 4);  // a third, give or take
    });
}

TEST_CASE("row 33: exactly one: the items of the other cases stay, and those of other channels") {
    on_each_worker_count([] {
        channel<tracked> a(1), b(1);
        for (int i = 0; i < scaled(200); ++i) {
            auto chooser = fiber::spawn([&] { return select(on_pop(a, nothing), on_pop(b, nothing)); });
            if (i % 2) fiber::yield();
            auto push_a = fiber::spawn([&] { CHECK(a.push(tracked(1))); });
            auto push_b = fiber::spawn([&] { CHECK(b.push(tracked(2))); });
            const std::size_t chosen = chooser.get();
            CHECK((chosen == 0 ? b : a).pop()->value() == (chosen == 0 ? 2 : 1));
            push_a.get();
            push_b.get();
            CHECK(a.empty());
            CHECK(b.empty());
        }
    });
}

TEST_CASE("what was not pushed is still the caller's") {
    on_one_worker([] {
        channel<std::unique_ptr<int>> full(1), room(1);
        full.push(nullptr);
        auto mine = std::make_unique<int>(1);
        auto other = std::make_unique<int>(2);
        CHECK(select(on_push(full, std::move(mine), wrong), on_push(room, std::move(other), nothing)) == 1);
        REQUIRE(mine != nullptr);
        CHECK(*mine == 1);
        CHECK(other == nullptr);
        CHECK(**room.pop() == 2);
        channel<std::string> words(1);
        std::string word = "kept";
        select(on_push(words, word, nothing));
        CHECK(word == "kept");
        CHECK(words.pop() == "kept");
    });
}

TEST_CASE("two selects meet, from both sides") {
    on_each_worker_count([] {
        for (int i = 0; i < scaled(300); ++i) {
            channel<tracked> a, b;
            int got = 0;
            auto pops = fiber::spawn([&] {
                const auto note = [&](std::optional<tracked> item) { got = item->value(); };
                return select(on_pop(a, note), on_pop(b, note));
            });
            if (i % 3 == 0) fiber::yield();
            auto pushes =
                fiber::spawn([&] { return select(on_push(b, tracked(2), nothing), on_push(a, tracked(1), nothing)); });
            const std::size_t popped = pops.get();
            CHECK(pushes.get() == 1 - popped);
            CHECK(got == (popped == 0 ? 1 : 2));
        }
    });
}

TEST_CASE("a select never meets itself, but another like it") {
    in_virtual_time([] {
        channel<int> meet;
        CHECK(select(on_push(meet, 1, wrong), on_pop(meet, wrong), on_timeout(5ms, [] {})) == 2);
        CHECK(select(on_push(meet, 1, wrong), on_pop(meet, wrong), otherwise([] {})) == 2);
        const auto both = [&] { return select(on_push(meet, 1, nothing), on_pop(meet, nothing)); };
        auto one = fiber::spawn(both);
        auto two = fiber::spawn(both);
        CHECK(one.get() + two.get() == 1);
    });
}

TEST_CASE("the same channel in several cases") {
    on_one_worker([] {
        channel<int> meet;
        for (int i = 0; i < 20; ++i) {
            int calls = 0;
            const auto count = [&](std::optional<int>) { ++calls; };
            auto chooser = fiber::spawn([&] { return select(on_pop(meet, count), on_pop(meet, count)); });
            settle();
            CHECK(meet.push(1));
            CHECK(chooser.get() < 2);
            CHECK(calls == 1);
        }
    });
}

TEST_CASE("row 33: a cancelled select leaves no trace") {
    on_each_worker_count([] {
        channel<tracked> a, b;
        auto leaves = fiber::spawn([&] {
            tracked mine(3);
            CHECK_THROWS_AS(select(on_pop(a, wrong), on_push(b, std::move(mine), wrong)), fiber::cancelled);
            CHECK(mine.value() == 3);
            fiber::this_fiber::uncancel();
        });
        settle();
        leaves.cancel();
        leaves.get();
        CHECK_FALSE(a.try_push(tracked(1)));
        CHECK_FALSE(b.try_pop().has_value());
    });
}

TEST_CASE("row 33: the partner was faster than the cancellation: the case is taken, the cancellation comes later") {
    on_one_worker([] {
        channel<tracked> a, b;
        bool handled = false;
        auto chooser = fiber::spawn([&] {
            select(on_pop(a, [&](std::optional<tracked> item) { handled = item->value() == 1; }), on_pop(b, wrong));
            fiber::yield();
            FAIL("the cancellation was lost");
        });
        settle();
        CHECK(a.push(tracked(1)));
        CHECK_FALSE(b.try_push(tracked(2)));  // it has been taken
        CHECK(chooser.cancel());
        CHECK_THROWS_AS(chooser.get(), fiber::cancelled);
        CHECK(handled);
    });
}

TEST_CASE("a cancellation on entry is thrown before a ready case; one that is taken back is not") {
    on_one_worker([] {
        channel<int> one(1);
        one.push(1);
        auto early = fiber::spawn([&] {
            fiber::this_fiber::cancel();
            CHECK_THROWS_AS(select(on_pop(one, wrong)), fiber::cancelled);
            fiber::this_fiber::uncancel();
        });
        early.get();
        CHECK(one.pop() == 1);
        auto waits = fiber::spawn([&] { return select(on_pop(one, nothing)); });
        settle();
        waits.cancel();
        CHECK(waits.uncancel() == 0);
        settle();
        CHECK_FALSE(waits.done());
        one.push(2);
        CHECK(waits.get() == 0);
    });
}

TEST_CASE("the handler runs unlocked, on the caller's side, and may throw") {
    on_one_worker([] {
        channel<int> a(1), b(1);
        a.push(1);
        select(on_pop(a,
                      [&](std::optional<int> item) {
                          CHECK(a.push(*item + 1));
                          CHECK(select(on_push(b, 5, nothing), on_pop(b, wrong)) == 0);
                          fiber::yield();
                      }),
               on_pop(b, wrong));
        CHECK(a.pop() == 2);
        CHECK_THROWS_AS(select(on_pop(b, [](std::optional<int>) { throw std::logic_error("mine"); })),
                        std::logic_error);
        CHECK(b.empty());
    });
}

TEST_CASE("many selects over the same channels in all orders: no deadlock, nothing lost") {
    on_each_worker_count([] {
        const int rounds = scaled(150);
        channel<int> a, b(1), c(2);
        std::atomic<long> sent{0};
        std::atomic<long> received{0};
        std::atomic<int> open{6};
        std::vector<fiber::task<void>> all;
        for (int i = 0; i < 6; ++i) {
            all.push_back(fiber::spawn([&, i] {
                for (int r = 1; r <= rounds; ++r) {
                    const auto sum = [&](bool pushed) { sent += pushed ? r : 0; };
                    i % 2 ? select(on_push(a, r, sum), on_push(b, r, sum), on_push(c, r, sum))
                          : select(on_push(c, r, sum), on_push(a, r, sum), on_push(b, r, sum));
                }
                if (--open == 0) {
                    a.close();
                    b.close();
                    c.close();
                }
            }));
            all.push_back(fiber::spawn([&, i] {
                bool over[3] = {};
                const auto add = [&](int which) {
                    return [&, which](std::optional<int> item) { item ? received += *item : over[which] = true; };
                };
                while (!over[0] || !over[1] || !over[2]) {
                    i % 2 ? select(on_pop(b, add(1)), on_pop(a, add(0)), on_pop(c, add(2)))
                          : select(on_pop(c, add(2)), on_pop(b, add(1)), on_pop(a, add(0)));
                }
            }));
        }
        fiber::gather(std::move(all));
        CHECK(sent == 6L * rounds * (rounds + 1) / 2);
        CHECK(received == sent);
    });
}

TEST_CASE("plain threads select, too") {
    for_each_worker_count([](unsigned workers) {
        const int items = scaled(200);
        runtime_fixture fixture(workers);
        channel<tracked> numbers, stop;
        std::atomic<long> sum{0};
        CHECK(select(on_pop(numbers, wrong), on_timeout(1ms, [] {})) == 1);
        std::thread outside([&] {
            for (bool running = true; running;) {
                select(on_pop(numbers, [&](std::optional<tracked> item) { sum += item->value(); }),
                       on_pop(stop, [&](std::optional<tracked>) { running = false; }));
            }
        });
        fixture.run([&] {
            for (int i = 1; i <= items; ++i) CHECK(numbers.push(tracked(i)));
            stop.close();
        });
        outside.join();
        CHECK(sum == items * (items + 1) / 2);
    });
}

TEST_SUITE_END();
