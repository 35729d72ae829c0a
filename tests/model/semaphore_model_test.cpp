// The library's semaphore explored exhaustively, with one permit or two.
//
// What must hold:
//   S1  Permits are neither lost nor made: those that are there, and those that somebody has, are as many as at the
//       start and have been released since. Only where a permit comes back to a full semaphore it is dropped.
//   S2  No permit lies there while somebody waits: whoever waits and does not give up is served. A violation is a
//       deadlock.
//   S3  Nobody who comes later slips in between: what is released while somebody waits goes to him.
//   S4  Whoever gives up, by time-out or cancellation, has no permit; one that was handed over at that moment goes on
//       to the next.
//   S5  What was written before a release is seen after the acquire that it served; and who was served may destroy the
//       semaphore at once.
#include <algorithm>
#include <doctest/doctest.h>
#include <string>

#include "fiber/cancelled.hpp"
#include "fiber/error.hpp"
#include "fiber/semaphore.hpp"
#include "tests/model/caller.hpp"
#include "tests/model/expect.hpp"

namespace {

using model::a_while;
using model::caller;
using model::interruption;
using model::kind;
using model::many;
using model::scenario;
using semaphore = fiber::counting_semaphore<2>;

// A semaphore, and who was served.
template <class Semaphore = semaphore>
struct stage {
    explicit stage(int permits) : to(permits) {}

    caller& acquires(scenario& s, kind what, std::string name = "acquires") {
        return model::add_caller(s, what, std::move(name), [this] {
            to.acquire();
            ++served;
        });
    }
    // Has a permit for a moment, alone.
    void uses(scenario& s, kind what) {
        model::add_caller(s, what, "uses", [this] {
            to.acquire();
            users = users + 1;
            model::check(users == 1, "two have one permit");
            users = users - 1;
            ++served;
            to.release();
        });
    }
    void releases(scenario& s, int permits = 1) {
        s.thread("releases", [this, permits] { to.release(permits); });
    }

    // Gives up at any moment, or keeps the permit; `hand_on`: gives it to the next.
    caller& hurried(scenario& s, kind what, interruption how, bool hand_on) {
        caller& made = model::add_caller(s, what, "hurried", [this, how, hand_on] {
            if (!try_to_acquire(how)) return;
            hand_on ? to.release() : static_cast<void>(++served);
        });
        return model::interrupt(s, made, how);
    }
    bool try_to_acquire(interruption how) {
        try {
            if (how == interruption::late) {
                if (to.try_acquire_for(a_while)) return true;
            } else {
                to.acquire();
                return true;
            }
        } catch (const fiber::cancelled&) {
        }
        ++gave_up;
        return false;
    }

    // S1, at the end, when nobody waits.
    void check_left(int expected) {
        int left = 0;
        while (to.try_acquire()) ++left;
        model::check(left == expected, "a permit was lost, or made");
    }

