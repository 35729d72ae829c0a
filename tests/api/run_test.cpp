// run and runtime: results, options, the order of things at the end, several runtimes in one process.
#include <memory>
#include <stdexcept>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

TEST_CASE("run returns the value of its callable") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        CHECK(fiber::run({.workers = workers}, [] { return 42; }) == 42);
        CHECK(fiber::run({.workers = workers}, [] { return std::string(100, 'x'); }) == std::string(100, 'x'));
        CHECK(*fiber::run({.workers = workers}, [] { return std::make_unique<int>(7); }) == 7);
        CHECK(fiber::run({.workers = workers}, [] { return tracked(9); }).value() == 9);
    });
}

TEST_CASE("run of a void callable returns void and has run it") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        bool ran = false;
        static_assert(std::is_void_v<decltype(fiber::run([] {}))>);
        fiber::run({.workers = workers}, [&] { ran = true; });
        CHECK(ran);
    });
}

TEST_CASE("run without options works, and a move-only callable may be run") {
    const resource_guard guard;
    CHECK(fiber::run([held = std::make_unique<int>(5)] { return *held; }) == 5);
}

TEST_CASE("run throws the exception of its callable") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        CHECK_THROWS_WITH_AS(fiber::run({.workers = workers}, [] { throw std::runtime_error("main failed"); }),
                             "main failed", std::runtime_error);
        CHECK_THROWS_AS(fiber::run({.workers = workers}, []() -> int { throw 5; }), int);
    });
}

TEST_CASE("run throws cancelled when its callable does") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        CHECK_THROWS_AS(fiber::run({.workers = workers}, [] { throw fiber::cancelled{}; }), fiber::cancelled);
    });
}

TEST_CASE("one worker starts no thread and runs everything on the caller's") {
    runtime_fixture fixture(1);
    const auto before = running_threads();
    const auto caller = std::this_thread::get_id();
    fixture.run([&] {
        CHECK(std::this_thread::get_id() == caller);
        CHECK(threads_since(before) == 0);
        auto child = fiber::spawn([&] {
            fiber::yield();
            CHECK(std::this_thread::get_id() == caller);
        });
        child.get();
        CHECK(threads_since(before) == 0);
    });
}

TEST_CASE("as many workers as were asked for run at the same time") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::atomic<unsigned> arrived{0};
        fixture.run([&] {
            // Each task holds its thread until all of them do.
            const auto hold = [&] {
                ++arrived;
                return spin_until([&] { return arrived == workers; });
            };
            std::vector<fiber::task<bool>> others;
            for (unsigned i = 1; i < workers; ++i) others.push_back(fiber::spawn(hold));
            CHECK(hold());
            for (auto& other : others) CHECK(other.get());
        });
    });
}

TEST_CASE("runtimes may follow one another") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        for (int round = 0; round < scaled(30); ++round) {
            CHECK(fiber::run({.workers = workers}, [&] { return fiber::spawn([&] { return round; }).get(); }) == round);
        }
    });
}

TEST_CASE("several runtimes run at once, each with its own tasks") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        std::vector<std::thread> threads;
        std::atomic<int> sum{0};
        for (int i = 1; i <= 4; ++i) {
            threads.emplace_back([&, i] {
                sum += fiber::run({.workers = workers}, [i] {
                    auto child = fiber::spawn([i] {
                        fiber::sleep_for(1ms);
                        return i;
                    });
                    return child.get();
                });
            });
        }
        for (auto& thread : threads) thread.join();
        CHECK(sum == 10);
    });
}

TEST_CASE("a task of one runtime may wait for a task of another") {
    const resource_guard guard;
    fiber::runtime other({.workers = 1});
    gate stop;
    std::thread host([&] { other.run([&] { stop.wait(); }); });
    const int value = fiber::run({.workers = 1}, [&] {
        auto remote = other.spawn([] {
            fiber::sleep_for(1ms);
            return 11;
        });
        return remote.get();
    });
    stop.open();
    host.join();
    CHECK(value == 11);
}

