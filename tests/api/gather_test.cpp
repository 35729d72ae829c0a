// gather in all its forms: rows 1 to 4 and 7 of the semantics, and what cancellation does to it (rows 5 and 6).
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <tuple>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

// Parks until it is cancelled, and notes the message when that happens.
struct parked_child {
    std::atomic<int>& started;
    journal<std::string>& seen;
    void operator()() const {
        std::chrono::milliseconds length{};
        try {
            length = ++started * 1ms;
            park_until_cancelled();
        } catch (const fiber::cancelled& error) {
            fiber::sleep_for(length);  // clean-up takes a while, a different one for each child
            seen.add(std::string(error.message()));
            throw;
        }
    }
};

}  // namespace

TEST_CASE("row 1: results stand in argument order, whatever the completion order") {
    on_each_worker_count([] {
        gate first_may_end;
        auto first = fiber::spawn([&] {
            first_may_end.wait();
            return 1;
        });
        auto second = fiber::spawn([&] {
            first_may_end.open();
            return std::string("two");
        });
        const std::tuple<int, std::string> results = fiber::gather(std::move(first), std::move(second));
        CHECK(std::get<0>(results) == 1);
        CHECK(std::get<1>(results) == "two");
    });
}

TEST_CASE("row 1: a range gives a vector in the order of the range") {
    on_each_worker_count([] {
        constexpr int count = 20;
        std::vector<std::unique_ptr<gate>> gates;
        for (int i = 0; i <= count; ++i) gates.push_back(std::make_unique<gate>());
        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < count; ++i) {
            tasks.push_back(fiber::spawn([&, i] {  // the last ends first
                gates[static_cast<std::size_t>(i) + 1]->wait();
                gates[static_cast<std::size_t>(i)]->open();
                return i;
            }));
        }
        gates[count]->open();
        const std::vector<int> results = fiber::gather(std::move(tasks));
        REQUIRE(results.size() == count);
        for (int i = 0; i < count; ++i) CHECK(results[static_cast<std::size_t>(i)] == i);
    });
}

TEST_CASE("row 1: empty gives empty, at once") {
    on_each_worker_count([](runtime_fixture&) {
        static_assert(std::tuple_size_v<decltype(fiber::gather())> == 0);
        std::atomic<bool> ran{false};
        auto other = fiber::spawn([&] { ran = true; });
        (void)fiber::gather();
        std::vector<fiber::task<int>> none;
        CHECK(fiber::gather(none).empty());
        CHECK(fiber::gather(std::vector<fiber::task<int>>{}).empty());
        fiber::gather(std::vector<fiber::task<void>>{});
        CHECK(fiber::gather(fiber::return_exceptions, none).empty());
        other.get();
    });
}

TEST_CASE("row 1: empty does not yield") {
    runtime_fixture fixture(1);
    fixture.run([] {
        bool ran = false;
        auto other = fiber::spawn([&] { ran = true; });
        (void)fiber::gather();
        CHECK(fiber::gather(std::vector<fiber::task<int>>{}).empty());
        CHECK_FALSE(ran);
        other.get();
    });
}

TEST_CASE("row 1: void becomes monostate in a tuple, and a range of void gives void") {
    on_each_worker_count([] {
        auto nothing = fiber::spawn([] {});
        auto number = fiber::spawn([] { return 3; });
        auto results = fiber::gather(std::move(nothing), std::move(number));
        static_assert(std::is_same_v<decltype(results), std::tuple<std::monostate, int>>);
        CHECK(std::get<1>(results) == 3);

        std::atomic<int> ran{0};
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < 5; ++i) tasks.push_back(fiber::spawn([&] { ++ran; }));
        static_assert(std::is_void_v<decltype(fiber::gather(tasks))>);
        fiber::gather(tasks);
        CHECK(ran == 5);
    });
}

TEST_CASE("row 1: callables, tasks and futures mix; move-only results pass through") {
    on_each_worker_count([] {
        fiber::promise<int> promise;
        auto shared_promise = fiber::promise<int>();
        auto future = promise.get_future();
        auto shared = shared_promise.get_future().share();
        auto task = fiber::spawn([&] {
            promise.set_value(2);
            shared_promise.set_value(3);
            return std::make_unique<int>(4);
        });
        const auto named = [] { return std::string("five"); };
        auto [one, two, three, four, five] =
            fiber::gather([] { return 1; }, std::move(future), shared, std::move(task), named);
        CHECK(one == 1);
        CHECK(two == 2);
        CHECK(three == 3);
        CHECK(*four == 4);
        CHECK(five == "five");
    });
}

TEST_CASE("row 1: a range may hold callables or futures") {
    on_each_worker_count([] {
        std::vector<std::function<int()>> callables;
        for (int i = 0; i < 10; ++i) {
            callables.emplace_back([i] {
                fiber::yield();
                return i * i;
            });
        }
        const std::vector<int> squares = fiber::gather(callables);
        REQUIRE(squares.size() == 10);
        CHECK(squares[9] == 81);

        std::vector<fiber::promise<int>> promises(10);
        std::vector<fiber::future<int>> futures;
        for (auto& promise : promises) futures.push_back(promise.get_future());
        auto setter = fiber::spawn([&] {
            for (int i = 9; i >= 0; --i) promises[static_cast<std::size_t>(i)].set_value(i);
        });
        const std::vector<int> values = fiber::gather(std::move(futures));
        REQUIRE(values.size() == 10);
        CHECK(values[0] == 0);
        CHECK(values[9] == 9);
        setter.get();
    });
}

