// task_group and with_task_group: rows 17 and 18 of the semantics. Cancellation from outside is in
// task_group_cancel_test.cpp, what is thrown in exception_group_test.cpp.
#include <functional>
#include <memory>
#include <stdexcept>

#include "tests/api/thrown.hpp"
#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

using texts = std::vector<std::string>;

}  // namespace

TEST_CASE("row 17: leaving a group waits for all of its tasks") {
    in_virtual_time([] {
        const auto start = virtual_now();
        std::atomic<int> ended{0};
        const auto sleeps = [&](std::chrono::milliseconds length) {
            fiber::sleep_for(length);
            ++ended;
        };
        fiber::task_group joined;
        joined.spawn(sleeps, 30ms);
        joined.spawn({.name = "named"}, sleeps, 10ms);
        joined.join();
        CHECK(ended == 2);
        CHECK(took(start, 30ms));

        const int value = fiber::with_task_group([&](fiber::task_group& group) {
            group.spawn(sleeps, 30ms);
            group.spawn(sleeps, 10ms);
            CHECK(ended == 2);
            return 5;
        });
        CHECK(value == 5);
        CHECK(ended == 4);
        CHECK(took(start, 60ms));
    });
}

TEST_CASE("row 17: an empty group ends at once") {
    on_each_worker_count([] {
        fiber::task_group group;
        group.join();
        CHECK(*fiber::with_task_group([](fiber::task_group&) { return std::make_unique<int>(1); }) == 1);
        int place = 0;
        CHECK(&fiber::with_task_group([&](fiber::task_group&) -> int& { return place; }) == &place);
    });
}

TEST_CASE("row 17: leaving waits for tasks that are added late, and by tasks") {
    in_virtual_time([] {
        std::atomic<int> ended{0};
        fiber::task_group group;
        group.spawn([&] {
            fiber::sleep_for(10ms);  // the parent waits in join() by now
            group.spawn([&] {
                fiber::sleep_for(10ms);
                group.spawn([&](int by) { ended += by; }, 1);
                ++ended;
            });
            ++ended;
        });
        group.join();
        CHECK(ended == 3);
    });
}

TEST_CASE("row 17: a tree of tasks, all in one group") {
    on_each_worker_count([] {
        std::atomic<int> nodes{0};
        fiber::task_group group;
        const std::function<void(int)> grow = [&](int depth) {
            ++nodes;
            if (depth == 0) return;
            for (int i = 0; i < 3; ++i) group.spawn(grow, depth - 1);
        };
        grow(sanitized ? 4 : 6);
        group.join();
        CHECK(nodes == (sanitized ? 121 : 1093));
    });
}

