// The one way to wait, explored exhaustively: the library's wait.hpp and park.cpp. Notification, time-out and
// cancellation race for one waiter: one of them wins, no wake is lost, and nobody looks at a frame that has left.
#include <doctest/doctest.h>
#include <optional>

#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"
#include "tests/model/caller.hpp"
#include "tests/model/expect.hpp"

namespace {

using clock_of = fiber::engine::worker::clock;
using fiber::engine::interruptible;
using fiber::engine::nanos;
using fiber::engine::never;
using fiber::engine::wait_verdict;
using model::caller;
using model::kind;
using model::many;
using model::scenario;
using model::several;
using model::some_time;

// The least that a primitive can be: one permit for each give(), first come first served.
class permits {
 public:
    // With a notification the permit is the caller's.
    wait_verdict take(nanos deadline, interruptible mode) {
        lock_.lock();
        if (left_ != 0) {
            left_ = left_ - 1;
            lock_.unlock();
            return wait_verdict::notified;
        }
        return waiters_.wait_and_unlock(lock_, deadline, mode);
    }

    void give() {
        lock_.lock();
        fiber::engine::waiter* first = waiters_.claim_first_locked();
        if (first == nullptr) left_ = left_ + 1;
        lock_.unlock();
        if (first != nullptr) first->complete();
    }

    void give_to_all() {
        fiber::engine::wake_list woken;
        lock_.lock();
        waiters_.claim_all_locked(woken);
        left_ = 8;
        lock_.unlock();
        woken.complete_all();
    }

    void check_nobody_waits() { model::check(waiters_.empty(), "somebody was left in the queue"); }
    int left() { return left_; }

 private:
    fiber::engine::spin_lock lock_;
    fiber::engine::guarded<int> left_ = 0;
    fiber::engine::wait_queue waiters_;
};

struct tally {
    void note(wait_verdict how) {
        ++ends;
        how == wait_verdict::notified ? ++served : how == wait_verdict::timed_out ? ++late : ++cancelled;
    }
    int ends = 0;
    int served = 0;
    int late = 0;
    int cancelled = 0;
};

struct stage {
    explicit stage(scenario& s) : all(s.make<permits>()), ends(s.make<tally>()) {}

    caller& waits(scenario& s, kind what, nanos deadline, interruptible mode = interruptible::no, int times = 1) {
        caller& made = model::add_caller(s, what, "waits", [=, this] {
            for (int i = 0; i < times; ++i) ends.note(all.take(deadline, mode));
        });
        return deadline == never ? made : made.with_timer();
    }
    void gives(scenario& s, int times = 1) {
        s.thread("gives", [this, times] {
            for (int i = 0; i < times; ++i) all.give();
        });
    }

    permits& all;
    tally& ends;
};

auto one_waits(kind what, nanos deadline) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(s);
        here.waits(s, what, deadline);
        here.gives(s);
        s.finally([&here, deadline] {
            here.all.check_nobody_waits();
            model::check(here.ends.ends == 1, "the wake was lost");
            model::check(here.ends.served + here.all.left() == 1, "a permit was lost, or served twice");
            model::check(deadline != never || here.ends.served == 1, "woken for no reason");
        });
    };
}

void three_race(scenario& s, kind what, clock_of whose) {
    auto& here = s.make<stage>(s);
    caller& waits = here.waits(s, what, some_time, interruptible::yes).with_timer(whose);
    here.gives(s);
    s.thread("cancels", [&waits] { waits.cancel(); });
    if (whose == clock_of::another) s.thread("expires", [&waits] { waits.runs_on.expire(); });
    s.finally([&here] {
        here.all.check_nobody_waits();
        model::check(here.ends.ends == 1, "the wake was lost");
        model::check(here.ends.served + here.all.left() == 1, "a permit was lost, or served twice");
    });
}

// The permit goes to one who is still there, and everyone who gets it gives it back.
void hurried_before_patient(scenario& s, kind hurried, interruptible mode) {
    auto& here = s.make<stage>(s);
    caller& first = model::add_caller(s, hurried, "hurried", [&here, mode] {
        if (here.all.take(some_time, mode) == wait_verdict::notified) here.all.give();
    });
    first.with_timer();
    model::add_fiber(s, "patient", [&here] {
        here.ends.note(here.all.take(never, interruptible::no));
        here.all.give();
    });
    here.gives(s);
    if (mode == interruptible::yes) s.thread("cancels", [&first] { first.cancel(); });
    s.finally([&here] {
        here.all.check_nobody_waits();
        model::check(here.ends.served == 1, "the wake was lost");
        model::check(here.all.left() == 1, "a permit was served twice");
    });
}