TEST_CASE("row 1: the gathered callables run at the same time") {
    on_each_worker_count([] {
        gate first;
        gate second;
        auto [a, b] = fiber::gather(
            [&] {
                first.open();
                second.wait();
                return 1;
            },
            [&] {
                first.wait();
                second.open();
                return 2;
            });
        CHECK(a + b == 3);
    });
}

TEST_CASE("row 1: many") {
    on_each_worker_count([] {
        const int count = scaled(2000);
        std::vector<fiber::task<tracked>> tasks;
        for (int i = 0; i < count; ++i) {
            tasks.push_back(fiber::spawn([i] {
                if (i % 3 == 0) fiber::yield();
                if (i % 7 == 0) fiber::sleep_for(100us);
                return tracked(i);
            }));
        }
        const auto results = fiber::gather(std::move(tasks));
        long sum = 0;
        for (const auto& result : results) sum += result.value();
        CHECK(sum == static_cast<long>(count) * (count - 1) / 2);
    });
}

TEST_CASE("row 2: the first failure is rethrown at once, and borrowed siblings go on") {
    on_each_worker_count([] {
        gate leave;
        auto slow = fiber::spawn([&] {
            leave.wait();
            return 7;
        });
        auto failing = fiber::spawn([]() -> int {
            fiber::yield();
            throw std::runtime_error("first");
        });
        CHECK_THROWS_WITH_AS((void)fiber::gather(slow, failing), "first", std::runtime_error);
        CHECK_FALSE(slow.done());
        CHECK(slow.cancelling() == 0);
        leave.open();
        CHECK(slow.get() == 7);
    });
}

TEST_CASE("row 2: first means first in time, not in the list") {
    on_each_worker_count([] {
        gate go;
        auto later = fiber::spawn([&] {
            go.wait();
            throw std::runtime_error("later");
        });
        auto earlier = fiber::spawn([&] { throw std::runtime_error("earlier"); });
        CHECK_THROWS_WITH_AS((void)fiber::gather(later, earlier), "earlier", std::runtime_error);
        go.open();
        later.wait();
    });
}

TEST_CASE("row 2: of those that had failed before, gather throws one") {
    on_each_worker_count([] {
        auto a = fiber::spawn([] { throw std::runtime_error("a"); });
        auto b = fiber::spawn([] { throw std::runtime_error("b"); });
        a.wait();
        b.wait();
        CHECK_THROWS_AS((void)fiber::gather(a, b), std::runtime_error);
    });
}

TEST_CASE("row 2: siblings that were moved in are cancelled and joined as the exception leaves") {
    in_virtual_time([] {
        std::atomic<int> started{0};
        journal<std::string> seen;
        const parked_child child{started, seen};
        const auto fail = [&] {
            while (started != 3) fiber::yield();
            throw std::runtime_error("failed");
        };
        CHECK_THROWS_WITH_AS((void)fiber::gather(fiber::spawn(child), fiber::spawn(fail), child, fiber::spawn(child)),
                             "failed", std::runtime_error);
        CHECK(seen.entries().size() == 3);
    });
}

TEST_CASE("row 2: a range that was moved in is cancelled and joined, a borrowed one goes on") {
    in_virtual_time([] {
        std::atomic<int> started{0};
        journal<std::string> seen;
        const parked_child child{started, seen};
        const auto fail = [&] {
            while (started != 4) fiber::yield();
            throw std::runtime_error("failed");
        };
        const auto make = [&] {
            started = 0;
            std::vector<fiber::task<void>> tasks;
            for (int i = 0; i < 4; ++i) tasks.push_back(fiber::spawn(child));
            tasks.push_back(fiber::spawn(fail));
            return tasks;
        };
        CHECK_THROWS_WITH_AS(fiber::gather(make()), "failed", std::runtime_error);
        CHECK(seen.entries().size() == 4);

        auto borrowed = make();
        CHECK_THROWS_WITH_AS(fiber::gather(borrowed), "failed", std::runtime_error);
        CHECK(seen.entries().size() == 4);
        for (int i = 0; i < 4; ++i) CHECK_FALSE(borrowed[static_cast<std::size_t>(i)].done());
    });
}

