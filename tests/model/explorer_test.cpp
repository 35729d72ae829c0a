// The explorer against scenarios whose outcome is known: what is right must pass, and what is broken must be found.
#include "tests/model/explorer.hpp"

#include <array>
#include <cstdint>
#include <doctest/doctest.h>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/model/expect.hpp"
#include "tests/support/seed.hpp"

namespace {

using model::memory;
using model::report;
using model::scenario;
using std::memory_order;

constexpr memory_order relaxed = memory_order::relaxed;
constexpr memory_order acquire = memory_order::acquire;
constexpr memory_order release = memory_order::release;
constexpr memory_order seq_cst = memory_order::seq_cst;

// Two threads announce themselves, then look for each other. Both missing each other is the outcome to exclude.
auto dekker(memory_order announce) {
    return [announce](scenario& s) {
        struct shared {
            model::atomic<int> here[2];
            model::atomic<int> alone{0};
        };
        auto& both = s.make<shared>();
        for (int self = 0; self < 2; ++self) {
            s.thread(self == 0 ? "left" : "right", [&both, self, announce] {
                both.here[self].store(1, announce);
                if (both.here[1 - self].load(seq_cst) == 0) both.alone.fetch_add(1, relaxed);
            });
        }
        s.finally([&both] { model::check(both.alone.peek() < 2, "both missed each other"); });
    };
}

// Message passing: plain data, then a flag.
auto hand_over(memory_order store, memory_order load) {
    return [store, load](scenario& s) {
        struct shared {
            model::plain<int> data;
            model::atomic<int> ready{0};
        };
        auto& both = s.make<shared>();
        s.thread("writer", [&both, store] {
            both.data.set(42);
            both.ready.store(1, store);
        });
        s.thread("reader", [&both, load] {
            if (both.ready.load(load) == 1) model::check(both.data.get() == 42, "half a message");
        });
    };
}

// Looks first and sets later.
struct broken_lock {
    model::atomic<bool> held{false};
    void lock() {
        do {
            model::wait_until([this] { return !held.peek(); });
        } while (held.load(acquire));
        held.store(true, seq_cst);
    }
    void unlock() { held.store(false, release); }
};

template <class Lock>
void guarded_counter(scenario& s) {
    struct shared {
        Lock lock;
        model::plain<int> value{0};
    };
    auto& both = s.make<shared>();
    for (int i = 0; i < 2; ++i) {
        s.thread("adder", [&both] {
            for (int round = 0; round < 2; ++round) {
                both.lock.lock();
                both.value.set(both.value.get() + 1);
                both.lock.unlock();
            }
        });
    }
    s.finally([&both] { model::check(both.value.get() == 4, "an update was lost"); });
}

// Sleeps until a flag is set; `atomically`: looks at the flag and falls asleep in one step, as a futex does.
auto sleeper(bool atomically) {
    return [atomically](scenario& s) {
        struct shared {
            model::atomic<bool> set{false};
            model::sleepers futex;
        };
        auto& both = s.make<shared>();
        s.thread("sleeper", [&both, atomically] {
            if (!atomically && both.set.load(acquire)) return;
            both.futex.sleep_while([&both, atomically] { return !atomically || !both.set.peek(); });
        });
        s.thread("waker", [&both] {
            both.set.store(true, release);
            both.futex.wake();
        });
    };
}

// Threads of a few random operations on two words; an outcome is all that they read, and what is left in memory.
struct random_operation {
    unsigned kind;
    unsigned word;
    memory_order order;
};
using program = std::vector<std::vector<random_operation>>;

program random_program(fiber_test::random& random) {
    constexpr memory_order store_orders[] = {relaxed, release, seq_cst};
    program all(2 + random.below(2));
    for (auto& thread : all) {
        thread.resize(all.size() == 2 ? 3 : 1 + random.below(2));
        for (auto& each : thread) {
            each = {static_cast<unsigned>(random.below(6)), static_cast<unsigned>(random.below(2)),
                    store_orders[random.below(3)]};
        }
    }
    return all;
}

struct random_stage {
    model::atomic<unsigned> words[2];
    model::spin_lock lock;
    unsigned guarded = 0;
    std::uint64_t seen[3] = {};

