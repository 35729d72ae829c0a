// runtime_options::virtual_time, as users have it for their own tests: time stands still while anything runs, and jumps
// to the next timer when all wait.
#include "tests/api/virtual_time.hpp"

#include <stdexcept>

using namespace fiber::test;
using steady = std::chrono::steady_clock;

namespace {

// A program as users write it, to be tested: asks again and again, with pauses that double, and gives up in the end.
template <class Ask>
int ask_again_and_again(Ask ask) {
    auto pause = 1s;
    for (int attempts = 1;; ++attempts) {
        try {
            return fiber::with_timeout(10s, ask);
        } catch (const fiber::timeout_error&) {
            if (attempts == 5) throw;
        }
        fiber::sleep_for(pause);
        pause *= 2;
    }
}

}  // namespace

TEST_CASE("in virtual time hours pass in no time, and exactly as many as were asked for") {
    const auto begin = steady::now();
    in_virtual_time([] {
        const auto start = fiber::now();
        for (int i = 0; i < 100; ++i) fiber::sleep_for(1h);
        CHECK(took(start.time_since_epoch(), 100h));
        fiber::sleep_until(fiber::now() + 1h);
        CHECK(took(start.time_since_epoch(), 101h));
    });
    CHECK(steady::now() - begin < 1h);
}

TEST_CASE("a program's schedule, tested to the millisecond") {
    in_virtual_time([] {
        auto start = fiber::now();
        CHECK_THROWS_AS(ask_again_and_again([]() -> int {
                            park_until_cancelled();
                            return 0;
                        }),
                        fiber::timeout_error);
        CHECK(took(start.time_since_epoch(), 5 * 10s + 1s + 2s + 4s + 8s));
        start = fiber::now();
        int asked = 0;
        CHECK(ask_again_and_again([&] {
                  fiber::sleep_for(++asked == 3 ? 9s : 11s);
                  return asked;
              }) == 3);
        CHECK(took(start.time_since_epoch(), 2 * 10s + 1s + 2s + 9s));
    });
}

TEST_CASE("time stands still while anything runs") {
    in_virtual_time([] {
        std::atomic<bool> sleeper_woke{false};
        auto sleeper = fiber::spawn([&] {
            fiber::sleep_for(1ms);
            sleeper_woke = true;
        });
        const auto start = fiber::now();
        const auto real_end = steady::now() + 3ms;  // longer than the sleep
        while (steady::now() < real_end) fiber::yield();
        CHECK(fiber::now() == start);
        CHECK_FALSE(sleeper_woke);
        sleeper.get();
        CHECK(took(start.time_since_epoch(), 1ms));
    });
}

TEST_CASE("time jumps to the earliest timer of all workers, and never over one") {
    in_virtual_time([] {
        const auto start = fiber::now();
        std::atomic<int> right{0};
        std::vector<fiber::task<void>> sleepers;
        for (int i = 100; i > 0; --i) {
            sleepers.push_back(fiber::spawn([&, i] {
                for (int round = 1; round <= 3; ++round) {
                    fiber::sleep_until(start + round * i * 7ms);
                    right += took(start.time_since_epoch(), round * i * 7ms);
                }
            }));
        }
        fiber::gather(sleepers);
        CHECK(right == 300);
        CHECK(took(start.time_since_epoch(), 2100ms));
    });
}

TEST_CASE("each runtime has its time; it starts at the epoch, goes on in a second run, and leaves the others alone") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(fiber::runtime_options{.workers = workers, .virtual_time = true});
        fixture.run([] {
            CHECK(fiber::now() == steady::time_point());
            fiber::sleep_for(1h);
        });
        fixture.run([] {
            CHECK(fiber::now() >= steady::time_point(1h));
            CHECK(fiber::now() < steady::time_point(1h + 1s));
        });
        fiber::run({.workers = 1, .virtual_time = true}, [] { CHECK(fiber::now() == steady::time_point()); });
        const auto before = steady::now();
        const auto real = fiber::run({.workers = 1}, [] { return fiber::now(); });
        CHECK(before <= real);
        CHECK(real <= steady::now());
        CHECK(fiber::now() >= real);  // on a plain thread
    });
}

TEST_CASE("in virtual time a waiter without any timer waits for what comes from outside") {
    in_virtual_time([](runtime_fixture& fixture) {
        fiber::promise<int> promise;
        auto future = promise.get_future();
        std::thread outside([&] {
            auto task = fixture.runtime().spawn([] {
                fiber::sleep_for(1h);
                return 4;
            });
            promise.set_value(task.get());
        });
        CHECK(future.get() == 4);
        CHECK(fiber::to_thread([] { return 5; }) == 5);
        outside.join();
    });
}
