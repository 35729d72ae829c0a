// context_var: values that follow the flow of control.
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

namespace {

fiber::context_var<int> number{7};
fiber::context_var<std::string> text;

}  // namespace

TEST_CASE("a context variable has its default until it is set; without one get() throws") {
    on_each_worker_count([] {
        CHECK(number.get() == 7);
        CHECK(number.get_or(3) == 3);
        CHECK_THROWS_AS((void)text.get(), fiber::usage_error);
        CHECK(text.get_or("none") == "none");
        (void)text.set("some");
        CHECK(text.get() == "some");
        CHECK(text.get_or("none") == "some");
    });
}

TEST_CASE("children inherit a snapshot: what either sets later the other does not see") {
    on_each_worker_count([] {
        (void)number.set(1);
        fiber::event set_again;
        auto child = fiber::spawn([&] {
            CHECK(number.get() == 1);
            set_again.wait();
            CHECK(number.get() == 1);
            (void)number.set(3);
            return fiber::spawn([] { return number.get(); }).get();  // and so on, downwards
        });
        settle();
        (void)number.set(2);
        set_again.set();
        CHECK(child.get() == 3);
        CHECK(number.get() == 2);
    });
}

TEST_CASE("the snapshot is that of the spawn, also for a child that starts later") {
    runtime_fixture fixture(1);
    fixture.run([] {
        (void)number.set(1);
        auto child = fiber::spawn([] { return number.get(); });
        (void)number.set(2);
        CHECK(child.get() == 1);
    });
}

TEST_CASE("every way to start work takes the context along") {
    on_each_worker_count([] {
        (void)number.set(5);
        const auto look = [] { return number.get(); };
        CHECK(fiber::spawn({.name = "named"}, look).get() == 5);
        CHECK(std::get<0>(fiber::gather(look)) == 5);
        CHECK(fiber::with_task_group([&](fiber::task_group& group) { return group.spawn(look).get(); }) == 5);
        CHECK(fiber::with_timeout(1h, look) == 5);
        CHECK(fiber::to_thread(look) == 5);
        CHECK(fiber::run_in_executor(look).get() == 5);
        fiber::thread_pool pool(1);
        CHECK(fiber::run_in_executor(pool, look).get() == 5);
        std::atomic<int> seen{0};
        fiber::call_later(1ms, [&] { seen = number.get(); });
        (void)number.set(6);
        CHECK(yield_until([&] { return seen == 5; }));  // as it was when the call was asked for
    });
}

TEST_CASE("what a call on a thread sets stays with that call") {
    on_each_worker_count([] {
        (void)number.set(1);
        fiber::thread_pool pool(1);  // the same thread for both
        CHECK(fiber::run_in_executor(pool, [] {
                  (void)number.set(2);
                  return number.get();
              }).get() == 2);
        CHECK(fiber::run_in_executor(pool, [] { return number.get(); }).get() == 1);
        CHECK(number.get() == 1);
    });
}

TEST_CASE("reset takes back what its set() did, in any order, once") {
    on_each_worker_count([] {
        auto first = number.set(1);
        auto second = number.set(2);
        number.reset(second);
        CHECK(number.get() == 1);
        CHECK_THROWS_AS(number.reset(second), fiber::usage_error);
        CHECK(number.get() == 1);
        number.reset(std::move(first));
        CHECK(number.get() == 7);  // the default again
        {
            auto token = text.set("once");
            text.reset(token);
            CHECK_THROWS_AS((void)text.get(), fiber::usage_error);
        }
        auto old = number.set(10);
        (void)number.set(11);
        number.reset(old);  // not the last: what was before that set
        CHECK(number.get() == 7);
    });
}

TEST_CASE("a token of another variable or another task is refused") {
    on_each_worker_count([] {
        fiber::context_var<int> other{0};
        auto token = number.set(1);
        CHECK_THROWS_AS(other.reset(token), fiber::usage_error);
        auto child = fiber::spawn([&] { number.reset(token); });
        CHECK_THROWS_AS(child.get(), fiber::usage_error);
        CHECK_THROWS_AS(fiber::to_thread([&] { number.reset(token); }), fiber::usage_error);
        auto moved = std::move(token);
        CHECK_THROWS_AS(number.reset(token), fiber::usage_error);
        CHECK(number.get() == 1);
        number.reset(moved);
        CHECK(number.get() == 7);
    });
}

TEST_CASE("a value stays where a reference to it is: until the caller sets the variable, or while its token is kept") {
    on_each_worker_count([] {
        fiber::context_var<tracked> variable;
        {
            (void)variable.set(tracked(1));
            const tracked& first = variable.get();
            auto child = fiber::spawn([&variable] {
                (void)variable.set(tracked(2));
                fiber::yield();
                return variable.get().value();
            });
            CHECK(child.get() == 2);
            CHECK(first.value() == 1);
            auto token = variable.set(tracked(3));
            CHECK(first.value() == 1);  // kept by the token
            variable.reset(token);
            CHECK(&variable.get() == &first);
        }
        auto last = variable.set(tracked(4));
        CHECK(variable.get().value() == 4);
    });
    CHECK(tracked::live() == 0);
}

TEST_CASE("a context follows its task through migrations and exceptions") {
    on_each_worker_count([] {
        std::vector<fiber::task<bool>> tasks;
        for (int i = 0; i < 20; ++i) {
            tasks.push_back(fiber::spawn([i] {
                (void)number.set(i);
                for (int turn = 0; turn < 20; ++turn) {
                    fiber::yield();
                    if (number.get() != i) return false;
                    const auto token = std::make_unique<decltype(number.set(0))>(number.set(-1));
                    try {
                        fiber::yield();
                        throw std::runtime_error("on the way");
                    } catch (const std::runtime_error&) {
                        number.reset(*token);
                    }
                }
                return number.get() == i;
            }));
        }
        for (auto& each : tasks) CHECK(each.get());
    });
}

TEST_CASE("a plain thread has values of its own, from which the tasks start that it hands to a runtime") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::thread outside([&] {
            const auto token = number.set(30);
            CHECK(number.get() == 30);
            auto task = fixture.runtime().spawn([] { return number.get(); });
            CHECK(fixture.run([&] { return std::pair(number.get(), task.get()); }) == std::pair(30, 30));
            CHECK(number.get() == 30);
        });
        outside.join();
        CHECK(number.get() == 7);
    });
}