void all_are_woken(scenario& s) {
    auto& here = s.make<stage>(s);
    here.waits(s, kind::fiber, never);
    here.waits(s, kind::thread, some_time);
    s.thread("gives", [&here] { here.all.give_to_all(); });
    s.finally([&here] {
        here.all.check_nobody_waits();
        model::check(here.ends.ends == 2, "a wake was lost");
    });
}

// As mutex, semaphore and event do it: the queue is guarded by the lock bit of a word, and whoever is served last may
// destroy all of it.
struct one_shot {
    static constexpr std::uint64_t raised = 2;

    void wait() {
        fiber::engine::word_holder held{word, word.lock()};
        if (held.state == raised) return held.unlock();
        (void)waiters.wait_and_unlock(held, never, interruptible::no);
    }
    void raise() {
        fiber::engine::wake_list woken;
        (void)word.lock();
        waiters.claim_all_locked(woken);
        word.unlock(raised);
        woken.complete_all();
    }
    void raise_and_look_again() {
        raise();
        (void)word.load(std::memory_order_relaxed);
    }

    fiber::engine::guarded_word word;
    fiber::engine::wait_queue waiters;
};

auto destroyed_by_the_one_who_waited(void (one_shot::*raise)()) {
    return [=](scenario& s) {
        auto& shot = s.make<std::optional<one_shot>>(std::in_place);
        model::add_fiber(s, "waits", [&shot] {
            shot->wait();
            shot.reset();
        });
        s.thread("raises", [&shot, raise] { ((*shot).*raise)(); });
    };
}

}  // namespace

TEST_SUITE_BEGIN("wait model");

TEST_CASE("one waits, one notifies: the wake is never lost, and is a wake or a time-out") {
    for (const kind what : {kind::fiber, kind::thread}) {
        for (const nanos deadline : {never, some_time}) {
            model::must_pass(model::explore(one_waits(what, deadline)));
            model::must_pass(model::explore({.stores = model::memory::pso}, one_waits(what, deadline)));
        }
    }
}

TEST_CASE("notify, time-out and cancel race for one waiter: one wins, and the frame is left alone") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(several, [what](scenario& s) { three_race(s, what, clock_of::own); }));
    }
    model::must_pass(model::explore(many, [](scenario& s) { three_race(s, kind::fiber, clock_of::another); }));
}

TEST_CASE("wait after wait in one frame: a wake for the first never reaches the second") {
    model::must_pass(model::explore([](scenario& s) {
        auto& here = s.make<stage>(s);
        here.waits(s, kind::fiber, some_time, interruptible::no, 2);
        here.gives(s, 2);
        s.finally([&here] {
            model::check(here.ends.ends == 2, "a wake was lost");
            model::check(here.ends.served + here.all.left() == 2, "a permit was lost, or served twice");
        });
    }));
}

TEST_CASE("one who gives up does not take the notice with him") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(
            model::explore(several, [what](scenario& s) { hurried_before_patient(s, what, interruptible::no); }));
    }
    model::must_pass(
        model::explore(many, [](scenario& s) { hurried_before_patient(s, kind::fiber, interruptible::yes); }));
}

TEST_CASE("all are woken, those who are about to give up as well") {
    model::must_pass(model::explore(several, all_are_woken));
}

TEST_CASE("who was woken last may destroy the primitive") {
    model::must_pass(model::explore(destroyed_by_the_one_who_waited(&one_shot::raise)));
    model::must_fail(model::explore(destroyed_by_the_one_who_waited(&one_shot::raise_and_look_again)), "data race");
}

TEST_CASE("what is wrong with the words under it is found") {
    using model::defect;
    SUBCASE("an unlock orders nothing") { model::must_race_with(defect::weak_stores, one_waits(kind::fiber, never)); }
    SUBCASE("complete and commit order nothing") {
        model::must_race_with(defect::weak_updates, one_waits(kind::fiber, never));
    }
    SUBCASE("complete and commit miss each other") {
        const model::with_defect seeded(defect::torn_updates);
        model::must_fail(model::explore(one_waits(kind::fiber, never)));
    }
    SUBCASE("a lock keeps nobody out") { model::must_race_with(defect::no_locks, one_waits(kind::fiber, some_time)); }
}

TEST_SUITE_END();