TEST_CASE("row 3: return_exceptions waits for all; exceptions and cancellations stand in their slots") {
    in_virtual_time([] {
        std::atomic<bool> parked{false};
        auto value = fiber::spawn([] {
            fiber::sleep_for(1ms);
            return 1;
        });
        auto failing = fiber::spawn([]() -> std::string { throw std::runtime_error("two"); });
        auto nothing = fiber::spawn([] {});
        auto stopped = fiber::spawn([&]() -> int {
            parked = true;
            park_until_cancelled();
            return 0;
        });
        auto stopper = fiber::spawn([&] {
            while (!parked) fiber::yield();
            stopped.cancel();
        });
        auto [a, b, c, d] = fiber::gather(fiber::return_exceptions, value, failing, nothing, stopped);
        static_assert(std::is_same_v<decltype(a), fiber::outcome<int>>);
        static_assert(std::is_same_v<decltype(c), fiber::outcome<void>>);
        CHECK(a.has_value());
        CHECK(a.value() == 1);
        CHECK(a.exception() == nullptr);
        CHECK_FALSE(b.has_value());
        CHECK_THROWS_WITH_AS((void)b.value(), "two", std::runtime_error);
        CHECK_THROWS_AS(std::rethrow_exception(b.exception()), std::runtime_error);
        CHECK(c.has_value());
        CHECK_FALSE(d.has_value());
        CHECK_THROWS_AS(std::rethrow_exception(d.exception()), fiber::cancelled);
        stopper.get();
    });
}

TEST_CASE("row 3: return_exceptions over a range gives a vector of outcomes") {
    on_each_worker_count([] {
        std::vector<fiber::task<int>> tasks;
        for (int i = 0; i < 10; ++i) {
            tasks.push_back(fiber::spawn([i] {
                if (i % 2) fiber::yield();
                if (i % 3 == 0) throw std::runtime_error(std::to_string(i));
                return i;
            }));
        }
        const std::vector<fiber::outcome<int>> results = fiber::gather(fiber::return_exceptions, std::move(tasks));
        REQUIRE(results.size() == 10);
        for (int i = 0; i < 10; ++i) {
            const auto& result = results[static_cast<std::size_t>(i)];
            CHECK(result.has_value() == (i % 3 != 0));
            if (result.has_value()) {
                CHECK(result.value() == i);
            } else {
                CHECK_THROWS_WITH_AS((void)result.value(), std::to_string(i).c_str(), std::runtime_error);
            }
        }
        std::vector<fiber::task<void>> voids;
        voids.push_back(fiber::spawn([] {}));
        voids.push_back(fiber::spawn([] { throw 5; }));
        const std::vector<fiber::outcome<void>> outcomes = fiber::gather(fiber::return_exceptions, voids);
        CHECK(outcomes[0].has_value());
        CHECK_FALSE(outcomes[1].has_value());
    });
}

TEST_CASE("row 4: a cancelled child counts as one that threw cancelled; the waiter is not marked") {
    on_each_worker_count([] {
        std::atomic<bool> parked{false};
        auto child = fiber::spawn([&] {
            parked = true;
            park_until_cancelled();
        });
        auto good = fiber::spawn([] { return 1; });
        std::atomic<bool> saw{false};
        auto waiter = fiber::spawn([&] {
            try {
                (void)fiber::gather(child, good);
            } catch (const fiber::cancelled& error) {
                saw = std::string(error.message()) == "child only";
            }
            fiber::yield();
            return 2;
        });
        REQUIRE(yield_until([&] { return parked.load(); }));
        child.cancel("child only");
        CHECK(waiter.get() == 2);
        CHECK(saw);
        CHECK(waiter.cancelling() == 0);
        CHECK_FALSE(waiter.cancelled());
    });
}

TEST_CASE("row 7: a shared_future may stand twice, its result in every slot") {
    on_each_worker_count([] {
        fiber::promise<std::string> promise;
        const auto shared = promise.get_future().share();
        auto setter = fiber::spawn([&] { promise.set_value("same"); });
        auto [a, b] = fiber::gather(shared, shared);
        CHECK(a == "same");
        CHECK(b == "same");
        std::vector<fiber::shared_future<std::string>> range(3, shared);
        CHECK(fiber::gather(range) == std::vector<std::string>(3, "same"));
        setter.get();
    });
}

TEST_CASE("row 7: the same task twice is a logic_error and leaves nothing half-registered") {
    on_each_worker_count([] {
        gate leave;
        auto task = fiber::spawn([&] {
            leave.wait();
            return 3;
        });
        auto other = fiber::spawn([] { return 4; });
        CHECK_THROWS_AS((void)fiber::gather(task, other, task), std::logic_error);
        CHECK_THROWS_AS((void)fiber::gather(fiber::return_exceptions, task, task), std::logic_error);
        CHECK_FALSE(task.done());
        CHECK(task.cancelling() == 0);
        leave.open();
        auto [three, four] = fiber::gather(task, other);
        CHECK(three == 3);
        CHECK(four == 4);
    });
}

TEST_CASE("row 7: a moved-from task among the arguments leaves the others as they were") {
    on_each_worker_count([] {
        gate leave;
        auto good = fiber::spawn([&] {
            leave.wait();
            return 3;
        });
        auto source = fiber::spawn([] { return 1; });
        auto target = std::move(source);
        CHECK_THROWS_AS((void)fiber::gather(good, source), std::future_error);
        CHECK_FALSE(good.done());
        CHECK(good.cancelling() == 0);
        leave.open();
        CHECK(good.get() == 3);
        CHECK(target.get() == 1);
    });
}
