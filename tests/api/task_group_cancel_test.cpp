// Task groups that are cancelled, nested, or both: rows 19 and 20 of the semantics.
#include <stdexcept>

#include "tests/api/thrown.hpp"
#include "tests/api/virtual_time.hpp"
#include "tests/api/waits_at_its_end.hpp"

using namespace fiber::test;

namespace {

[[noreturn]] void fail(const char* text) { throw std::runtime_error(text); }

}  // namespace

TEST_CASE("row 19: a second cancel while the group is waited for does not stop the waiting") {
    in_virtual_time([] {
        std::atomic<int> cancels_seen{0};
        std::atomic<bool> child_ended{false};
        std::atomic<bool> left{false};
        auto parent = fiber::spawn([&] {
            try {
                fiber::task_group group;
                group.spawn([&] {
                    try {
                        park_until_cancelled();
                    } catch (const fiber::cancelled&) {
                        ++cancels_seen;
                        fiber::sleep_for(1s);
                        child_ended = true;
                        throw;
                    }
                });
                group.join();
            } catch (const fiber::cancelled&) {
                left = true;
                throw;
            }
        });
        settle();
        CHECK(parent.cancel());
        fiber::sleep_for(100ms);
        CHECK(parent.cancel());
        fiber::sleep_for(100ms);
        CHECK_FALSE(left);
        CHECK(cancels_seen == 1);
        CHECK_THROWS_AS(parent.get(), fiber::cancelled);
        CHECK(child_ended);
        CHECK(cancels_seen == 1);
        CHECK(parent.cancelling() == 2);
    });
}

TEST_CASE("row 19: the exceptions of nested groups are nested") {
    on_each_worker_count([] {
        const auto outer = group_thrown_by([] {
            fiber::with_task_group([](fiber::task_group& group) {
                group.spawn(
                    [] { fiber::with_task_group([](fiber::task_group& inner) { inner.spawn(fail, "inner"); }); });
            });
        });
        REQUIRE(outer);
        REQUIRE(outer->exceptions().size() == 1);
        const auto inner = group_thrown_by([&] { std::rethrow_exception(outer->exceptions()[0]); });
        REQUIRE(inner);
        REQUIRE(inner->exceptions().size() == 1);
        CHECK_THROWS_WITH_AS(std::rethrow_exception(inner->exceptions()[0]), "inner", std::runtime_error);
    });
}

