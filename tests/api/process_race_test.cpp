// Children that end, are killed, waited for and given up at random moments: each ends once, and nothing of any is left.
#include <csignal>

#include "fiber/process.hpp"
#include "tests/api/fixture.hpp"
#include "tests/api/virtual_time.hpp"
#include "tests/support/no_children.hpp"

using namespace fiber::test;
using fiber::process;
using fiber::stdio;

namespace {

// One child and three who want different things of it.
void one_round(fiber_test::random& dice) {
    const auto pause = [&dice] { return std::chrono::microseconds(dice.below(3000)); };
    process child({.in = stdio::pipe, .out = stdio::pipe}, {"cat"});
    const auto limit = pause();
    const auto first = pause();
    const auto second = pause();
    auto talks = fiber::spawn([&] { (void)child.communicate(std::string(200'000, 'x')); });
    auto waits = fiber::spawn([&] { return child.wait(); });
    auto gives_up = fiber::spawn([&, limit] { return child.wait_for(limit); });
    fiber::sleep_for(first);
    switch (dice.below(3)) {
        case 0:
            talks.cancel();
            break;
        case 1:
            (void)child.kill(SIGKILL);
            break;
        default:
            waits.cancel();
    }
    fiber::sleep_for(second);
    (void)child.terminate();
    talks.wait();
    if (!talks.cancelled()) talks.get();
    waits.wait();
    const auto status = child.wait();
    if (!waits.cancelled()) CHECK(waits.get() == status);
    if (const auto seen = gives_up.get()) CHECK(*seen == status);
}

}  // namespace

TEST_CASE("ends, kills, limits and cancellations race: each child ends once, and nothing of it is left") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([] {
            fiber_test::random dice(11);
            for (int i = 0; i < scaled(100); ++i) one_round(dice);
        });
        CHECK(fiber_test::no_children_left());
    });
}

TEST_CASE("in virtual time children and signals come from outside, and are waited for") {
    in_virtual_time([] {
        process echo({.in = stdio::pipe, .out = stdio::pipe}, {"cat"});
        CHECK(echo.communicate("through").out == "through");
        CHECK(process({"false"}).wait().code() == 1);
        fiber::signals stop{SIGUSR1};
        const auto start = virtual_now();
        CHECK_FALSE(stop.wait_for(1h).has_value());
        CHECK(took(start, 1h));
        ::raise(SIGUSR1);
        CHECK(stop.wait() == SIGUSR1);
    });
}
