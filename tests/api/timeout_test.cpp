// with_timeout: rows 13 to 16 of the semantics. wait_for is in wait_for_test.cpp.
#include <stdexcept>

#include "tests/api/virtual_time.hpp"

using namespace fiber::test;

namespace {

std::chrono::steady_clock::time_point after(std::chrono::nanoseconds delay) {
    return std::chrono::steady_clock::time_point(virtual_now() + delay);
}

}  // namespace

TEST_CASE("row 10: a time-out waits for the clean-up and throws timeout_error, the cancellation nested") {
    in_virtual_time([] {
        const auto start = virtual_now();
        bool cleaned_up = false;
        CHECK(throws_with_cancellation_nested<fiber::timeout_error>([&] {
            fiber::with_timeout(100ms, [&] {
                try {
                    park_until_cancelled();
                } catch (const fiber::cancelled&) {
                    fiber::sleep_for(50ms);
                    cleaned_up = true;
                    throw;
                }
            });
        }));
        CHECK(cleaned_up);
        CHECK(took(start, 150ms));
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();  // nothing is left to be delivered
    });
}

TEST_CASE("row 13: a body that ends in time gives its value, whatever it is") {
    on_each_worker_count([] {
        CHECK(fiber::with_timeout(10s, [] { return 7; }) == 7);
        CHECK(fiber::with_timeout(10s, [](fiber::timeout_scope&) { return std::string("text"); }) == "text");
        int place = 1;
        fiber::with_timeout(10s, [&]() -> int& { return place; }) = 2;
        CHECK(place == 2);
        CHECK(*fiber::with_timeout(10s, [] { return std::make_unique<int>(3); }) == 3);
        fiber::with_timeout(10s, [] { fiber::yield(); });
        struct pinned {
            explicit pinned(int v) : value(v) {}
            pinned(pinned&&) = delete;
            int value;
        };
        CHECK(fiber::with_timeout(10s, [] { return pinned(4); }).value == 4);
    });
}

TEST_CASE("row 13: none is off") {
    in_virtual_time([] {
        const auto start = virtual_now();
        fiber::with_timeout(std::nullopt, [](fiber::timeout_scope& scope) {
            fiber::sleep_for(1h);
            CHECK_FALSE(scope.when());
            CHECK_FALSE(scope.expired());
        });
        std::optional<std::chrono::milliseconds> limit;
        fiber::with_timeout(limit, [] { fiber::sleep_for(1h); });
        CHECK(took(start, 2h));
        limit = 10ms;
        CHECK_THROWS_AS(fiber::with_timeout(limit, [] { fiber::sleep_for(1h); }), fiber::timeout_error);
    });
}

TEST_CASE("row 13: zero or past fires at the first cancellation point, and a body that never waits completes") {
    on_each_worker_count([] {
        for (const auto limit : {0s, -1s, std::chrono::seconds::min()}) {
            CHECK(fiber::with_timeout(limit, [] { return 1; }) == 1);
            bool reached = false;
            CHECK_THROWS_AS(fiber::with_timeout(limit,
                                                [&] {
                                                    reached = true;
                                                    fiber::yield();
                                                    reached = false;
                                                }),
                            fiber::timeout_error);
            CHECK(reached);
            CHECK(fiber::this_fiber::cancelling() == 0);
        }
        CHECK(fiber::with_timeout(std::chrono::steady_clock::now() - 1s, [] { return 2; }) == 2);
        CHECK_THROWS_AS(fiber::with_timeout(std::chrono::steady_clock::now() - 1s, [] { fiber::yield(); }),
                        fiber::timeout_error);
        CHECK_THROWS_AS(fiber::with_timeout(std::chrono::system_clock::now() - 1h, [] { fiber::yield(); }),
                        fiber::timeout_error);
        fiber::yield();
    });
}