TEST_CASE("what is spawned or posted before the run is queued, in order") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        journal<int> order;
        std::atomic<int> ran{0};
        auto task = fixture.runtime().spawn([&] {
            order.add(1);
            ++ran;
            return tracked(1);
        });
        fixture.runtime().post([&] {
            order.add(2);
            ++ran;
        });
        fixture.runtime().post([&] {
            order.add(3);
            ++ran;
        });
        CHECK(ran == 0);
        CHECK_FALSE(task.done());
        fixture.run([&] { CHECK(yield_until([&] { return ran == 3; })); });
        CHECK(task.done());
        CHECK(task.get().value() == 1);
        if (workers == 1) CHECK(order.entries() == std::vector{1, 2, 3});
    });
}

TEST_CASE("a runtime that never ran drops what was queued, and its tasks end cancelled") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        std::optional<fiber::runtime> rt(std::in_place, fiber::runtime_options{.workers = workers});
        auto task = rt->spawn([held = tracked(3)] { return held.value(); });
        rt->post([held = tracked(4)] { FAIL("a dropped post ran"); });
        rt.reset();
        CHECK(task.done());
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
    });
}

TEST_CASE("row 25: when run ends, leftover tasks are cancelled and waited for") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .virtual_time = true});
        std::atomic<int> cleaned{0};
        const int value = fixture.run([&] {
            std::atomic<int> started{0};
            for (int i = 0; i < 10; ++i) {
                fiber::spawn([&, held = tracked(i)] {
                    ++started;
                    try {
                        park_until_cancelled();
                    } catch (const fiber::cancelled&) {
                        fiber::sleep_for(1ms);  // clean-up may wait
                        ++cleaned;
                        throw;
                    }
                }).detach();
            }
            REQUIRE(yield_until([&] { return started == 10; }));
            return 3;
        });
        CHECK(value == 3);
        CHECK(cleaned == 10);
    });
}

TEST_CASE("row 25: leftover tasks are cancelled and waited for when the main task throws") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        std::atomic<bool> cleaned{false};
        const auto main = [&] {
            std::atomic<bool> started{false};
            fiber::spawn([&] {
                started = true;
                note_cancellation(cleaned);
            }).detach();
            REQUIRE(yield_until([&] { return started.load(); }));
            throw std::runtime_error("main failed");
        };
        CHECK_THROWS_WITH_AS(fixture.run(main), "main failed", std::runtime_error);
        CHECK(cleaned);
    });
}

TEST_CASE("row 25: leftover tasks that wait in the queue as the main task ends are not lost") {
    on_each_worker_count([] {
        // Run or cancelled: the fixture sees to it that none is left.
        for (int i = 0; i < 100; ++i) fiber::spawn([held = tracked(i)] { fiber::sleep_for(1h); }).detach();
    });
}

TEST_CASE("one runtime may run again; in between it takes nothing") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        for (int round = 0; round < 3; ++round) {
            CHECK(fixture.run([&] {
                fiber::sleep_for(100us);
                return fiber::spawn([&] { return fiber::to_thread([&] { return round; }); }).get();
            }) == round);
            CHECK_THROWS_AS((void)fixture.runtime().spawn([held = tracked(1)] {}), fiber::runtime_stopped);
        }
        CHECK_THROWS_AS(fixture.run([] { throw std::runtime_error("fourth"); }), std::runtime_error);
        CHECK(fixture.run([] { return 5; }) == 5);
    });
}

TEST_CASE("spawn and post on a runtime take arguments and options") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        auto named = fixture.runtime().spawn(
            {.name = "named"}, [](int a, int b) { return a + b; }, 1, 2);
        CHECK(named.name() == "named");
        std::atomic<int> posted{0};
        fixture.runtime().post([&](int value) { posted = value; }, 4);
        const int sum = fixture.run([&] {
            CHECK(yield_until([&] { return posted == 4; }));  // or it would be cancelled, if its turn has not come
            return named.get();
        });
        CHECK(sum == 3);
    });
}

TEST_CASE("with virtual time long sleeps take none, and end in order") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .virtual_time = true});
        const auto begin = std::chrono::steady_clock::now();
        journal<int> order;
        fixture.run([&] {
            std::vector<fiber::task<void>> sleepers;
            for (const int hours : {3, 1, 2}) {
                sleepers.push_back(fiber::spawn([&, hours] {
                    fiber::sleep_for(std::chrono::hours(hours));
                    order.add(hours);
                }));
            }
            CHECK_FALSE(sleepers[0].wait_for(30min));
            fiber::gather(sleepers);
        });
        CHECK(order.entries() == std::vector{1, 2, 3});
        CHECK(std::chrono::steady_clock::now() - begin < 30min);
    });
}
