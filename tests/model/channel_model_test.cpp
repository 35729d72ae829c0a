// The library's channel explored exhaustively at capacities 0 and 1: no item is lost or comes twice, no wake is lost,
// what is closed drains first; whoever gives up, by time-out or cancellation, has changed nothing.
#include <algorithm>
#include <doctest/doctest.h>
#include <optional>

#include "fiber/cancelled.hpp"
#include "fiber/channel.hpp"
#include "tests/model/caller.hpp"
#include "tests/model/expect.hpp"

namespace {

using fiber::channel_status;
using model::a_while;
using model::caller;
using model::interruption;
using model::item;
using model::kind;
using model::many;
using model::scenario;
using model::several;

// A channel, and what has become of its items: one bit for each.
struct stage {
    stage(scenario& s, std::size_t capacity) : to(s.make<fiber::channel<item>>(capacity)) {}

    // Items first ... last, one after the other.
    caller& pushes(scenario& s, kind what, int first, int last) {
        return model::add_caller(s, what, "pushes", [=, this] {
            for (int i = first; i <= last; ++i) push(i);
        });
    }
    caller& pops(scenario& s, kind what, int count, std::string name = "pops") {
        return model::add_caller(s, what, std::move(name), [=, this] {
            for (int i = 0; i < count; ++i) note_popped(to.pop());
        });
    }
    caller& pushes_hurriedly(scenario& s, kind what, int number) {
        return model::add_caller(s, what, "hurried", [=, this] { push_for_a_while(number); }).with_timer();
    }
    caller& pops_hurriedly(scenario& s, kind what) {
        return model::add_caller(s, what, "hurried", [this] { note_popped(to.pop_for(a_while)); }).with_timer();
    }
    void closes(scenario& s) {
        s.thread("closes", [this] { to.close(); });
    }

    void push(int number) {
        item each(number);
        keep_until_pushed(each, [&] { return to.push(std::move(each)); });
    }
    void push_for_a_while(int number) {
        item each(number);
        keep_until_pushed(each, [&] { return to.push_for(each, a_while) == channel_status::ok; });
    }

    // Whoever is not told that the item was pushed has it still.
    template <class F>
    void keep_until_pushed(item& each, F push) {
        const int number = each.number();
        try {
            const bool gone = push();
            model::check(each.number() == (gone ? 0 : number), "pushed, and not told so, or told so without");
            gone ? ++pushed : ++kept;
        } catch (const fiber::cancelled&) {
            model::check(each.number() == number, "cancelled, and the item is gone");
            ++kept;
        }
    }
    // Of an item that was popped and not noted. A cancellation that is still to come does not keep it back.
    void hand_on(item got) {
        for (bool gone = false; !gone;) {
            try {
                gone = to.push(std::move(got));
            } catch (const fiber::cancelled&) {
            }
        }
    }
    bool note_popped(std::optional<item> got) {
        if (!got) return false;
        const int bit = 1 << got->number();
        model::check(got->number() != 0 && (seen & bit) == 0, "an item came twice, or was moved from");
        seen |= bit;
        ++popped;
        return true;
    }

    // At the end: each item has been popped, or is in the channel, or was kept.
    void check_all_there(int items) {
        model::check(pushed + kept == items, "a push has not ended");
        model::check(popped + static_cast<int>(to.size()) == pushed, "an item was lost, or came from nowhere");
        model::check(to.core().poppers().empty() && to.core().pushers().empty(), "somebody was left in a list");
    }

    fiber::channel<item>& to;
    int pushed = 0;
    int kept = 0;
    int popped = 0;
    int seen = 0;
};

struct crowd {
    std::size_t capacity;
    int pushers;
    int poppers;
    kind what = kind::fiber;
};

auto meet(crowd who) {
    return [who](scenario& s) {
        auto& here = s.make<stage>(s, who.capacity);
        const int items = std::max(who.pushers, who.poppers);
        const int each = items / who.pushers;
        for (int i = 0; i < who.pushers; ++i) here.pushes(s, who.what, i * each + 1, (i + 1) * each);
        for (int i = 0; i < who.poppers; ++i) here.pops(s, who.what, items / who.poppers);
        s.finally([&here, items] {
            here.check_all_there(items);
            model::check(here.popped == items, "a pop has not ended");
        });
    };
}

auto in_order(std::size_t capacity, int items) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(s, capacity);
        here.pushes(s, kind::fiber, 1, items);
        model::add_fiber(s, "pops", [&here, items] {
            for (int i = 1; i <= items; ++i) model::check(here.to.pop()->number() == i, "out of order");
        });
    };
}

