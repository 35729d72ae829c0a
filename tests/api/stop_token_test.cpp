// std::stop_token and cancellation, both ways: a task's token, and a token that cancels a task.
#include <condition_variable>
#include <future>
#include <mutex>
#include <stop_token>

#include "tests/api/fixture.hpp"

using namespace fiber::test;

TEST_CASE("a task's token is requested as soon as cancel() is called, also while the task computes") {
    on_each_worker_count([] {
        std::atomic<bool> started{false};
        std::atomic<bool> stopped{false};
        auto task = fiber::spawn([&] {
            const std::stop_token token = fiber::this_fiber::get_stop_token();
            started = true;
            stopped = spin_until([&] { return token.stop_requested(); });
        });
        // At one worker the task that computes holds it: a thread does the cancelling.
        std::thread outside([&] {
            CHECK(spin_until([&] { return started.load(); }));
            CHECK_FALSE(fiber::get_stop_token(task).stop_requested());
            CHECK(task.cancel());
            CHECK(fiber::get_stop_token(task).stop_requested());
        });
        task.wait();
        outside.join();
        CHECK(stopped);
    });
}

TEST_CASE("a task's token stops a call on a thread that knows nothing of fibers") {
    on_each_worker_count([] {
        std::atomic<bool> waits{false};
        std::atomic<bool> stopped{false};
        auto task = fiber::spawn([&] {
            const std::stop_token token = fiber::this_fiber::get_stop_token();
            fiber::uncancellable([&] {
                fiber::to_thread([&, token] {
                    std::mutex mutex;
                    std::condition_variable_any wakes;
                    std::unique_lock lock(mutex);
                    waits = true;
                    wakes.wait(lock, token, [] { return false; });
                    stopped = token.stop_requested();
                });
            });
        });
        CHECK(yield_until([&] { return waits.load(); }));
        CHECK(task.cancel());
        task.wait();
        CHECK(stopped);
    });
}

TEST_CASE("a token's callbacks run inside cancel(), once, on its caller's thread") {
    on_each_worker_count([] {
        std::atomic<int> calls{0};
        std::thread::id called_on;
        auto task = fiber::spawn(park_until_cancelled);
        const std::stop_callback callback(fiber::get_stop_token(task), [&] {
            ++calls;
            called_on = std::this_thread::get_id();
        });
        settle();
        std::thread([&] {
            CHECK(task.cancel());
            CHECK(calls == 1);
            CHECK(called_on == std::this_thread::get_id());
        }).join();
        (void)task.cancel();
        task.wait();
        CHECK(calls == 1);
    });
}

TEST_CASE("a token asked for after the cancel is requested at once; one of a finished task never") {
    on_each_worker_count([] {
        auto cancelled = fiber::spawn(park_until_cancelled);
        cancelled.cancel();
        CHECK(fiber::get_stop_token(cancelled).stop_requested());
        cancelled.wait();
        auto finished = fiber::spawn([] {});
        finished.wait();
        const std::stop_token token = fiber::get_stop_token(finished);
        CHECK_FALSE(finished.cancel());
        CHECK_FALSE(token.stop_requested());
    });
}

TEST_CASE("a cancellation that is passed on reaches the tokens along the chain, and those of a gather's children") {
    on_each_worker_count([] {
        auto inner = fiber::spawn(park_until_cancelled);
        auto other = fiber::spawn(park_until_cancelled);
        const std::stop_token inner_token = fiber::get_stop_token(inner);
        const std::stop_token other_token = fiber::get_stop_token(other);
        auto middle = fiber::spawn([&] { fiber::gather(inner, other); });
        auto outer = fiber::spawn([&] { middle.get(); });
        const std::stop_token middle_token = fiber::get_stop_token(middle);
        settle();
        CHECK(outer.cancel());
        outer.wait();
        CHECK(inner_token.stop_requested());
        CHECK(other_token.stop_requested());
        CHECK(middle_token.stop_requested());
    });
}

TEST_CASE("after a cancel was taken back a new call gives a new token") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            const std::stop_token before = fiber::this_fiber::get_stop_token();
            fiber::this_fiber::cancel();
            CHECK(before.stop_requested());
            (void)fiber::this_fiber::uncancel();
            const std::stop_token after = fiber::this_fiber::get_stop_token();
            CHECK_FALSE(after.stop_requested());
            CHECK(before.stop_requested());
            fiber::this_fiber::cancel();
            CHECK(after.stop_requested());
            (void)fiber::this_fiber::uncancel();
        });
        task.get();
        CHECK_THROWS_AS(fiber::with_timeout(0s, [] { fiber::yield(); }), fiber::timeout_error);
        CHECK_FALSE(fiber::this_fiber::get_stop_token().stop_requested());
    });
}

