// sleep_for, sleep_until and yield: row 27 of the semantics.
#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;
using steady = std::chrono::steady_clock;

namespace {

// Two fibers on one worker note their turns, and give way by the given call after each.
template <class GiveWay>
std::vector<char> turns(GiveWay give_way) {
    journal<char> log;
    const auto player = [&](char name) {
        for (int i = 0; i < 5; ++i) {
            log.add(name);
            give_way();
        }
    };
    auto a = fiber::spawn(player, 'a');
    auto b = fiber::spawn(player, 'b');
    fiber::gather(a, b);
    return log.entries();
}

const std::vector<char> alternating{'a', 'b', 'a', 'b', 'a', 'b', 'a', 'b', 'a', 'b'};

}  // namespace

TEST_CASE("row 27: yield and sleep_for(<= 0) are exactly one turn, and alternate fairly") {
    runtime_fixture fixture(1);
    fixture.run([] {
        CHECK(turns([] { fiber::yield(); }) == alternating);
        CHECK(turns([] { fiber::sleep_for(0s); }) == alternating);
        CHECK(turns([] { fiber::sleep_for(-1s); }) == alternating);
        CHECK(turns([] { fiber::sleep_for(std::chrono::nanoseconds::min()); }) == alternating);
        CHECK(turns([] { fiber::sleep_for(std::chrono::hours::min()); }) == alternating);
        CHECK(turns([] { fiber::sleep_for(std::chrono::duration<double>(-0.5)); }) == alternating);
        CHECK(turns([] { fiber::sleep_until(steady::now() - 1h); }) == alternating);
        CHECK(turns([] { fiber::sleep_until(steady::time_point::min()); }) == alternating);
        CHECK(turns([] { fiber::sleep_until(std::chrono::system_clock::now() - 1h); }) == alternating);
    });
}

TEST_CASE("row 27: a yield lets every other fiber run once, round after round") {
    runtime_fixture fixture(1);
    fixture.run([] {
        constexpr int players = 10;
        constexpr int rounds = 20;
        std::vector<int> turns_of(players);
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < players; ++i) {
            tasks.push_back(fiber::spawn([&, i] {
                for (int round = 0; round < rounds; ++round) {
                    ++turns_of[static_cast<std::size_t>(i)];
                    for (const int other : turns_of) CHECK(std::abs(other - (round + 1)) <= 1);
                    fiber::yield();
                }
            }));
        }
        fiber::gather(tasks);
    });
}

TEST_CASE("row 27: those who yield do not starve a sleeper, a poster or a new task") {
    on_each_worker_count([](runtime_fixture& fixture) {
        std::atomic<bool> stop{false};
        std::vector<fiber::task<void>> busy;
        for (int i = 0; i < 32; ++i) {
            busy.push_back(fiber::spawn([&] {
                while (!stop) fiber::yield();
            }));
        }
        fiber::sleep_for(1ms);
        std::atomic<bool> posted{false};
        fixture.runtime().post([&] { posted = true; });
        CHECK(yield_until([&] { return posted.load(); }));
        fiber::spawn([] { fiber::sleep_for(1ms); }).get();
        stop = true;
        fiber::gather(busy);
    });
}

TEST_CASE("row 27: a NaN duration is an invalid_argument") {
    on_each_worker_count([] {
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        const std::chrono::duration<float, std::milli> other_nan(std::numeric_limits<float>::quiet_NaN());
        CHECK_THROWS_AS(fiber::sleep_for(nan), std::invalid_argument);
        CHECK_THROWS_AS(fiber::sleep_for(other_nan), std::invalid_argument);
        auto task = fiber::spawn([] { return 1; });
        CHECK_THROWS_AS((void)task.wait_for(nan), std::invalid_argument);
        CHECK(task.get() == 1);
    });
}

TEST_CASE("row 27: a duration that overflows saturates: the sleep is long, and can be cancelled") {
    in_virtual_time([] {
        const auto sleeps_until_cancelled = [](auto sleep) {
            std::atomic<bool> woke{false};
            auto sleeper = fiber::spawn([&] {
                sleep();
                woke = true;
            });
            fiber::sleep_for(std::chrono::years(1));
            CHECK_FALSE(woke);
            CHECK(sleeper.cancel());
            CHECK_THROWS_AS(sleeper.get(), fiber::cancelled);
            CHECK_FALSE(woke);
        };
        sleeps_until_cancelled([] { fiber::sleep_for(std::chrono::nanoseconds::max()); });
        sleeps_until_cancelled([] { fiber::sleep_for(std::chrono::hours::max()); });
        sleeps_until_cancelled([] { fiber::sleep_for(std::chrono::years(1'000'000)); });
        sleeps_until_cancelled([] { fiber::sleep_for(std::chrono::duration<double>(1e300)); });
        sleeps_until_cancelled(
            [] { fiber::sleep_for(std::chrono::duration<double>(std::numeric_limits<double>::infinity())); });
        sleeps_until_cancelled([] { fiber::sleep_until(steady::time_point::max()); });
        sleeps_until_cancelled([] { fiber::sleep_until(std::chrono::system_clock::time_point::max()); });
    });
}

TEST_CASE("row 27: a timed wait with an overflowing duration waits for its event") {
    in_virtual_time([] {
        auto task = fiber::spawn([] {
            fiber::sleep_for(std::chrono::years(1));
            return 2;
        });
        CHECK(task.wait_for(std::chrono::hours::max()));
        CHECK(task.get() == 2);
    });
}