// Both may give up: either the item has gone over, or it is still with him who pushed, or in the channel.
auto both_hurried(std::size_t capacity, kind what) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(s, capacity);
        here.pushes_hurriedly(s, what, 1);
        here.pops_hurriedly(s, what);
        s.finally([&here] { here.check_all_there(1); });
    };
}

// One item for two. Who might have given up hands it on to the other; a cancellation is then over.
auto pop_is_interrupted(std::size_t capacity, interruption how) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(s, capacity);
        caller& hurried = model::add_fiber(s, "hurried", [&here, how] {
            std::optional<item> got = how == interruption::late ? here.to.pop_for(a_while) : here.to.pop();
            if (got) here.hand_on(std::move(*got));
        });
        model::interrupt(s, hurried, how);
        here.pops(s, kind::fiber, 1, "patient");
        here.pushes(s, kind::fiber, 1, 1);
        s.finally([&here] {
            here.check_all_there(1);
            model::check(here.popped == 1, "the item did not reach who waited for it");
        });
    };
}

// Two items, and one who stops after the second's. The first may never come.
auto push_is_interrupted(std::size_t capacity, interruption how) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(s, capacity);
        caller& hurried = model::add_fiber(s, "hurried", [&here, how] {
            if (how == interruption::late) return here.push_for_a_while(1);
            here.push(1);
        });
        model::interrupt(s, hurried, how);
        here.pushes(s, kind::fiber, 2, 2);
        model::add_fiber(s, "pops", [&here] {
            while (!(here.seen & 1 << 2)) here.note_popped(here.to.pop());
        });
        s.finally([&here] { here.check_all_there(2); });
    };
}

// A store that is full already, so that both pushes wait for a place.
void two_wait_for_room(scenario& s) {
    auto& here = s.make<stage>(s, 1);
    here.push(1);
    here.pushes_hurriedly(s, kind::fiber, 2);
    here.pushes(s, kind::fiber, 3, 3);
    model::add_fiber(s, "pops", [&here] {
        while (!(here.seen & 1 << 3)) here.note_popped(here.to.pop());
    });
    s.finally([&here] { here.check_all_there(3); });
}

// The place that one pop makes is for him who waits, though nobody pops again.
void one_waits_for_room(scenario& s) {
    auto& here = s.make<stage>(s, 1);
    here.push(1);
    here.pushes(s, kind::fiber, 2, 2);
    here.pops(s, kind::fiber, 1);
    s.finally([&here] { here.check_all_there(2); });
}

// What was pushed before is popped, in order; then everyone is told, whoever waits and whoever comes.
auto closed_while_in_use(std::size_t capacity, bool hurried) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(s, capacity);
        hurried ? here.pushes_hurriedly(s, kind::fiber, 1) : here.pushes(s, kind::fiber, 1, 2);
        model::add_fiber(s, "pops", [&here] {
            while (here.note_popped(here.to.pop())) model::check(here.seen == (2 << here.popped) - 2, "out of order");
            model::check(!here.to.pop(), "came after the end");
        });
        here.closes(s);
        s.finally([&here, hurried] {
            here.check_all_there(hurried ? 1 : 2);
            model::check(here.to.empty(), "an item was left behind");
            model::check(!here.to.push(item(3)) && !here.to.pop(), "not closed");
        });
    };
}

void two_pop_when_it_is_closed(scenario& s) {
    auto& here = s.make<stage>(s, 0);
    for (int i = 0; i < 2; ++i) model::add_fiber(s, "pops", [&here] { model::check(!here.to.pop(), "an item"); });
    here.closes(s);
}