    void run(const random_operation& what, unsigned thread, unsigned number) {
        unsigned expected = 0;
        auto& word = words[what.word];
        switch (what.kind) {
            case 0:
                return word.store(10 * thread + number, what.order);
            case 1:
                return note(thread, word.load(acquire));
            case 2:
                return note(thread, word.fetch_add(1, what.order));
            case 3:
                return note(thread, word.compare_exchange_strong(expected, 7));
            case 4:
                return model::asymmetric_barrier::heavy();
            default:
                lock.lock();
                guarded = 3 * guarded + thread;
                note(thread, guarded);
                lock.unlock();
        }
    }
    void note(unsigned thread, std::uint64_t value) { seen[thread] = 1000 * seen[thread] + value + 1; }
};

enum class memory_of_threads { complete, minimal };  // minimal: each says after each operation what it will need

auto run_program(const program& all, memory_of_threads kept, std::set<std::uint64_t>& outcomes) {
    return [&all, kept, &outcomes](scenario& s) {
        auto& shared = s.make<random_stage>();
        for (unsigned thread = 0; thread < all.size(); ++thread) {
            s.thread("random", [&shared, &all, kept, thread] {
                for (unsigned i = 0; i < all[thread].size(); ++i) {
                    shared.run(all[thread][i], thread, i + 1);
                    if (kept == memory_of_threads::minimal) model::forget_all_but(8 * shared.seen[thread] + i);
                }
            });
        }
        if (kept == memory_of_threads::minimal) s.describe_guarded([&shared] { return shared.guarded; });
        s.finally([&shared, &outcomes] {
            std::uint64_t outcome = shared.words[0].peek() * 1000 + shared.words[1].peek();
            for (const std::uint64_t each : shared.seen) outcome = outcome * 0x9e3779b97f4a7c15u + each;
            outcomes.insert(outcome);
        });
    };
}

}  // namespace

TEST_SUITE_BEGIN("model explorer");

TEST_CASE("a lost update is found, and a fetch_add passes") {
    const auto count = [](bool atomically) {
        return [atomically](scenario& s) {
            auto& counter = s.make<model::atomic<int>>(0);
            for (int i = 0; i < 3; ++i) {
                s.thread("adder", [&counter, atomically] {
                    if (atomically) {
                        counter.fetch_add(1, relaxed);
                    } else {
                        counter.store(counter.load(seq_cst) + 1, seq_cst);
                    }
                });
            }
            s.finally([&counter] { model::check(counter.peek() == 3, "an update was lost"); });
        };
    };
    model::must_pass(model::explore(count(true)));
    model::must_fail(model::explore(count(false)), "an update was lost");
}

TEST_CASE("Dekker with seq_cst stores passes; weaker stores are found, under store buffers only") {
    model::must_pass(model::explore(dekker(seq_cst)));
    model::must_fail(model::explore(dekker(release)), "both missed each other");
    model::must_fail(model::explore(dekker(relaxed)), "both missed each other");
    model::must_pass(model::explore({.stores = memory::interleaving}, dekker(relaxed)));
    model::must_pass(model::explore({.stores = memory::pso}, dekker(seq_cst)));
}

TEST_CASE("Dekker with a heavy barrier on one side passes, also when the other side stores again and again") {
    const auto half_dekker = [](bool barrier, int rounds) {
        return [=](scenario& s) {
            struct shared {
                model::atomic<int> asked{0};
                model::atomic<int> at{0};
                bool seen[4] = {};
                int found = -1;
            };
            auto& all = s.make<shared>();
            s.thread("often", [&all, rounds] {
                for (int i = 1; i <= rounds; ++i) {
                    all.at.store(i, release);
                    model::asymmetric_barrier::light();
                    all.seen[i] = all.asked.load(acquire);
                }
            });
            s.thread("seldom", [&all, barrier] {
                all.asked.store(1, release);
                if (barrier) model::asymmetric_barrier::heavy();
                all.found = all.at.load(acquire);
            });
            s.finally([&all, rounds] {
                for (int i = 1; i <= rounds; ++i) {
                    model::check(all.seen[i] || all.found >= i, "both missed each other");
                }
            });
        };
    };
    for (const memory stores : {memory::tso, memory::pso}) {
        model::must_pass(model::explore({.stores = stores}, half_dekker(true, 3)));
        model::must_fail(model::explore({.stores = stores}, half_dekker(false, 1)), "both missed each other");
    }
}