TEST_CASE("a token may be kept after its task and its runtime") {
    std::optional<std::stop_token> kept;
    for_each_worker_count([&](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([&] { kept = fiber::spawn([] { return fiber::this_fiber::get_stop_token(); }).get(); });
        CHECK_FALSE(kept->stop_requested());
    });
}

TEST_CASE("a stop request cancels the linked task, from anywhere, once") {
    on_each_worker_count([] {
        std::stop_source source;
        auto task = fiber::spawn(park_until_cancelled);
        const auto link = fiber::cancel_on_stop(source.get_token(), task);
        settle();
        std::thread([&] { CHECK(source.request_stop()); }).join();
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelling() == 1);
    });
}

TEST_CASE("a stop request before the link cancels at once; one after the link's end does nothing") {
    on_each_worker_count([] {
        std::stop_source source;
        auto kept = fiber::spawn([] {
            fiber::yield();
            return 1;
        });
        { const auto link = fiber::cancel_on_stop(source.get_token(), kept); }
        source.request_stop();
        CHECK(kept.get() == 1);
        auto cancelled = fiber::spawn(park_until_cancelled);
        const auto link = fiber::cancel_on_stop(source.get_token(), cancelled);
        CHECK(cancelled.cancelling() == 1);
        CHECK_THROWS_AS(cancelled.get(), fiber::cancelled);
        const auto never = fiber::cancel_on_stop(std::stop_token(), cancelled);  // a token without a source
    });
}

TEST_CASE("a stop request cancels a future") {
    on_each_worker_count([] {
        std::stop_source source;
        fiber::promise<int> promise;
        auto future = promise.get_future();
        const auto link = fiber::cancel_on_stop(source.get_token(), future);
        source.request_stop();
        CHECK_THROWS_AS(future.get(), fiber::cancelled);
        CHECK(promise.done());
    });
}

TEST_CASE("with_stop_token: a stop request cancels the running task while the callable runs, and only then") {
    on_each_worker_count([] {
        std::stop_source source;
        auto task = fiber::spawn([&] {
            CHECK(fiber::with_stop_token(source.get_token(), [] { return 4; }) == 4);
            try {
                fiber::with_stop_token(source.get_token(), park_until_cancelled);
            } catch (const fiber::cancelled&) {
                CHECK(fiber::this_fiber::uncancel() == 0);
            }
            fiber::yield();
            return 5;
        });
        settle();
        source.request_stop();
        CHECK(task.get() == 5);
    });
}

TEST_CASE("one token for many tasks, and the end of a std::jthread's work") {
    on_each_worker_count([] {
        std::jthread owner([](const std::stop_token& token) {
            while (!token.stop_requested()) std::this_thread::yield();
        });
        std::vector<fiber::task<void>> tasks;
        std::vector<std::unique_ptr<fiber::stop_link>> links;
        for (int i = 0; i < 20; ++i) {
            tasks.push_back(fiber::spawn(park_until_cancelled));
            links.push_back(std::make_unique<fiber::stop_link>(owner.get_stop_token(), tasks.back().slot()));
        }
        settle();
        owner.request_stop();
        for (auto& each : tasks) CHECK_THROWS_AS(each.get(), fiber::cancelled);
    });
}

TEST_CASE("stop requests, cancels and ends that race") {
    on_each_worker_count([] {
        for (int round = 0; round < scaled(200); ++round) {
            std::stop_source source;
            std::atomic<int> told{0};
            auto task = fiber::spawn([&, round] {
                const std::stop_callback callback(fiber::this_fiber::get_stop_token(), [&] { ++told; });
                for (int turn = 0; turn < round % 5; ++turn) fiber::yield();
            });
            auto stopper = fiber::spawn([&] { source.request_stop(); });
            {
                const auto link = fiber::cancel_on_stop(source.get_token(), task);
                if (round % 2 == 0) fiber::yield();
                task.cancel();
                task.wait();
            }
            stopper.get();
            CHECK(told <= 1);
        }
    });
}

TEST_CASE("stop tokens: bad input") {
    CHECK_THROWS_AS((void)fiber::this_fiber::get_stop_token(), fiber::usage_error);
    CHECK_THROWS_AS((void)fiber::cancel_on_stop(std::stop_token()), fiber::usage_error);
    CHECK_THROWS_AS(fiber::with_stop_token(std::stop_token(), [] {}), fiber::usage_error);
    fiber::task<void> nothing;
    CHECK_THROWS_AS((void)fiber::get_stop_token(nothing), std::future_error);
    CHECK_THROWS_AS((void)fiber::cancel_on_stop(std::stop_token(), nothing), std::future_error);
}
