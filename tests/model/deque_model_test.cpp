// The deque explored exhaustively at capacities 1 and 2: each item leaves exactly once, and whole, whatever the owner
// does and whenever thieves come. Deques with one order weakened show that the exploration would tell.
#include <array>
#include <cstddef>
#include <doctest/doctest.h>
#include <string>
#include <vector>

#include "scheduler/queue/deque.hpp"
#include "tests/model/expect.hpp"
#include "tests/model/explorer.hpp"

namespace {

using fiber::engine::steal_verdict;
using fiber::engine::work_stealing_deque;
using model::memory;
using model::report;
using model::scenario;

constexpr std::size_t most_items = 6;

struct item {
    model::plain<int> payload{0};
    int times_taken = 0;

    void publish() { payload.set(1); }
    void run() {
        model::check(payload.get() == 1, "an item that was not whole");
        payload.set(2);  // two takers race here, too
        model::check(++times_taken == 1, "an item was taken twice");
    }
};

template <template <class> class Atomic, class Barrier>
struct stage {
    using deque = work_stealing_deque<item, Atomic, Barrier>;

    explicit stage(std::size_t capacity) : shared(deque::sharing::stealable, capacity) {}

    void push() {
        item& next = items[pushed++];
        next.publish();
        shared.push(&next);
        shared.share();
    }
    static void run(item* taken) {
        if (taken != nullptr) taken->run();
    }
    void run_if(bool removed, item* one) {
        if (removed) one->run();
    }
    // nullptr when nothing was pushed so long ago.
    item* pushed_before_last(std::size_t ago) { return pushed > ago ? &items[pushed - 1 - ago] : nullptr; }

    // Outside the threads.
    void check_each_left_once() {
        while (item* rest = shared.pop()) ++rest->times_taken;
        for (std::size_t i = 0; i < pushed; ++i) {
            model::check(items[i].times_taken != 0, "an item was lost");
            model::check(items[i].times_taken == 1, "an item was taken twice");
        }
    }