TEST_CASE("row 19: a group in the body of another: its exceptions are nested in the outer's") {
    on_each_worker_count([] {
        const auto outer = group_thrown_by([] {
            fiber::with_task_group([](fiber::task_group&) {
                fiber::with_task_group([](fiber::task_group& inner) { inner.spawn(fail, "inner"); });
            });
        });
        REQUIRE(outer);
        REQUIRE(outer->exceptions().size() == 1);
        CHECK_THROWS_AS(std::rethrow_exception(outer->exceptions()[0]), fiber::exception_group);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 19: an inner group that the outer cancels adds nothing") {
    on_each_worker_count([] {
        std::atomic<bool> inner_cancelled{false};
        const auto check = [&](auto open_inner_group) {
            inner_cancelled = false;
            const auto outer = group_thrown_by(
                [&] { fiber::with_task_group([&](fiber::task_group& group) { open_inner_group(group); }); });
            REQUIRE(outer);
            CHECK(outer->exceptions().size() == 1);
            CHECK_THROWS_WITH_AS(std::rethrow_exception(outer->exceptions()[0]), "outer", std::runtime_error);
            CHECK(inner_cancelled);
            CHECK(fiber::this_fiber::cancelling() == 0);
            fiber::yield();
        };
        const auto inner = [&] {
            try {
                fiber::with_task_group([](fiber::task_group& nested) {
                    nested.spawn(park_until_cancelled);
                    nested.spawn(park_until_cancelled);
                });
            } catch (const fiber::cancelled&) {
                inner_cancelled = true;
                throw;
            }
        };
        check([&](fiber::task_group& group) {  // in a task of the outer group
            group.spawn(inner);
            settle();
            group.spawn(fail, "outer");
        });
        check([&](fiber::task_group& group) {  // in its body
            group.spawn([&] {
                settle();
                fail("outer");
            });
            inner();
        });
    });
}

// The first failure of the inner group comes while the outer is already cancelling it.
TEST_CASE("row 19: an inner group that fails in its clean-up nests what it failed with") {
    on_each_worker_count([] {
        const auto outer = group_thrown_by([] {
            fiber::with_task_group([](fiber::task_group& group) {
                group.spawn([] {
                    fiber::with_task_group([](fiber::task_group& nested) {
                        nested.spawn([] {
                            try {
                                park_until_cancelled();
                            } catch (const fiber::cancelled&) {
                                fail("inner");
                            }
                        });
                    });
                });
                settle();
                group.spawn(fail, "outer");
            });
        });
        REQUIRE(outer);
        REQUIRE(outer->exceptions().size() == 2);
        CHECK_THROWS_WITH_AS(std::rethrow_exception(outer->exceptions()[0]), "outer", std::runtime_error);
        CHECK_THROWS_AS(std::rethrow_exception(outer->exceptions()[1]), fiber::exception_group);
    });
}

TEST_CASE("row 20: after the group's own cancel of its parent the count is what it was") {
    on_each_worker_count([] {
        auto parent = fiber::spawn([] {
            for (const unsigned before : {0U, 1U}) {
                CHECK(fiber::this_fiber::cancelling() == before);
                std::atomic<bool> body_cancelled{false};
                CHECK_THROWS_AS(fiber::with_task_group([&](fiber::task_group& group) {
                                    group.spawn(fail, "first");
                                    try {
                                        park_until_cancelled();
                                    } catch (const fiber::cancelled&) {
                                        body_cancelled = true;
                                        CHECK(fiber::this_fiber::cancelling() == before + 1);
                                        throw;
                                    }
                                }),
                                fiber::exception_group);
                CHECK(body_cancelled);
                CHECK(fiber::this_fiber::cancelling() == before);
                fiber::yield();  // nothing is left to be delivered
                if (before == 1) return;
                fiber::this_fiber::cancel();
                CHECK_THROWS_AS(fiber::yield(), fiber::cancelled);  // seen, and still counted
            }
        });
        parent.wait();
        CHECK(parent.exception() == nullptr);
    });
}

TEST_CASE("row 20: a body that swallows the group's cancel, or never sees it, is left with nothing pending") {
    on_each_worker_count([] {
        CHECK_THROWS_AS(fiber::with_task_group([](fiber::task_group& group) {
                            group.spawn(fail, "first");
                            try {
                                park_until_cancelled();
                            } catch (const fiber::cancelled&) {
                            }
                        }),
                        fiber::exception_group);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
        CHECK_THROWS_AS(fiber::with_task_group([](fiber::task_group& group) {
                            auto failing = group.spawn(fail, "first");
                            fiber::uncancellable([&] { failing.wait(); });
                        }),
                        fiber::exception_group);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 20: an outside cancel while the group aborts stays counted, and is delivered again") {
    in_virtual_time([] {
        std::atomic<bool> group_thrown{false};
        std::atomic<bool> delivered{false};
        auto parent = fiber::spawn([&] {
            try {
                fiber::with_task_group([](fiber::task_group& group) {
                    group.spawn([] {
                        try {
                            park_until_cancelled();
                        } catch (const fiber::cancelled&) {
                            fiber::sleep_for(1s);
                            throw;
                        }
                    });
                    group.spawn([] {
                        fiber::sleep_for(10ms);
                        fail("first");
                    });
                    park_until_cancelled();
                });
            } catch (const fiber::exception_group& group) {
                group_thrown = group.exceptions().size() == 1;
                CHECK(fiber::this_fiber::cancelling() == 1);
            }
            try {
                fiber::yield();
            } catch (const fiber::cancelled&) {
                delivered = true;
                throw;
            }
        });
        fiber::sleep_for(500ms);
        CHECK(parent.cancel());  // the group waits for the clean-up
        CHECK_THROWS_AS(parent.get(), fiber::cancelled);
        CHECK(group_thrown);
        CHECK(delivered);
        CHECK(parent.cancelling() == 1);
    });
}

TEST_CASE("row 20: an outside cancel whose clean-up fails: the group is thrown, the cancel delivered again") {
    on_each_worker_count([] {
        std::atomic<bool> group_thrown{false};
        auto parent = fiber::spawn([&] {
            try {
                fiber::with_task_group([](fiber::task_group& group) {
                    group.spawn([] {
                        try {
                            park_until_cancelled();
                        } catch (const fiber::cancelled&) {
                            fail("clean-up");
                        }
                    });
                    park_until_cancelled();
                });
            } catch (const fiber::exception_group&) {
                group_thrown = true;
            }
            park_until_cancelled();
        });
        settle();
        CHECK(parent.cancel());
        CHECK_THROWS_AS(parent.get(), fiber::cancelled);
        CHECK(group_thrown);
        CHECK(parent.cancelling() == 1);
    });
}

TEST_CASE("a time limit around a group, and one inside it") {
    in_virtual_time([] {
        std::atomic<int> cleaned_up{0};
        const auto cleans_up = [&] {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
                ++cleaned_up;
                throw;
            }
        };
        CHECK_THROWS_AS(
            fiber::with_timeout(
                10ms, [&] { fiber::with_task_group([&](fiber::task_group& group) { group.spawn(cleans_up); }); }),
            fiber::timeout_error);
        CHECK(cleaned_up == 1);
        const auto thrown = group_thrown_by([&] {
            fiber::with_task_group([&](fiber::task_group& group) {
                group.spawn(cleans_up);
                fiber::with_timeout(10ms, park_until_cancelled);
            });
        });
        REQUIRE(thrown);
        CHECK_THROWS_AS(std::rethrow_exception(thrown->exceptions()[0]), fiber::timeout_error);
        CHECK(cleaned_up == 2);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("failures, cancels and ends that race leave counts and memory whole") {
    on_each_worker_count([] {
        for (int round = 0; round < scaled(100); ++round) {
            auto parent = fiber::spawn([round] {
                try {
                    fiber::with_task_group([round](fiber::task_group& group) {
                        for (int i = 0; i < 6; ++i) {
                            group.spawn([i, round, held = tracked(i)] {
                                for (int turn = 0; turn < (i + round) % 4; ++turn) fiber::yield();
                                if (i % 3 == 0) fail("one of several");
                            });
                        }
                        fiber::yield();
                    });
                } catch (const fiber::exception_group&) {
                }
                fiber::this_fiber::check_cancelled();
            });
            for (int turn = 0; turn < round % 5; ++turn) fiber::yield();
            const bool asked = parent.cancel();
            parent.wait();
            CHECK(parent.cancelled() == asked);
            CHECK(parent.cancelling() == (asked ? 1 : 0));
        }
        CHECK(tracked::live() == 0);
    });
}

TEST_CASE(
    "row 17: the callable that a group refuses is destroyed on the caller, who may wait for that though cancelled") {
    on_each_worker_count([] {
        destroys_though_cancelled([](auto callable) {
            fiber::task_group group;
            group.join();
            fiber::this_fiber::cancel();
            CHECK_THROWS_AS(group.spawn(std::move(callable)), fiber::usage_error);
        });
    });
}
