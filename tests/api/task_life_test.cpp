// task<T>, from handle to handle: moving, the destructor that cancels and joins, detach; who starts when, and on whose
// stack.
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

TEST_CASE("a moved task keeps its identity, and assignment cancels and joins the old one") {
    on_each_worker_count([] {
        auto first = fiber::spawn([] { return 1; });
        fiber::task<int> second = std::move(first);
        CHECK(second.get() == 1);

        std::atomic<bool> started{false};
        std::atomic<bool> cleaned{false};
        auto target = fiber::spawn([&] {
            started = true;
            note_cancellation(cleaned);
        });
        REQUIRE(yield_until([&] { return started.load(); }));
        target = fiber::spawn([] {});
        CHECK(cleaned);
        target.get();
    });
}

TEST_CASE("the destructor of an unfinished task cancels it and waits for its clean-up") {
    in_virtual_time([] {
        std::atomic<bool> cleaned{false};
        {
            int parents_frame = 0;
            std::atomic<bool> started{false};
            auto child = fiber::spawn([&] {
                started = true;
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                    fiber::sleep_for(2ms);
                    parents_frame = 1;
                    cleaned = true;
                    throw;
                }
            });
            REQUIRE(yield_until([&] { return started.load(); }));
        }
        CHECK(cleaned);
    });
}

TEST_CASE("the destructor of a task that never started destroys its callable") {
    on_each_worker_count([] {
        const long before = tracked::live();
        {
            auto child = fiber::spawn([held = tracked(1)] { park_until_cancelled(); });
        }
        CHECK(tracked::live() == before);
    });
}

TEST_CASE("the destructor joins children while an exception unwinds the parent") {
    in_virtual_time([] {
        std::atomic<int> cleaned{0};
        auto parent = fiber::spawn([&] {
            std::atomic<int> started{0};
            const auto child = [&] {
                ++started;
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                    fiber::sleep_for(1ms);
                    ++cleaned;
                    throw;
                }
            };
            auto one = fiber::spawn(child);
            auto two = fiber::spawn(child);
            REQUIRE(yield_until([&] { return started == 2; }));
            throw std::runtime_error("parent failed");
        });
        CHECK_THROWS_WITH_AS(parent.get(), "parent failed", std::runtime_error);
        CHECK(cleaned == 2);
    });
}

TEST_CASE("a detached task goes on by itself") {
    on_each_worker_count([] {
        const auto open = std::make_shared<gate>();
        const auto finished = std::make_shared<gate>();
        fiber::spawn([=, held = tracked(1)] {
            open->wait();
            finished->open();
        }).detach();
        open->open();
        finished->wait();
    });
}

// A result that nobody holds any more is destroyed where its task ends. Its destructor used to run outside of any task
// there, and so blocked the worker's thread when it had to wait: with one worker for ever.
TEST_CASE("a result that owns a task, and that nobody asks for, is destroyed by the task that it was of") {
    on_each_worker_count([] {
        std::atomic<int> cleaned_up = 0;
        const auto owner = [&cleaned_up] {
            fiber::event started;
            auto owned = fiber::spawn([&cleaned_up, &started] {
                started.set();
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                    fiber::uncancellable([] { fiber::sleep_for(1us); });
                    ++cleaned_up;
                    throw;
                }
            });
            started.wait();
            return owned;
        };
        fiber::spawn(owner).detach();
        CHECK(yield_until([&] { return cleaned_up == 1; }));
        {
            fiber::task_group group;
            (void)group.spawn(owner);
            group.join();
        }
        CHECK(yield_until([&] { return cleaned_up == 2; }));
        auto overridden = fiber::spawn([&owner] {
            auto owned = owner();
            fiber::this_fiber::cancel();
            return owned;
        });
        CHECK_THROWS_AS((void)overridden.get(), fiber::cancelled);
        CHECK(cleaned_up == 3);
        auto observed = fiber::spawn([&owner] {
            auto owned = owner();
            fiber::this_fiber::cancel();
            return owned;
        });
        observed.wait();
        CHECK(observed.cancelled());
        CHECK(cleaned_up == 4);
    });
}

TEST_CASE("with one worker tasks start in the order of their spawning") {
    runtime_fixture fixture(1);
    fixture.run([] {
        journal<int> order;
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < 100; ++i) tasks.push_back(fiber::spawn([&, i] { order.add(i); }));
        CHECK(order.entries().empty());  // spawn itself runs nothing
        fiber::yield();
        std::vector<int> expected(100);
        for (int i = 0; i < 100; ++i) expected[static_cast<std::size_t>(i)] = i;
        CHECK(order.entries() == expected);
    });
}

TEST_CASE("a child that is joined before it started has its own identity") {
    on_each_worker_count([] {
        auto child = fiber::spawn({.name = "child"}, [] { return std::string(fiber::this_fiber::name()); });
        CHECK(child.get() == "child");
        auto nested = fiber::spawn({.name = "outer"}, [] {
            auto inner = fiber::spawn({.name = "inner"}, [] { return std::string(fiber::this_fiber::name()); });
            const std::string before(fiber::this_fiber::name());
            const std::string between = inner.get();
            return before + between + std::string(fiber::this_fiber::name());
        });
        CHECK(nested.get() == "outerinnerouter");
    });
}

TEST_CASE("joins nest deeply, first child first") {
    struct tree {
        static long sum(int depth) {
            if (depth == 0) return 1;
            auto left = fiber::spawn(sum, depth - 1);
            auto right = fiber::spawn(sum, depth - 1);
            return left.get() + right.get();
        }
        static int chain(int depth) {
            if (depth == 0) return 0;
            auto child = fiber::spawn(chain, depth - 1);
            return child.get() + 1;
        }
    };
    on_each_worker_count([] {
        const int depth = sanitized ? 9 : 13;
        CHECK(tree::sum(depth) == 1L << depth);
        CHECK(tree::chain(scaled(5000)) == scaled(5000));
    });
}