void two_push_when_it_is_closed(scenario& s) {
    auto& here = s.make<stage>(s, 0);
    for (int i = 1; i <= 2; ++i) here.pushes(s, kind::fiber, i, i);
    here.closes(s);
    s.finally([&here] {
        here.check_all_there(2);
        model::check(here.kept == 2, "pushed to nobody");
    });
}

// The one who got the item may destroy the channel at once.
auto destroyed_by_the_last(std::size_t capacity, kind what) {
    return [=](scenario& s) {
        auto& to = s.make<std::optional<fiber::channel<item>>>(std::in_place, capacity);
        model::add_caller(s, what, "pops", [&to] {
            model::check(to->pop().has_value(), "nothing came");
            to.reset();
        });
        model::add_caller(s, what, "pushes", [&to] { (void)to->push(item(1)); });
    };
}

}  // namespace

TEST_SUITE_BEGIN("channel model");

TEST_CASE("one who pushes, one who pops: rendezvous and buffered, fibers and threads") {
    for (const std::size_t capacity : {0, 1}) {
        for (const kind what : {kind::fiber, kind::thread}) {
            model::must_pass(model::explore(meet({capacity, 1, 1, what})));
            model::must_pass(model::explore({.stores = model::memory::pso}, meet({capacity, 1, 1, what})));
        }
    }
}

TEST_CASE("items keep their order") {
    for (const std::size_t capacity : {0, 1}) model::must_pass(model::explore(several, in_order(capacity, 3)));
}

TEST_CASE("two push, one pops; one pushes, two pop") {
    for (const std::size_t capacity : {0, 1}) {
        model::must_pass(model::explore(several, meet({capacity, 2, 1})));
        model::must_pass(model::explore(several, meet({capacity, 1, 2})));
    }
}

TEST_CASE("two push, two pop") {
    for (const std::size_t capacity : {0, 1}) model::must_pass(model::explore(many, meet({capacity, 2, 2})));
}

TEST_CASE("both may give up: the item is with one of them, or in the channel") {
    for (const std::size_t capacity : {0, 1}) {
        for (const kind what : {kind::fiber, kind::thread}) {
            model::must_pass(model::explore(both_hurried(capacity, what)));
        }
    }
}

TEST_CASE("who gives up takes no wake with him") {
    for (const std::size_t capacity : {0, 1}) {
        model::must_pass(model::explore(several, pop_is_interrupted(capacity, interruption::late)));
        model::must_pass(model::explore(several, push_is_interrupted(capacity, interruption::late)));
        model::must_pass(model::explore(many, pop_is_interrupted(capacity, interruption::cancelled)));
        model::must_pass(model::explore(many, push_is_interrupted(capacity, interruption::cancelled)));
    }
    model::must_pass(model::explore(one_waits_for_room));
    model::must_pass(model::explore(several, two_wait_for_room));
}

TEST_CASE("close: pops drain, then everyone is told") {
    for (const std::size_t capacity : {0, 1}) {
        for (const bool hurried : {false, true}) {
            model::must_pass(model::explore(several, closed_while_in_use(capacity, hurried)));
        }
    }
    model::must_pass(model::explore(several, two_pop_when_it_is_closed));
    model::must_pass(model::explore(several, two_push_when_it_is_closed));
}

TEST_CASE("who got the last item may destroy the channel") {
    for (const std::size_t capacity : {0, 1}) {
        for (const kind what : {kind::fiber, kind::thread}) {
            model::must_pass(model::explore(destroyed_by_the_last(capacity, what)));
        }
    }
}

TEST_CASE("what is wrong with the words under it is found") {
    using model::defect;
    SUBCASE("an unlock orders nothing") { model::must_race_with(defect::weak_stores, meet({1, 1, 1})); }
    SUBCASE("complete and commit order nothing") { model::must_race_with(defect::weak_updates, meet({0, 1, 1})); }
    SUBCASE("a lock keeps nobody out") { model::must_race_with(defect::no_locks, meet({1, 1, 1})); }
}

TEST_SUITE_END();