TEST_CASE("row 13: a body that computes past its limit completes and is not marked") {
    on_each_worker_count([] {
        const int value = fiber::with_timeout(1ms, [] {
            const auto limit = std::chrono::steady_clock::now() + 5ms;
            while (std::chrono::steady_clock::now() < limit) {
            }
            return 5;
        });
        CHECK(value == 5);
        fiber::yield();
        CHECK(fiber::this_fiber::cancelling() == 0);
    });
}

TEST_CASE("row 14: of nested scopes with equal deadlines the outermost throws, and both say expired") {
    in_virtual_time([] {
        const auto when = after(100ms);
        bool inner_threw = false;
        bool inner_expired = false;
        bool outer_expired = false;
        CHECK_THROWS_AS(fiber::with_timeout(when,
                                            [&](fiber::timeout_scope& outer) {
                                                try {
                                                    fiber::with_timeout(when, [&](fiber::timeout_scope& inner) {
                                                        try {
                                                            park_until_cancelled();
                                                        } catch (const fiber::cancelled&) {
                                                            inner_expired = inner.expired();
                                                            throw;
                                                        }
                                                    });
                                                } catch (const fiber::timeout_error&) {
                                                    inner_threw = true;
                                                } catch (const fiber::cancelled&) {
                                                    outer_expired = outer.expired();
                                                    fiber::yield();  // one cancellation stands for both
                                                    throw;
                                                }
                                            }),
                        fiber::timeout_error);
        CHECK_FALSE(inner_threw);
        CHECK(inner_expired);
        CHECK(outer_expired);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

// The outer timer stands in the queue of a worker that computes: nobody expires it in time. The inner one expires on
// another worker, and must not throw what is the outer's to throw.
TEST_CASE("row 14: the outermost throws even if its timer is late") {
    for_each_worker_count([](unsigned workers) {
        runtime_fixture fixture(workers);
        fixture.run([] {
            for (int round = 0; round < scaled(50); ++round) {
                const auto when = std::chrono::steady_clock::now() + 500us;
                bool inner_threw = false;
                CHECK_THROWS_AS(fiber::with_timeout(when,
                                                    [&] {
                                                        fiber::yield();  // perhaps on another worker from here on
                                                        try {
                                                            fiber::with_timeout(when, [] { park_until_cancelled(); });
                                                        } catch (const fiber::timeout_error&) {
                                                            inner_threw = true;
                                                        }
                                                    }),
                                fiber::timeout_error);
                CHECK_FALSE(inner_threw);
                CHECK(fiber::this_fiber::cancelling() == 0);
                auto busy = fiber::spawn([] { fiber::yield(); });
                busy.get();
            }
        });
    });
}

TEST_CASE("row 14: an inner timeout_error that was caught does not disarm the outer") {
    in_virtual_time([] {
        const auto start = virtual_now();
        bool inner = false;
        CHECK_THROWS_AS(fiber::with_timeout(100ms,
                                            [&] {
                                                try {
                                                    fiber::with_timeout(50ms, [] { park_until_cancelled(); });
                                                } catch (const fiber::timeout_error&) {
                                                    inner = true;
                                                }
                                                park_until_cancelled();
                                            }),
                        fiber::timeout_error);
        CHECK(inner);
        CHECK(took(start, 100ms));
    });
}

TEST_CASE("row 14: an outer expiry goes through an inner scope untouched") {
    in_virtual_time([] {
        bool inner_saw_cancelled = false;
        CHECK_THROWS_AS(fiber::with_timeout(10ms,
                                            [&] {
                                                try {
                                                    fiber::with_timeout(1h, [] { park_until_cancelled(); });
                                                } catch (const fiber::cancelled&) {
                                                    inner_saw_cancelled = true;
                                                    throw;
                                                }
                                            }),
                        fiber::timeout_error);
        CHECK(inner_saw_cancelled);
    });
}

TEST_CASE("row 15: another exception that the body throws as it expires goes on") {
    in_virtual_time([] {
        CHECK_THROWS_AS(fiber::with_timeout(10ms,
                                            [] {
                                                try {
                                                    park_until_cancelled();
                                                } catch (const fiber::cancelled&) {
                                                    throw std::runtime_error("clean-up failed");
                                                }
                                            }),
                        std::runtime_error);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 15: a cancel from outside wins over an expiry") {
    in_virtual_time([] {
        bool timed_out = false;
        auto task = fiber::spawn([&] {
            try {
                fiber::with_timeout(10ms, [&] {
                    try {
                        park_until_cancelled();
                    } catch (const fiber::cancelled&) {
                        fiber::this_fiber::cancel("from outside");  // while the expiry is being handled
                        throw;
                    }
                });
            } catch (const fiber::timeout_error&) {
                timed_out = true;
            }
        });
        CHECK_THROWS_AS(task.get(), fiber::cancelled);
        CHECK(task.cancelled());
        CHECK(task.cancelling() == 1);
        CHECK_FALSE(timed_out);
    });
}

TEST_CASE("row 15: requests that were there on entry do not count") {
    in_virtual_time([] {
        auto task = fiber::spawn([] {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
            }
            CHECK(fiber::this_fiber::cancelling() == 1);
            CHECK_THROWS_AS(fiber::with_timeout(10ms, [] { park_until_cancelled(); }), fiber::timeout_error);
            CHECK(fiber::this_fiber::cancelling() == 1);
            CHECK(fiber::with_timeout(0s, [] { return 1; }) == 1);
            fiber::yield();  // the expiry that was not delivered is gone
            return 1;
        });
        settle();
        task.cancel();
        CHECK(task.get() == 1);
    });
}

TEST_CASE("row 15: a request that is pending on entry survives an expiry that nobody saw") {
    on_each_worker_count([] {
        auto task = fiber::spawn([] {
            fiber::this_fiber::cancel();
            CHECK(fiber::with_timeout(0s, [] { return 1; }) == 1);
            CHECK(fiber::this_fiber::cancelling() == 1);
            CHECK_THROWS_AS(fiber::yield(), fiber::cancelled);
        });
        task.wait();
        CHECK_FALSE(task.cancelled());
    });
}

TEST_CASE("row 15: a swallowed cancel ends the block normally, expired") {
    in_virtual_time([] {
        const bool expired = fiber::with_timeout(10ms, [](fiber::timeout_scope& scope) {
            CHECK_FALSE(scope.expired());
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
            }
            return scope.expired();
        });
        CHECK(expired);
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 15: an expiry that was not delivered disappears with its scope") {
    in_virtual_time([] {
        fiber::uncancellable([] { fiber::with_timeout(10ms, [] { fiber::sleep_for(20ms); }); });
        CHECK(fiber::this_fiber::cancelling() == 0);
        fiber::yield();
    });
}

TEST_CASE("row 16: reschedule later, earlier, to none, to now") {
    in_virtual_time([] {
        auto start = virtual_now();
        CHECK_THROWS_AS(fiber::with_timeout(10ms,
                                            [](fiber::timeout_scope& scope) {
                                                fiber::sleep_for(5ms);
                                                scope.reschedule(100ms);
                                                park_until_cancelled();
                                            }),
                        fiber::timeout_error);
        CHECK(took(start, 105ms));

        start = virtual_now();
        CHECK_THROWS_AS(fiber::with_timeout(10s,
                                            [](fiber::timeout_scope& scope) {
                                                scope.reschedule(after(20ms));
                                                CHECK(scope.when() == after(20ms));
                                                park_until_cancelled();
                                            }),
                        fiber::timeout_error);
        CHECK(took(start, 20ms));

        start = virtual_now();
        fiber::with_timeout(10ms, [](fiber::timeout_scope& scope) {
            scope.reschedule(std::nullopt);
            CHECK_FALSE(scope.when());
            fiber::sleep_for(1s);
        });
        CHECK(took(start, 1s));

        start = virtual_now();
        CHECK_THROWS_AS(fiber::with_timeout(std::nullopt,
                                            [](fiber::timeout_scope& scope) {
                                                scope.reschedule(0s);
                                                park_until_cancelled();
                                            }),
                        fiber::timeout_error);
        CHECK(took(start, 0s));
    });
}

TEST_CASE("row 16: an expiry that nobody has seen yet is taken back by reschedule") {
    in_virtual_time([] {
        fiber::with_timeout(0s, [](fiber::timeout_scope& scope) {
            scope.reschedule(1s);
            fiber::sleep_for(10ms);
            CHECK_FALSE(scope.expired());
        });
        CHECK(fiber::this_fiber::cancelling() == 0);
    });
}

TEST_CASE("row 16: reschedule outside an active scope is a usage_error") {
    in_virtual_time([] {
        fiber::with_timeout(10ms, [](fiber::timeout_scope& scope) {
            try {
                park_until_cancelled();
            } catch (const fiber::cancelled&) {
            }
            CHECK_THROWS_AS(scope.reschedule(1s), fiber::usage_error);  // expired
        });
        fiber::with_timeout(10s, [](fiber::timeout_scope& scope) {
            auto other = fiber::spawn([&] { scope.reschedule(1s); });
            CHECK_THROWS_AS(other.get(), fiber::usage_error);
        });
    });
    CHECK_THROWS_AS(fiber::with_timeout(1s, [] {}), fiber::usage_error);  // no task to cancel
}

TEST_CASE("a time limit that is not a number is an error, one beyond the clock's range never comes") {
    in_virtual_time([] {
        const std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        bool ran = false;
        CHECK_THROWS_AS(fiber::with_timeout(nan, [&] { ran = true; }), std::invalid_argument);
        CHECK_FALSE(ran);
        fiber::with_timeout(
            10s, [&](fiber::timeout_scope& scope) { CHECK_THROWS_AS(scope.reschedule(nan), std::invalid_argument); });
        fiber::with_timeout(std::chrono::hours::max(), [] { fiber::sleep_for(1h); });
        const std::chrono::duration<double> infinite(std::numeric_limits<double>::infinity());
        fiber::with_timeout(infinite, [] { fiber::sleep_for(1h); });
    });
}

TEST_CASE("a time-out reaches what the body waits for") {
    in_virtual_time([] {
        bool child_saw_it = false;
        auto child = fiber::spawn([&] { note_cancellation(child_saw_it); });
        CHECK_THROWS_AS(fiber::with_timeout(10ms, [&] { child.get(); }), fiber::timeout_error);
        CHECK(child_saw_it);
        CHECK(child.cancelled());
        CHECK_THROWS_AS(fiber::with_timeout(10ms, [] { fiber::gather(park_until_cancelled, park_until_cancelled); }),
                        fiber::timeout_error);
    });
}

TEST_CASE("many time-outs expire at once, each in its own task") {
    on_each_worker_count([] {
        const int count = scaled(2000);
        std::atomic<int> timed_out{0};
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < count; ++i) {
            tasks.push_back(fiber::spawn([&, i] {
                try {
                    fiber::with_timeout(std::chrono::microseconds(500 + i % 7 * 100), park_until_cancelled);
                } catch (const fiber::timeout_error&) {
                    ++timed_out;
                }
                CHECK(fiber::this_fiber::cancelling() == 0);
            }));
        }
        fiber::gather(std::move(tasks));
        CHECK(timed_out == count);
    });
}

// The timer fires on one worker while the scope is left on another.
TEST_CASE("a scope that is left just as it expires leaves nothing behind") {
    on_each_worker_count([] {
        std::vector<fiber::task<void>> tasks;
        for (int i = 0; i < scaled(200); ++i) {
            tasks.push_back(fiber::spawn([i] {
                for (int round = 0; round < 20; ++round) {
                    try {
                        fiber::with_timeout(std::chrono::microseconds(20 + (i + round) % 30),
                                            [&] { fiber::sleep_for(std::chrono::microseconds(20 + i % 40)); });
                    } catch (const fiber::timeout_error&) {
                    }
                    CHECK(fiber::this_fiber::cancelling() == 0);
                    fiber::this_fiber::check_cancelled();
                }
            }));
        }
        fiber::gather(std::move(tasks));
    });
}