    Semaphore to;
    fiber::engine::guarded<int> users = 0;
    int served = 0;
    int gave_up = 0;
};

auto one_for_one(kind what) {
    return [=](scenario& s) {
        auto& here = s.make<stage<>>(0);
        here.acquires(s, what);
        here.releases(s);
        s.finally([&here] {
            model::check(here.served == 1, "not served");
            here.check_left(0);
        });
    };
}

auto two_for_two(kind what, bool at_once) {
    return [=](scenario& s) {
        auto& here = s.make<stage<>>(0);
        for (int i = 0; i < 2; ++i) here.acquires(s, what);
        if (at_once) {
            here.releases(s, 2);
        } else {
            for (int i = 0; i < 2; ++i) here.releases(s);
        }
        s.finally([&here] {
            model::check(here.served == 2, "not served");
            here.check_left(0);
        });
    };
}

auto as_a_lock(kind what, int users) {
    return [=](scenario& s) {
        auto& here = s.make<stage<>>(1);
        for (int i = 0; i < users; ++i) here.uses(s, what);
        s.finally([&here, users] {
            model::check(here.served == users, "not served");
            here.check_left(1);
        });
    };
}

// From the moment on at which the wait has begun, a permit that is released is for him who waits.
auto comes_later(kind what) {
    return [=](scenario& s) {
        auto& here = s.make<stage<>>(0);
        caller& waits = here.acquires(s, what, "waits");
        s.thread("comes later", [&here, &waits, what] {
            const auto& park = what == kind::fiber ? waits.park : waits.thread_park;
            model::wait_until([&park] { return park.waiting(); });
            here.to.release();
            model::check(!here.to.try_acquire(), "slipped in between");
        });
    };
}

// One permit, and one who may give up: it is his, or it is there.
auto one_gives_up(kind what, interruption how) {
    return [=](scenario& s) {
        auto& here = s.make<stage<>>(0);
        here.hurried(s, what, how, false);
        here.releases(s);
        s.finally([&here] {
            model::check(here.served + here.gave_up == 1, "has not ended");
            here.check_left(here.gave_up);
        });
    };
}

// One permit for two, of whom one may give up: the other gets it.
auto one_of_two_gives_up(kind what, interruption how) {
    return [=](scenario& s) {
        auto& here = s.make<stage<>>(0);
        here.hurried(s, what, how, true);
        here.acquires(s, kind::fiber, "patient");
        here.releases(s);
        s.finally([&here] {
            model::check(here.served == 1, "the permit went with him who gave up");
            here.check_left(0);
        });
    };
}

// Two permits at once for three, of whom one may give up.
void two_for_three(scenario& s) {
    auto& here = s.make<stage<>>(0);
    here.hurried(s, kind::fiber, interruption::late, true);
    for (int i = 0; i < 2; ++i) here.acquires(s, kind::fiber, "patient");
    here.releases(s, 2);
    s.finally([&here] {
        model::check(here.served == 2, "a permit went with him who gave up");
        here.check_left(0);
    });
}

// The permit may come back when the semaphore has been filled up meanwhile.
void comes_back_to_a_full_one(scenario& s) {
    auto& here = s.make<stage<fiber::binary_semaphore>>(0);
    here.hurried(s, kind::fiber, interruption::cancelled, false);
    auto& released = s.make<model::plain<int>>(0);
    s.thread("releases twice", [&here, &released] {
        for (int i = 0; i < 2; ++i) {
            try {
                here.to.release();
                released.set(released.get() + 1);
            } catch (const fiber::usage_error&) {  // nobody has taken the first
            }
        }
    });
    s.finally([&here, &released] {
        model::check(here.served + here.gave_up == 1, "has not ended");
        here.check_left(std::min(1, released.get() - here.served));
    });
}

auto destroyed_by_the_one_served(kind what) {
    return [=](scenario& s) {
        auto& to = s.make<model::ends_when_told<semaphore>>(0);
        model::add_caller(s, what, "acquires", [&to] {
            to->acquire();
            to.end();
        });
        s.thread("releases", [&to] { to->release(); });
    };
}

}  // namespace

TEST_SUITE_BEGIN("semaphore model");

TEST_CASE("one acquires, one releases") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(one_for_one(what)));
        model::must_pass(model::explore({.stores = model::memory::pso}, one_for_one(what)));
    }
}

TEST_CASE("two acquire, and are served one by one, or both at once") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(many, two_for_two(what, true)));
        model::must_pass(model::explore(many, two_for_two(what, false)));
    }
}

TEST_CASE("one permit keeps all but one out, who sees what the last one did") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore({.stores = model::memory::pso}, as_a_lock(what, 2)));
        model::must_pass(model::explore(many, as_a_lock(what, 3)));
    }
}

TEST_CASE("nobody who comes later slips in between") {
    for (const kind what : {kind::fiber, kind::thread}) model::must_pass(model::explore(comes_later(what)));
}

TEST_CASE("who gives up has no permit, and no permit is lost") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(one_gives_up(what, interruption::late)));
    }
    model::must_pass(model::explore(many, one_gives_up(kind::fiber, interruption::cancelled)));
    model::must_pass(model::explore(many, one_gives_up(kind::fiber, interruption::withdrawn)));
}

TEST_CASE("a permit that comes together with a time-out or a cancellation goes on to the next") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(many, one_of_two_gives_up(what, interruption::late)));
    }
    model::must_pass(model::explore(many, one_of_two_gives_up(kind::fiber, interruption::cancelled)));
    model::must_pass(model::explore(many, two_for_three));
}

TEST_CASE("a permit that comes back to a full semaphore is dropped") {
    model::must_pass(model::explore(many, comes_back_to_a_full_one));
}

TEST_CASE("who was served may destroy the semaphore") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(destroyed_by_the_one_served(what)));
    }
}

TEST_CASE("what is wrong with the words under it is found") {
    using model::defect;
    SUBCASE("a store orders nothing") { model::must_race_with(defect::weak_stores, two_for_two(kind::fiber, false)); }
    SUBCASE("complete and commit order nothing") {
        model::must_race_with(defect::weak_updates, as_a_lock(kind::fiber, 2));
    }
}

TEST_SUITE_END();
