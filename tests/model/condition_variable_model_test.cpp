// The library's condition_variable explored exhaustively: no notification is lost, also when the one who was notified
// gives up; nobody leaves without the lock; and it may be destroyed as soon as all were notified.
#include <doctest/doctest.h>

#include "fiber/cancelled.hpp"
#include "fiber/condition_variable.hpp"
#include "tests/model/caller.hpp"
#include "tests/model/expect.hpp"

namespace {

using model::a_while;
using model::caller;
using model::interruption;
using model::kind;
using model::many;
using model::scenario;

// The least that a lock can be; the condition_variable takes any.
class plain_lock {
 public:
    void lock() {
        lock_.lock();
        held_ = true;
    }
    void unlock() {
        model::check(held_, "left without the lock");
        held_ = false;
        lock_.unlock();
    }

 private:
    fiber::engine::spin_lock lock_;
    fiber::engine::guarded<bool> held_ = false;
};

// Tokens, one for each who waits, and somebody who gives them.
struct stage {
    void take_token() {
        lock.lock();
        while (tokens == 0) changed->wait(lock);
        tokens = tokens - 1;
        lock.unlock();
        ++served;
    }
    // Waits once, and takes nothing. true: it was notified.
    bool look_for_token(interruption how) {
        bool notified = false;
        lock.lock();
        try {
            if (tokens == 0) notified = wait_once(how);
        } catch (const fiber::cancelled&) {
            ++cancelled;
        }
        lock.unlock();
        return notified;
    }
    bool wait_once(interruption how) {
        if (how == interruption::late) return changed->wait_for(lock, a_while) == std::cv_status::no_timeout;
        changed->wait(lock);
        return true;
    }
    void give_token() {
        lock.lock();
        tokens = tokens + 1;
        lock.unlock();
        changed->notify_one();
    }
    void give_all(int count) {
        lock.lock();
        tokens = count;
        changed->notify_all();
        lock.unlock();
    }

    caller& takes(scenario& s, kind what) {
        return model::add_caller(s, what, "takes", [this] { take_token(); });
    }
    // Last: nobody else waits. By std's rules it owes the next the notice that it had itself.
    caller& looks(scenario& s, kind what, interruption how, bool last) {
        caller& made = model::add_caller(s, what, "looks", [this, how, last] {
            if (look_for_token(how) && !last) changed->notify_one();
        });
        return model::interrupt(s, made, how);
    }

    plain_lock lock;
    fiber::engine::guarded<int> tokens = 0;
    model::ends_when_told<fiber::condition_variable> changed;
    int served = 0;
    int cancelled = 0;
};

auto one_waits(kind what) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        here.takes(s, what);
        s.thread("gives", [&here] { here.give_token(); });
        s.finally([&here] { model::check(here.served == 1, "the notice was lost"); });
    };
}

auto two_wait(kind what, bool at_once) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        for (int i = 0; i < 2; ++i) here.takes(s, what);
        s.thread("gives", [&here, at_once] {
            if (at_once) return here.give_all(2);
            for (int i = 0; i < 2; ++i) here.give_token();
        });
        s.finally([&here] { model::check(here.served == 2, "a notice was lost"); });
    };
}

// One token, one notice, and one in front who may give up at that very moment.
auto first_gives_up(kind what, interruption how) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        here.looks(s, what, how, false);
        here.takes(s, kind::fiber);
        s.thread("gives", [&here] { here.give_token(); });
        s.finally([&here] { model::check(here.served == 1, "the notice went with him who gave up"); });
    };
}

void cancelled_alone(scenario& s) {
    auto& here = s.make<stage>();
    caller& waits = model::add_fiber(s, "waits", [&here] { (void)here.look_for_token(interruption::cancelled); });
    s.thread("cancels", [&waits] { waits.cancel(); });
    s.finally([&here] { model::check(here.cancelled == 1, "the cancellation was lost"); });
}

// All were notified: whoever gave the tokens destroys it at once, while they are still on their way out.
auto destroyed_at_once(kind what, interruption how, bool by_notify_one) {
    return [=](scenario& s) {
        auto& here = s.make<stage>();
        how == interruption::none ? here.takes(s, what) : here.looks(s, what, how, true);
        model::add_caller(s, what, "destroys", [&here, by_notify_one] {
            by_notify_one ? here.give_token() : here.give_all(1);
            here.changed.end();
        });
    };
}

// Nobody has to be notified any more: the one who waited is late. But he has not left yet.
void destroyed_before_the_late_one_left(scenario& s) {
    auto& here = s.make<stage>();
    caller& waits = model::add_fiber(s, "looks", [&here] { (void)here.look_for_token(interruption::late); });
    waits.with_timer(fiber::engine::worker::clock::another);
    model::add_fiber(s, "destroys", [&here, &waits] {
        model::wait_until([&waits] { return waits.runs_on.has_timer(); });
        waits.runs_on.expire();
        here.changed.end();
    });
}

}  // namespace

TEST_SUITE_BEGIN("condition_variable model");

TEST_CASE("one waits, one notifies") {
    for (const kind what : {kind::fiber, kind::thread}) {
        model::must_pass(model::explore(one_waits(what)));
        model::must_pass(model::explore({.stores = model::memory::pso}, one_waits(what)));
    }
}

TEST_CASE("two wait: a notice for each, and one for all") {
    for (const bool at_once : {false, true}) {
        model::must_pass(model::explore(many, two_wait(kind::fiber, at_once)));
        model::must_pass(model::explore(many, two_wait(kind::thread, at_once)));
    }
}

TEST_CASE("a notice that comes together with a time-out or a cancellation goes on to the next") {
    model::must_pass(model::explore(many, first_gives_up(kind::fiber, interruption::late)));
    model::must_pass(model::explore(many, first_gives_up(kind::thread, interruption::late)));
    model::must_pass(model::explore(many, first_gives_up(kind::fiber, interruption::cancelled)));
}

TEST_CASE("a cancellation is not slept through") { model::must_pass(model::explore(cancelled_alone)); }

TEST_CASE("notified, and destroyed at once") {
    for (const bool by_notify_one : {false, true}) {
        for (const kind what : {kind::fiber, kind::thread}) {
            for (const auto how : {interruption::none, interruption::late}) {
                model::must_pass(model::explore(many, destroyed_at_once(what, how, by_notify_one)));
            }
        }
        model::must_pass(model::explore(many, destroyed_at_once(kind::fiber, interruption::cancelled, by_notify_one)));
    }
}

TEST_CASE("late, and destroyed before it has left") {
    model::must_pass(model::explore(destroyed_before_the_late_one_left));
}

TEST_CASE("what is wrong with the words under it is found") {
    using model::defect;
    SUBCASE("an unlock orders nothing") { model::must_race_with(defect::weak_stores, one_waits(kind::fiber)); }
    SUBCASE("complete and commit order nothing") {
        model::must_race_with(defect::weak_updates, one_waits(kind::fiber));
    }
    SUBCASE("complete and commit miss each other") {
        const model::with_defect seeded(defect::torn_updates);
        model::must_fail(model::explore(one_waits(kind::fiber)));
    }
}

TEST_SUITE_END();