TEST_CASE("a message without release or acquire is a data race") {
    model::must_pass(model::explore(hand_over(release, acquire)));
    model::must_pass(model::explore(hand_over(seq_cst, seq_cst)));
    model::must_fail(model::explore(hand_over(relaxed, acquire)), "data race");
    model::must_fail(model::explore(hand_over(release, relaxed)), "data race");
}

TEST_CASE("stores to two places overtake each other under pso, unless the second is a release") {
    const auto pass = [](memory_order second) {
        return [second](scenario& s) {
            struct shared {
                model::atomic<int> data{0};
                model::atomic<int> ready{0};
            };
            auto& both = s.make<shared>();
            s.thread("writer", [&both, second] {
                both.data.store(42, relaxed);
                both.ready.store(1, second);
            });
            s.thread("reader", [&both] {
                if (both.ready.load(acquire) == 1) model::check(both.data.load(relaxed) == 42, "half a message");
            });
        };
    };
    model::must_pass(model::explore({.stores = memory::tso}, pass(relaxed)));
    model::must_fail(model::explore({.stores = memory::pso}, pass(relaxed)), "half a message");
    model::must_pass(model::explore({.stores = memory::pso}, pass(release)));
}

TEST_CASE("a thread reads its own buffer first, and others its stores in order") {
    model::must_pass(model::explore([](scenario& s) {
        auto& x = s.make<model::atomic<int>>(0);
        s.thread("writer", [&x] {
            for (int i = 1; i <= 3; ++i) {
                x.store(i, relaxed);
                model::check(x.load(relaxed) == i, "lost its own store");
            }
        });
        s.thread("reader", [&x] {
            const int first = x.load(relaxed);
            model::check(x.load(relaxed) >= first, "went back");
        });
    }));
}

TEST_CASE("a release sequence goes on through an RMW and ends at a relaxed store") {
    const auto chain = [](bool by_rmw) {
        return [by_rmw](scenario& s) {
            struct shared {
                model::plain<int> data;
                model::atomic<int> turn{0};
            };
            auto& both = s.make<shared>();
            s.thread("first", [&both] {
                both.data.set(1);
                both.turn.store(1, release);
            });
            s.thread("second", [&both, by_rmw] {
                model::wait_until([&both] { return both.turn.peek() == 1; });
                if (by_rmw) {
                    both.turn.fetch_add(1, relaxed);
                } else {
                    both.turn.store(2, relaxed);
                }
            });
            s.thread("third", [&both] {
                if (both.turn.load(acquire) == 2) both.data.set(3);
            });
        };
    };
    model::must_pass(model::explore(chain(true)));
    model::must_fail(model::explore(chain(false)), "data race");
}

TEST_CASE("a lock that tests and sets in two steps is found, the right one passes") {
    model::must_pass(model::explore(guarded_counter<model::spin_lock>));
    model::must_fail(model::explore(guarded_counter<broken_lock>), "data race");
}

TEST_CASE("deadlock is reported: locks taken in two orders, a wake that comes before the sleep") {
    const report crossed = model::explore([](scenario& s) {
        auto& locks = s.make<std::array<model::spin_lock, 2>>();
        for (unsigned self = 0; self < 2; ++self) {
            s.thread("crossed", [&locks, self] {
                locks[self].lock();
                locks[1 - self].lock();
                locks[1 - self].unlock();
                locks[self].unlock();
            });
        }
    });
    model::must_fail(crossed, "deadlock");
    model::must_pass(model::explore(sleeper(true)));
    model::must_fail(model::explore(sleeper(false)), "deadlock");
}

TEST_CASE("an endless loop is reported") {
    const report result = model::explore({.most_steps = 100}, [](scenario& s) {
        auto& never_set = s.make<model::atomic<bool>>(false);
        s.thread("spinner", [&never_set] {
            while (!never_set.load(acquire)) continue;
        });
    });
    model::must_fail(result, "livelock");
}

TEST_CASE("an exception that leaves a body is reported") {
    model::must_fail(model::explore([](scenario& s) { s.thread("thrower", [] { throw std::runtime_error("why"); }); }),
                     "why");
}