TEST_CASE("row 17: the results of a group's tasks: in the body, and after it") {
    on_each_worker_count([] {
        std::optional<fiber::group_task<std::string>> kept;
        fiber::with_task_group([&](fiber::task_group& group) {
            auto named = group.spawn(
                {.name = "two"}, [](int a, int b) { return a + b; }, 1, 1);
            CHECK(named.name() == "two");
            CHECK(named.get() == 2);
            kept = group.spawn([] { return std::string("later"); });
            (void)group.spawn([] { return tracked(1); });  // dropped: the group waits for it all the same
        });
        CHECK(kept->done());
        CHECK(kept->get() == "later");
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE("row 17: spawning after the end is an error, and the callable is destroyed, not run") {
    on_each_worker_count([] {
        std::atomic<bool> ran{false};
        fiber::task_group group;
        group.spawn([] { fiber::yield(); });
        group.join();
        CHECK_THROWS_AS((void)group.spawn([&, held = tracked(1)] { ran = true; }), fiber::usage_error);
        CHECK(tracked::live() == 0);

        fiber::with_task_group([&](fiber::task_group& other) {
            other.join();  // before the body ends
            CHECK_THROWS_AS((void)other.spawn([&, held = tracked(1)] { ran = true; }), fiber::usage_error);
        });
        CHECK(tracked::live() == 0);
        CHECK(fiber::all_tasks().size() == 1);
        CHECK_FALSE(ran);
    });
}

TEST_CASE("row 17: spawning while the group is aborting is an error, and the callable is destroyed, not run") {
    on_each_worker_count([] {
        std::atomic<bool> ran{false};
        std::atomic<bool> refused{false};
        const auto thrown = group_thrown_by([&] {
            fiber::with_task_group([&](fiber::task_group& group) {
                group.spawn([&] {
                    try {
                        park_until_cancelled();
                    } catch (const fiber::cancelled&) {
                        try {
                            (void)group.spawn([&, held = tracked(1)] { ran = true; });
                        } catch (const fiber::usage_error&) {
                            refused = tracked::live() == 0;
                        }
                        throw;
                    }
                });
                settle();
                group.spawn([] { throw std::runtime_error("first"); });
                park_until_cancelled();
            });
        });
        CHECK(texts_of(thrown) == texts{"first"});
        CHECK(refused);
        CHECK_FALSE(ran);
    });
}

TEST_CASE("row 18: the first failure cancels the siblings and the body, and all are waited for") {
    in_virtual_time([] {
        std::atomic<int> cleaned_up{0};
        const auto cleans_up = [&] {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                fiber::uncancellable([] { fiber::sleep_for(20ms); });
                ++cleaned_up;
                throw;
            }
        };
        const auto start = virtual_now();
        std::vector<fiber::group_task<void>> siblings;
        const auto thrown = group_thrown_by([&] {
            fiber::with_task_group([&](fiber::task_group& group) {
                for (int i = 0; i < 3; ++i) siblings.push_back(group.spawn(cleans_up));
                group.spawn([] {
                    fiber::sleep_for(10ms);
                    throw std::runtime_error("first");
                });
                cleans_up();
            });
        });
        CHECK(texts_of(thrown) == texts{"first"});
        CHECK(cleaned_up == 4);
        CHECK(took(start, 30ms));
        for (const auto& each : siblings) CHECK(each.cancelled());
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 18: a failure while the parent waits at the end cancels the siblings, too") {
    in_virtual_time([] {
        const auto thrown = group_thrown_by([] {
            fiber::task_group group;
            auto sibling = group.spawn(park_until_cancelled);
            group.spawn([] {
                fiber::sleep_for(10ms);
                throw std::runtime_error("late");
            });
            group.join();
        });
        CHECK(texts_of(thrown) == texts{"late"});
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 18: every exception that is no cancellation is in the group, in the order in which they came") {
    in_virtual_time([] {
        const auto fails_in_clean_up = [](std::chrono::milliseconds length, const char* text) {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                fiber::sleep_for(length);
                throw std::runtime_error(text);
            }
        };
        const auto thrown = group_thrown_by([&] {
            fiber::with_task_group([&](fiber::task_group& group) {
                group.spawn(fails_in_clean_up, 20ms, "third");
                group.spawn(fails_in_clean_up, 10ms, "second");
                group.spawn(park_until_cancelled);
                group.spawn([] {
                    fiber::sleep_for(5ms);
                    throw std::logic_error("first");
                });
                fails_in_clean_up(30ms, "the body");
            });
        });
        CHECK(texts_of(thrown) == texts{"first", "second", "third", "the body"});
        CHECK_THROWS_AS(std::rethrow_exception(thrown->exceptions()[0]), std::logic_error);
    });
}

TEST_CASE("row 18: a cancelled task is no failure") {
    on_each_worker_count([] {
        std::atomic<bool> other_ended{false};
        fiber::with_task_group([&](fiber::task_group& group) {
            auto one = group.spawn(park_until_cancelled);
            group.spawn([] { throw fiber::cancelled(); });
            group.spawn([&] {
                fiber::yield();
                other_ended = true;
            });
            settle();
            CHECK(one.cancel());
        });
        CHECK(other_ended);
        CHECK(fiber::this_fiber::cancelling() == 0);
    });
}

TEST_CASE("row 18: a body that throws cancels the tasks, waits for them and joins the exceptions") {
    on_each_worker_count([] {
        std::atomic<int> cancelled_tasks{0};
        const auto thrown = group_thrown_by([&] {
            fiber::with_task_group([&](fiber::task_group& group) {
                for (int i = 0; i < 3; ++i) {
                    group.spawn([&] {
                        try {
                            park_until_cancelled();
                        } catch (const fiber::cancelled&) {
                            ++cancelled_tasks;
                            throw;
                        }
                    });
                }
                settle();
                throw std::runtime_error("the body");
            });
        });
        CHECK(texts_of(thrown) == texts{"the body"});
        CHECK(cancelled_tasks == 3);
    });
}

TEST_CASE("row 18: a body cancelled from outside throws plain cancelled, with the message") {
    on_each_worker_count([] {
        std::atomic<bool> child_ended{false};
        auto parent = fiber::spawn([&] {
            fiber::with_task_group([&](fiber::task_group& group) {
                group.spawn([&] { note_cancellation(child_ended); });
                park_until_cancelled();
            });
        });
        settle();
        CHECK(parent.cancel("outside"));
        bool cancelled = false;
        try {
            parent.get();
        } catch (const fiber::cancelled& error) {
            cancelled = error.message() == "outside";
        }
        CHECK(cancelled);
        CHECK(child_ended);
    });
}

TEST_CASE("row 18: a task that suppresses its cancellation and returns adds nothing") {
    on_each_worker_count([] {
        const auto thrown = group_thrown_by([] {
            fiber::with_task_group([](fiber::task_group& group) {
                auto stubborn = group.spawn([] {
                    try {
                        park_until_cancelled();
                    } catch (const fiber::cancelled&) {
                    }
                    return 3;
                });
                settle();
                group.spawn([] { throw std::runtime_error("first"); });
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                }
                CHECK(stubborn.get() == 3);  // the body may go on after its cancellation
            });
        });
        CHECK(texts_of(thrown) == texts{"first"});
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("the destructor of a group that was not joined cancels its tasks and waits; failures are reported") {
    for_each_worker_count([](unsigned workers) {
        std::atomic<int> reported{0};
        fiber::runtime_options options{.workers = workers};
        options.on_unretrieved_exception = [&](const std::exception_ptr&) { ++reported; };
        runtime_fixture fixture(options);
        fixture.run([&] {
            std::atomic<bool> cleaned_up{false};
            {
                fiber::task_group group;
                group.spawn([&, held = tracked(1)] {
                    try {
                        park_until_cancelled();
                    } catch (const fiber::cancelled&) {
                        cleaned_up = true;
                        throw std::runtime_error("in clean-up");
                    }
                });
                settle();
            }
            CHECK(cleaned_up);
            CHECK(reported == 1);
            CHECK(tracked::live() == 0);
            CHECK(fiber::this_fiber::cancelling() == 0);
        });
    });
}

TEST_CASE("a group's misuse is a usage_error") {
    CHECK_THROWS_AS(fiber::task_group(), fiber::usage_error);  // no parent
    CHECK_THROWS_AS(fiber::with_task_group([](fiber::task_group&) {}), fiber::usage_error);
    on_each_worker_count([] {
        fiber::task_group group;
        auto stranger = fiber::spawn([&] { group.join(); });
        CHECK_THROWS_AS(stranger.get(), fiber::usage_error);
        group.join();
        CHECK_THROWS_AS(group.join(), fiber::usage_error);

        fiber::task_group mine;
        std::thread([&] {
            fiber::run({.workers = 1}, [&] {
                CHECK_THROWS_AS((void)mine.spawn([held = tracked(1)] {}), fiber::usage_error);  // another runtime
            });
            CHECK_THROWS_AS((void)mine.spawn([held = tracked(1)] {}), fiber::usage_error);  // none at all
        }).join();
        CHECK(tracked::live() == 0);
        mine.join();
    });
}
