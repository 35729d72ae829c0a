// What was handed to a runtime that has not run yet, and may never: it waits for the first run, and whoever has
// cancelled it need not.
#include "tests/api/waits_at_its_end.hpp"

using namespace fiber::test;

TEST_CASE("the handle of a task that waits for the first run gives it up without a run") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        bool ran = false;
        {
            const auto first = fixture.runtime().spawn([&ran, held = tracked(1)] { ran = true; });
            const auto second = fixture.runtime().spawn([&ran, held = tracked(2)] { ran = true; });
            CHECK(tracked::live() == 2);
        }
        CHECK(tracked::live() == 0);
        CHECK(fixture.runtime().statistics().tasks == 0);
        auto other = fixture.runtime().spawn([] { return 3; });
        CHECK(fixture.run([&] { return other.get(); }) == 3);
        CHECK_FALSE(ran);
    });
}

TEST_CASE("get() and wait() of a task that was cancelled before the first run end at once") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        auto gets = fixture.runtime().spawn([held = tracked(1)] { return held.value(); });
        CHECK(gets.cancel("not wanted"));
        CHECK_FALSE(gets.done());
        try {
            gets.get();
            FAIL("not cancelled");
        } catch (const fiber::cancelled& why) {
            CHECK(why.message() == "not wanted");
        }
        CHECK(gets.cancelled());
        CHECK_FALSE(gets.cancel());

        auto waits = fixture.runtime().spawn([] {});
        CHECK_FALSE(waits.wait_for(1ms));  // it may still run
        waits.cancel();
        CHECK(waits.wait_for(1h));
        CHECK(tracked::live() == 0);
        CHECK(fixture.run([] { return 1; }) == 1);
    });
}

TEST_CASE("a handle outlives a runtime that never ran: the task ended as cancelled") {
    for_each_worker_count([](unsigned workers) {
        const resource_guard guard;
        fiber::task<int> kept;
        fiber::task<int> given_up;
        {
            fiber::runtime never_runs({.workers = workers});
            kept = never_runs.spawn([held = tracked(1)] { return 1; });
            given_up = never_runs.spawn([held = tracked(2)] { return 2; });
            given_up.cancel();
            CHECK_THROWS_AS(given_up.get(), fiber::cancelled);
            CHECK(tracked::live() == 1);
        }
        CHECK(tracked::live() == 0);
        CHECK_THROWS_AS(kept.get(), fiber::cancelled);
        CHECK(given_up.cancelled());
    });
}

TEST_CASE("a fiber gives up what it handed to another runtime that has not run, cancelled itself or not") {
    on_each_worker_count([] {
        fiber::event over;
        fiber::runtime other({.workers = 1});
        std::optional<fiber::runtime> ends(std::in_place, fiber::runtime_options{.workers = 1});
        bool past_handle = false;
        bool past_runtime = false;
        auto gives_up = fiber::spawn([&] {
            {
                auto task = other.spawn([held = waits_at_its_end(over)] { FAIL("ran"); });
                fiber::this_fiber::cancel();
            }
            past_handle = true;
            ends->post([held = waits_at_its_end(over)] { FAIL("ran"); });
            ends.reset();
            past_runtime = true;
            fiber::yield();
            FAIL("not cancelled");
        });
        auto opens = fiber::spawn([&] { over.set(); });
        CHECK_THROWS_AS(gives_up.get(), fiber::cancelled);
        CHECK(past_handle);
        CHECK(past_runtime);
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("handles that are given up while the first run begins: each task ran or did not, none is lost") {
    for_each_worker_count([](unsigned workers) {
        for (int round = 0; round < scaled(100); ++round) {
            runtime_fixture fixture(workers);
            std::atomic<int> ran{0};
            std::vector<fiber::task<void>> tasks;
            for (int i = 0; i < 20; ++i) {
                tasks.push_back(fixture.runtime().spawn([&ran, held = tracked(i)] { ++ran; }));
            }
            std::thread outside([&] { tasks.clear(); });
            CHECK(fixture.run([] { return 1; }) == 1);
            outside.join();
            CHECK(ran <= 20);
        }
    });
}

TEST_CASE("handles that are given up while the runtime that never ran is destroyed") {
    for_each_worker_count([](unsigned workers) {
        for (int round = 0; round < scaled(100); ++round) {
            const resource_guard guard;
            auto never_runs = std::make_unique<fiber::runtime>(fiber::runtime_options{.workers = workers});
            std::vector<fiber::task<void>> tasks;
            for (int i = 0; i < 20; ++i) tasks.push_back(never_runs->spawn([held = tracked(i)] {}));
            std::thread outside([&] { tasks.clear(); });
            never_runs.reset();
            outside.join();
        }
    });
}