    deque shared;
    std::array<item, most_items> items;
    std::size_t pushed = 0;
};

// What the owner does, one letter each.
//   u push, and share if somebody has asked   a ask   o pop   O pop_if(the newest)   t take   T take_if(what peek_top
//   sees)   R, r remove_recent (the second, third last that was pushed)
template <class Stage>
void own(Stage& all, const std::string& script) {
    for (const char letter : script) {
        item* one = nullptr;
        switch (letter) {
            case 'u':
                all.push();
                break;
            case 'a':
                all.shared.ask();
                break;
            case 'o':
                all.run(all.shared.pop());
                break;
            case 'O':
                one = all.pushed_before_last(0);
                if (one != nullptr) all.run_if(all.shared.pop_if(one), one);
                break;
            case 'R':
            case 'r':
                one = all.pushed_before_last(letter == 'R' ? 1 : 2);
                if (one != nullptr) all.run_if(all.shared.remove_recent(one), one);
                break;
            case 't':
                all.run(all.shared.take());
                break;
            case 'T':
                one = all.shared.peek_top();
                if (one != nullptr) all.run_if(all.shared.take_if(one), one);
                break;
        }
    }
}

// What a thief does: s steal   a ask   e expose
template <class Stage>
void rob(Stage& all, const std::string& script) {
    for (const char letter : script) {
        if (letter == 's') all.run(all.shared.steal().item);
        if (letter == 'a') all.shared.ask();
        if (letter == 'e') all.shared.expose();
    }
}

// An owner and thieves who follow their scripts.
template <template <class> class Atomic = model::atomic, class Barrier = model::asymmetric_barrier>
auto robbery(std::string script, std::size_t capacity, std::vector<std::string> thieves) {
    return [=](scenario& s) {
        auto& all = s.make<stage<Atomic, Barrier>>(capacity);
        s.thread("owner", [&all, &script] { own(all, script); });
        for (const std::string& each : thieves) s.thread("thief", [&all, &each] { rob(all, each); });
        s.finally([&all] { all.check_each_left_once(); });
    };
}

// A thief who steals half into a deque of its own and then works there, and a second one who steals from the first.
auto steal_half(std::string script, std::size_t thief_capacity) {
    return [=](scenario& s) {
        using real = stage<model::atomic, model::asymmetric_barrier>;
        auto& all = s.make<real>(2);
        auto& second = s.make<real>(thief_capacity);
        s.thread("owner", [&all, &script] { own(all, script); });
        s.thread("thief", [&all, &second] {
            all.shared.expose();
            all.run(all.shared.steal_half(second.shared).item);
            all.run(second.shared.pop());
        });
        s.thread("thief's thief", [&all, &second] {
            second.shared.expose();
            all.run(second.shared.steal().item);
        });
        s.finally([&all, &second] {
            while (item* rest = second.shared.pop()) ++rest->times_taken;
            all.check_each_left_once();
        });
    };
}

// Deques that lack one thing.
struct no_barrier {
    static void light() noexcept {}
    static void heavy() noexcept {}
};

template <class T>
struct release_for_seq_cst : model::atomic<T> {
    using model::atomic<T>::atomic;
    void store(T value, std::memory_order order = std::memory_order_seq_cst) {
        model::atomic<T>::store(value, order == std::memory_order_seq_cst ? std::memory_order_release : order);
    }
};

template <class T>
struct relaxed_stores : model::atomic<T> {
    using model::atomic<T>::atomic;
    void store(T value, std::memory_order) { model::atomic<T>::store(value, std::memory_order_relaxed); }
};

template <class T>
struct relaxed_for_release : model::atomic<T> {
    using model::atomic<T>::atomic;
    void store(T value, std::memory_order order = std::memory_order_seq_cst) {
        model::atomic<T>::store(value, order == std::memory_order_release ? std::memory_order_relaxed : order);
    }
};

template <class T>
struct relaxed_loads : model::atomic<T> {
    using model::atomic<T>::atomic;
    T load(std::memory_order) const { return model::atomic<T>::load(std::memory_order_relaxed); }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) {
        return model::atomic<T>::compare_exchange_strong(expected, desired, std::memory_order_release,
                                                         std::memory_order_relaxed);
    }
};

template <class T>
struct cas_that_overwrites : model::atomic<T> {
    using model::atomic<T>::atomic;
    bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) {
        if (model::atomic<T>::load(std::memory_order_acquire) != expected) return false;
        model::atomic<T>::store(desired, std::memory_order_seq_cst);
        return true;
    }
};

}  // namespace

TEST_SUITE_BEGIN("deque model");

TEST_CASE("owner at the bottom, one thief at the top") {
    model::must_pass(model::explore(robbery("uuoo", 2, {"ess"})));
    model::must_pass(model::explore(robbery("uuouoo", 2, {"aess"})));
    model::must_pass(model::explore(robbery("uOuuOO", 2, {"eses"})));
}

TEST_CASE("owner at the top, one thief beside it") {
    model::must_pass(model::explore(robbery("uutt", 2, {"ess"})));
    model::must_pass(model::explore(robbery("uutuTT", 2, {"eses"})));
}

TEST_CASE("the owner shares, a thief takes, and the owner lowers the border again") {
    model::must_pass(model::explore(robbery("uuuooo", 4, {"ass"})));
    model::must_pass(model::explore(robbery("uuuauoott", 4, {"ss"})));
    model::must_pass(model::explore(robbery("uuuauouo", 4, {"s", "s"})));
    model::must_pass(model::explore(robbery("uuuuuauooooo", 8, {"ss"})));
    model::must_pass(model::explore({.stores = memory::pso}, robbery("uuuoto", 4, {"ass"})));
}

TEST_CASE("the ring wraps around and grows under a thief's hands") {
    model::must_pass(model::explore(robbery("uuuo", 1, {"ess"})));
    model::must_pass(model::explore(robbery("utuuut", 1, {"ess"})));
    model::must_pass(model::explore(robbery("ututut", 1, {"ess"})));
    model::must_pass(model::explore({.stores = memory::pso}, robbery("utuuuo", 1, {"es"})));
}