TEST_CASE("choose explores each alternative, together with each interleaving") {
    std::set<int> outcomes;
    const report result = model::explore([&outcomes](scenario& s) {
        auto& x = s.make<model::atomic<int>>(0);
        s.thread("adder", [&x] { x.fetch_add(10 * static_cast<int>(model::choose(3)), relaxed); });
        s.thread("doubler", [&x] { x.store(x.load(relaxed) + 1, seq_cst); });
        s.finally([&x, &outcomes] { outcomes.insert(x.peek()); });
    });
    model::must_pass(result);
    CHECK(outcomes == std::set<int>{1, 11, 21});
}

TEST_CASE("every outcome of independent writers and a reader is reached, pruned or not") {
    // The reader may see each of 3 x 3 combinations of how far the two writers are.
    for (const unsigned bound : {model::unlimited, 4u}) {
        std::set<int> outcomes;
        const report result = model::explore({.most_preemptions = bound}, [&outcomes](scenario& s) {
            struct shared {
                model::atomic<int> x{0};
                model::atomic<int> y{0};
                model::atomic<int> seen{0};
            };
            auto& all = s.make<shared>();
            s.thread("x", [&all] {
                for (int i = 1; i <= 2; ++i) all.x.store(i, release);
            });
            s.thread("y", [&all] {
                for (int i = 1; i <= 2; ++i) all.y.store(i, release);
            });
            s.thread("reader", [&all] {
                const int x = all.x.load(acquire);
                all.seen.store(10 * x + all.y.load(acquire), seq_cst);
            });
            s.finally([&all, &outcomes] { outcomes.insert(all.seen.peek()); });
        });
        model::must_pass(result);
        CHECK(outcomes == std::set<int>{0, 1, 2, 10, 11, 12, 20, 21, 22});
    }
}

TEST_CASE("pruning loses no outcome of random programs") {
    fiber_test::random random;
    for (int round = 0; round < 25 && !model::sanitized; ++round) {
        const program all = random_program(random);
        for (const memory stores : {memory::tso, memory::pso}) {
            std::set<std::uint64_t> expected;
            std::set<std::uint64_t> pruned;
            std::set<std::uint64_t> pruned_more;
            const auto minimal = memory_of_threads::minimal;
            const auto complete = memory_of_threads::complete;
            const report full =
                model::explore({.stores = stores, .prune = false}, run_program(all, complete, expected));
            const report some = model::explore({.stores = stores}, run_program(all, complete, pruned));
            const report few =
                model::explore({.stores = stores, .data_races = false}, run_program(all, minimal, pruned_more));
            REQUIRE((full.passed() && some.passed() && few.passed()));
            REQUIRE_MESSAGE(pruned == expected, "round " << round);
            REQUIRE_MESSAGE(pruned_more == expected, "round " << round);
            CHECK(some.executions <= full.executions);
        }
    }
}

TEST_CASE("an endless loop that forgets ends nothing, and hides nothing") {
    const auto spin = [](bool set) {
        return [set](scenario& s) {
            auto& flag = s.make<model::atomic<bool>>(false);
            s.thread("spinner", [&flag] {
                while (!flag.load(acquire)) model::forget_all_but(0);
                model::fail("the end of the loop was reached");
            });
            if (set) s.thread("setter", [&flag] { flag.store(true, release); });
        };
    };
    model::must_pass(model::explore({.data_races = false}, spin(false)));
    model::must_fail(model::explore({.data_races = false}, spin(true)), "the end of the loop");
}

TEST_CASE("a bound on preemptions finds what needs no more, and misses what does") {
    CHECK(
        model::explore({.stores = memory::interleaving, .most_preemptions = 0}, guarded_counter<broken_lock>).passed());
    model::must_fail(
        model::explore({.stores = memory::interleaving, .most_preemptions = 1}, guarded_counter<broken_lock>),
        "data race");
}

TEST_CASE("the schedule of a failure replays it, with a trace") {
    const auto setup = dekker(relaxed);
    const report found = model::explore(setup);
    REQUIRE(found.failed());
    const report again = model::replay({}, found.schedule, setup);
    CHECK(again.failure == found.failure);
    CHECK(again.schedule == found.schedule);
    CHECK(again.trace == found.trace);
    CHECK(again.trace.find("buffers #1: 1") != std::string::npos);
}

TEST_CASE("an exploration that is cut off does not pass") {
    const report result = model::explore({.most_executions = 3}, guarded_counter<model::spin_lock>);
    CHECK(result.verdict == model::verdict::gave_up);
}

TEST_SUITE_END();
