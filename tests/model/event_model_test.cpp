// The library's event explored exhaustively.
//
// What must hold:
//   E1  Once it is set and stays set, nobody waits: no wake is lost. A violation is a deadlock.
//   E2  Whoever waited when it was set goes on, also if it is cleared at once; whoever comes after the clear() waits.
//   E3  Whoever gives up, by time-out or cancellation, keeps no other from going on.
//   E4  What was written before set() is seen by whoever it lets go on, who may destroy the event at once.
#include <array>
#include <doctest/doctest.h>

#include "fiber/cancelled.hpp"
#include "fiber/event.hpp"
#include "tests/model/caller.hpp"
#include "tests/model/expect.hpp"

namespace {

using model::a_while;
using model::caller;
using model::interruption;
using model::kind;
using model::many;
using model::scenario;

// An event, and who went on.
struct stage {
    caller& waits(scenario& s, kind what) {
        return model::add_caller(s, what, "waits", [this] {
            happened.wait();
            ++went_on;
        });
    }
    // Sees what was written before the event was set.
    void reads(scenario& s, kind what) {
        model::add_caller(s, what, "reads", [this] {
            happened.wait();
            model::check(news == 1, "set, and nothing to be seen");
            ++went_on;
        });
    }
    void writes(scenario& s) {
        s.thread("writes", [this] {
            news = 1;
            happened.set();
        });
    }
    caller& hurried(scenario& s, kind what, interruption how) {
        caller& made = model::add_caller(s, what, "hurried", [this, how] { wait_for_a_while(how); });
        return model::interrupt(s, made, how);
    }
    void wait_for_a_while(interruption how) {
        try {
            bool in_time = true;
            how == interruption::late ? static_cast<void>(in_time = happened.wait_for(a_while)) : happened.wait();
            in_time ? ++went_on : ++gave_up;
        } catch (const fiber::cancelled&) {
            ++gave_up;
        }
    }
    void sets(scenario& s) {
        s.thread("sets", [this] { happened.set(); });
    }

    fiber::event happened;
    fiber::engine::guarded<int> news = 0;
    int went_on = 0;
    int gave_up = 0;
};

auto one_reads(kind what) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        here.reads(s, what);
        here.writes(s);
        s.finally([&here] { model::check(here.went_on == 1 && here.happened.is_set(), "does not go on"); });
    };
}

auto two_read(kind what) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        for (int i = 0; i < 2; ++i) here.reads(s, what);
        here.writes(s);
        s.finally([&here] { model::check(here.went_on == 2, "does not go on"); });
    };
}

// Cleared at once: all the same, those go on that have begun to wait.
auto set_and_cleared(kind what, int waiting) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        auto& who = s.make<std::array<caller*, 2>>();
        for (int i = 0; i < waiting; ++i) who[i] = &here.waits(s, what);
        s.thread("sets and clears", [&here, &who, what, waiting] {
            for (int i = 0; i < waiting; ++i) {
                const auto& park = what == kind::fiber ? who[i]->park : who[i]->thread_park;
                model::wait_until([&park] { return park.waiting(); });
            }
            here.happened.set();
            here.happened.clear();
        });
        s.finally([&here, waiting] {
            model::check(here.went_on == waiting, "does not go on");
            model::check(!here.happened.is_set(), "set, and cleared since");
        });
    };
}

// One sets, another clears: one more set() lets everyone go on, whatever came first.
void set_cleared_and_set(scenario& s) {
    auto& here = s.make<stage>();
    here.waits(s, kind::fiber);
    s.thread("clears", [&here] { here.happened.clear(); });
    s.thread("sets twice", [&here] {
        here.happened.set();
        here.happened.set();
    });
    // Between the last set() and the wait there may be the clear(). Then it takes another.
    s.thread("sets at last", [&here] {
        (void)model::wait_until_or_stalled([&here] { return here.went_on == 1; });
        here.happened.set();
    });
    s.finally([&here] { model::check(here.went_on == 1, "does not go on"); });
}

void cleared_before(scenario& s) {
    auto& here = s.make<stage>();
    here.happened.set();
    here.happened.clear();
    here.hurried(s, kind::fiber, interruption::late);
    s.finally([&here] { model::check(here.gave_up == 1, "went on without being told"); });
}

auto one_gives_up(kind what, interruption how) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        here.hurried(s, what, how);
        here.waits(s, kind::fiber);
        here.sets(s);
        s.finally([&here] {
            model::check(here.went_on + here.gave_up == 2, "has not ended");
            model::check(here.went_on >= 1, "the patient one was not told");
        });
    };
}

void cancelled_alone(scenario& s) {
    auto& here = s.make<stage>();
    here.hurried(s, kind::fiber, interruption::cancelled);
    s.finally([&here] { model::check(here.gave_up == 1, "the cancellation was lost"); });
}

auto destroyed_by_who_waited(kind what) {
    return [=](scenario& s) {
        auto& happened = s.make<model::ends_when_told<fiber::event>>();
        model::add_caller(s, what, "waits", [&happened] {
            happened->wait();
            happened.end();
        });
        s.thread("sets", [&happened] { happened->set(); });
    };
}

void destroyed_by_who_looked(scenario& s) {
    auto& happened = s.make<model::ends_when_told<fiber::event>>();
    s.thread("looks", [&happened] {
        if (happened->is_set()) happened.end();
    });
    s.thread("sets", [&happened] { happened->set(); });
}

}  // namespace

TEST_SUITE_BEGIN("event model");

TEST_CASE("one waits, one sets") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(one_reads(what)));
        model::must_pass(model::explore({.stores = model::memory::pso}, one_reads(what)));
    }
}

TEST_CASE("two wait, one sets") {
    for (const kind what : {kind::fiber, kind::thread}) model::must_pass(model::explore(many, two_read(what)));
}

TEST_CASE("who waits goes on, also when it is cleared at once") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(set_and_cleared(what, 1)));
        model::must_pass(model::explore(many, set_and_cleared(what, 2)));
    }
    model::must_pass(model::explore(many, set_cleared_and_set));
}

TEST_CASE("who comes after the clear waits") { model::must_pass(model::explore(cleared_before)); }

TEST_CASE("who gives up keeps no other from going on") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(many, one_gives_up(what, interruption::late)));
    }
    for (const interruption how : {interruption::cancelled, interruption::withdrawn}) {
        model::must_pass(model::explore(many, one_gives_up(kind::fiber, how)));
    }
    model::must_pass(model::explore(cancelled_alone));
}

TEST_CASE("who has seen it set may destroy the event") {
    for (const kind what : {kind::fiber, kind::thread}) model::must_pass(model::explore(destroyed_by_who_waited(what)));
    model::must_pass(model::explore(destroyed_by_who_looked));
}

TEST_CASE("what is wrong with the words under it is found") {
    using model::defect;
    SUBCASE("a store orders nothing") { model::must_race_with(defect::weak_stores, one_reads(kind::fiber)); }
    SUBCASE("complete and commit order nothing") {
        model::must_race_with(defect::weak_updates, one_reads(kind::fiber));
    }
}

TEST_SUITE_END();