TEST_CASE("two thieves") {
    model::must_pass(model::explore(robbery("uuot", 2, {"es", "s"})));
    model::must_pass(model::explore(robbery("uuot", 2, {"es", "e"})));
    model::must_pass(model::explore(robbery("uuOT", 2, {"es", "as"})));
    model::must_pass(model::explore(robbery("uuuot", 2, {"ess", "s"})));
    model::must_pass(model::explore({.stores = memory::pso}, robbery("uuuoo", 1, {"es", "s"})));
}

TEST_CASE("an entry is removed from the middle while thieves come from the top") {
    model::must_pass(model::explore(robbery("uuR", 2, {"es"})));
    model::must_pass(model::explore(robbery("uuuRoo", 2, {"ess"})));
    model::must_pass(model::explore(robbery("uuurRo", 2, {"ass"})));
    model::must_pass(model::explore(robbery("uuRut", 2, {"es", "s"})));
    model::must_pass(model::explore({.stores = memory::pso}, robbery("uuurot", 1, {"es"})));
}

TEST_CASE("every sequence of five owner's operations against a thief") {
    constexpr const char* letters = "uoOTR";
    constexpr unsigned stride = model::sanitized ? 23 : 1;
    std::size_t states = 0;
    for (unsigned number = 0; number < 5 * 5 * 5 * 5; number += stride) {
        std::string script = "u";
        for (unsigned rest = number, i = 0; i < 4; ++i, rest /= 5) script += letters[rest % 5];
        const report result = model::explore(robbery(script, 1, {"es"}));
        INFO(script);
        model::must_pass(result);
        states += result.states;
    }
    CHECK(states > 100'000 / stride);
}

TEST_CASE("steal_half: the rest goes through the thief's own deque, from which others steal") {
    model::must_pass(model::explore(steal_half("uuuo", 2)));
    model::must_pass(model::explore(steal_half("uuuot", 1)));
    model::must_pass(model::explore({.stores = memory::pso}, steal_half("uuut", 2)));
}

TEST_CASE("a deque that lacks one order is found") {
    SUBCASE("P2: the owner's look at top overtakes its claim") {
        model::must_fail(model::explore(robbery<release_for_seq_cst>("uuuuooo", 4, {"ass"})));
    }
    SUBCASE("P7: so does its look before it moves entries") {
        model::must_fail(model::explore(robbery<release_for_seq_cst>("uuuR", 2, {"ess"})));
    }
    SUBCASE("P1: bottom is no release") { model::must_fail(model::explore(robbery<relaxed_stores>("u", 2, {"es"}))); }
    SUBCASE("P1: the thief does not acquire") {
        model::must_fail(model::explore(robbery<relaxed_loads>("u", 2, {"es"})));
    }
    SUBCASE("P3: top is set in two steps") {
        model::must_fail(model::explore(robbery<cas_that_overwrites>("uuto", 2, {"es"})));
        model::must_fail(model::explore(robbery<cas_that_overwrites>("u", 2, {"es", "s"})));
    }
    SUBCASE("P5: the new ring is seen before its slots") {
        model::must_pass(model::explore({.stores = memory::pso}, robbery("uu", 1, {"es"})));
        model::must_fail(model::explore({.stores = memory::pso}, robbery<relaxed_for_release>("uu", 1, {"es"})));
    }
    SUBCASE("P8: without the heavy barrier the owner pops what a thief exposes") {
        model::must_fail(model::explore(robbery<model::atomic, no_barrier>("uo", 2, {"es"})));
        model::must_fail(model::explore(robbery<model::atomic, no_barrier>("uuuR", 2, {"ess"})));
    }
    SUBCASE("P10: and takes it") {
        model::must_fail(model::explore(robbery<model::atomic, no_barrier>("ut", 2, {"es"})));
    }
}

TEST_SUITE_END();