TEST_CASE("row 27: a cancelled sleep disarms its timer") {
    on_each_worker_count([](runtime_fixture& fixture) {
        std::vector<fiber::task<void>> sleepers;
        std::atomic<int> started{0};
        for (int i = 0; i < 50; ++i) {
            sleepers.push_back(fiber::spawn([&] {
                ++started;
                fiber::sleep_for(1h);
            }));
        }
        REQUIRE(yield_until([&] { return started == 50; }));
        REQUIRE(yield_until([&] { return fixture.runtime().statistics().timers == 50; }));
        for (auto& sleeper : sleepers) sleeper.cancel();
        for (auto& sleeper : sleepers) CHECK_THROWS_AS(sleeper.get(), fiber::cancelled);
        CHECK(yield_until([&] { return fixture.runtime().statistics().timers == 0; }));
    });
}

TEST_CASE("row 27: a timed wait that was satisfied disarms its timer") {
    on_each_worker_count([](runtime_fixture& fixture) {
        for (int i = 0; i < 50; ++i) {
            auto task = fiber::spawn([] { fiber::yield(); });
            CHECK(task.wait_for(1h));
        }
        CHECK(yield_until([&] { return fixture.runtime().statistics().timers == 0; }));
    });
}

TEST_CASE("a sleep lasts at least as long as asked") {
    on_each_worker_count([] {
        for (const auto length : {50us, 500us, 1500us, 5000us}) {
            const auto begin = steady::now();
            fiber::sleep_for(length);
            CHECK(steady::now() - begin >= length);
            const auto when = steady::now() + length;
            fiber::sleep_until(when);
            CHECK(steady::now() >= when);
        }
        const auto begin = steady::now();
        fiber::sleep_for(std::chrono::duration<double, std::milli>(1.5));
        CHECK(steady::now() - begin >= 1500us);
    });
}

TEST_CASE("sleepers wake in the order of their deadlines") {
    in_virtual_time([] {
        journal<int> order;
        std::vector<fiber::task<void>> sleepers;
        const auto start = fiber::now() + 5ms;
        for (const int steps : {5, 1, 4, 2, 3}) {
            sleepers.push_back(fiber::spawn([&, steps] {
                fiber::sleep_until(start + steps * 3ms);
                order.add(steps);
            }));
        }
        fiber::gather(sleepers);
        CHECK(order.entries() == std::vector{1, 2, 3, 4, 5});
    });
}

TEST_CASE("whose sleep is over goes ahead of tasks that were spawned before") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([workers] {
            // Every other worker is held: this one has everything to do, and nobody helps it.
            std::atomic<unsigned> held{0};
            std::atomic<bool> let_go{false};
            std::vector<fiber::task<bool>> holders;
            for (unsigned i = 1; i < workers; ++i) {
                holders.push_back(fiber::spawn([&] {
                    ++held;
                    return spin_until([&] { return let_go.load(); });
                }));
            }
            REQUIRE(spin_until([&] { return held == workers - 1; }));

            bool asleep = false;
            int started = 0;
            int started_before = -1;
            auto sleeper = fiber::spawn([&] {
                asleep = true;
                fiber::sleep_for(1ms);
                started_before = started;
            });
            REQUIRE(yield_until([&] { return asleep; }));
            std::vector<fiber::task<void>> fresh;
            for (int i = 0; i < 1000; ++i) fresh.push_back(fiber::spawn([&] { ++started; }));
            const auto due = steady::now() + 1ms;
            REQUIRE(spin_until([&] { return steady::now() > due; }));
            sleeper.get();
            CHECK(started_before <= 100);  // workers look at their timers every few dozen turns
            fiber::gather(fresh);
            let_go = true;
            for (auto& holder : holders) CHECK(holder.get());
        });
    });
}

// Each holds its worker until all go on: whoever expires their timers must share them out, and while he is held, too,
// somebody must watch the timers that are left.
TEST_CASE("those whose sleep ends at one time go on at one time, on as many workers") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([workers] {
            for (int round = 0; round < scaled(50); ++round) {
                std::atomic<unsigned> awake{0};
                std::vector<fiber::task<bool>> sleepers;
                const auto when = fiber::now() + 500us;
                for (unsigned i = 0; i < workers; ++i) {
                    sleepers.push_back(fiber::spawn([&] {
                        fiber::sleep_until(when);
                        ++awake;
                        return spin_until([&] { return awake == workers; });
                    }));
                }
                for (auto& sleeper : sleepers) CHECK(sleeper.get());
            }
        });
    });
}

TEST_CASE("sleepers do not hold each other up") {
    in_virtual_time([] {
        const auto start = virtual_now();
        std::vector<fiber::task<void>> sleepers;
        for (int i = 0; i < scaled(1000); ++i) sleepers.push_back(fiber::spawn([] { fiber::sleep_for(20ms); }));
        fiber::gather(sleepers);
        CHECK(took(start, 20ms));  // one after the other they would take 20 s
    });
}

TEST_CASE("a sleep on a plain thread blocks that thread for as long") {
    const auto begin = steady::now();
    fiber::sleep_for(2ms);
    CHECK(steady::now() - begin >= 2ms);
}

TEST_CASE("now is the steady clock's time, and in virtual time the runtime's") {
    const auto before = steady::now();
    const auto asked = fiber::now();
    CHECK(before <= asked);
    CHECK(asked <= steady::now());
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .virtual_time = true});
        fixture.run([] {
            const auto start = fiber::now();
            fiber::sleep_for(2h);
            CHECK(fiber::now() - start >= 2h);
            CHECK(fiber::now() - start < 2h + 1ms);
            fiber::sleep_until(start + 5h);
            CHECK(fiber::now() - start >= 5h);
            CHECK(fiber::now() - start < 5h + 1ms);
        });
    });
}
