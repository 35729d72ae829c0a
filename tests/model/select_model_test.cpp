// The library's select explored exhaustively, over two channels of capacity 0 and 1.
//
// What must hold:
//   L1  A select takes exactly one of its cases, and says which: the item of that case has changed hands, and those of
//       the others are where they were.
//   L2  No wake is lost: whoever could be served by a case of a select that waits is served by it, and the other way
//       round. A violation is a deadlock.
//   L3  A select that gives up, by time-out or cancellation, has taken nothing; who waits behind it gets what it might
//       have got.
//   L4  It leaves nothing behind: afterwards no channel knows of it.
//   L5  Two selects that lock the same channels wait for each other's locks in no circle; a select never meets itself.
#include <doctest/doctest.h>
#include <functional>
#include <optional>
#include <string>

#include "fiber/cancelled.hpp"
#include "fiber/select.hpp"
#include "tests/model/caller.hpp"
#include "tests/model/expect.hpp"

namespace {

using channel = fiber::channel<model::item>;
using fiber::channel_status;
using fiber::on_pop;
using fiber::on_push;
using fiber::on_timeout;
using fiber::otherwise;
using fiber::select;
using model::a_while;
using model::caller;
using model::interruption;
using model::item;
using model::kind;
using model::many;
using model::scenario;
using model::several;

// Two channels, and what has become of the items: one bit for each.
struct stage {
    explicit stage(std::size_t capacity) : first(capacity), second(capacity) {}

    caller& adds(scenario& s, kind what, std::string name, std::function<void()> body) {
        return model::add_caller(s, what, std::move(name), std::move(body));
    }
    void pushes(scenario& s, kind what, channel& to, int number) {
        adds(s, what, "pushes", [this, &to, number] {
            model::check(to.push(item(number)), "closed");
            ++pushed;
        });
    }
    void pops(scenario& s, channel& from, std::string name = "pops") {
        adds(s, kind::fiber, std::move(name), [this, &from] { note(from.pop()); });
    }

    // Takes what comes first, of the two. Returns its case.
    std::size_t take_one() {
        return select(on_pop(first, [this](std::optional<item> got) { note(std::move(got)); }),
                      on_pop(second, [this](std::optional<item> got) { note(std::move(got)); }));
    }

    void note(std::optional<item> got) {
        model::check(got.has_value(), "closed");
        const int bit = 1 << got->number();
        model::check(got->number() != 0 && (seen & bit) == 0, "an item came twice, or was moved from");
        seen |= bit;
        ++popped;
    }
    bool nobody_waits() {
        return first.core().poppers().empty() && first.core().pushers().empty() && second.core().poppers().empty() &&
               second.core().pushers().empty();
    }
    // At the end. L1, L4.
    void check_all_there(int items) {
        model::check(pushed == items, "a push has not ended");
        model::check(popped + static_cast<int>(first.size() + second.size()) == items,
                     "an item was lost, or came from nowhere");
        model::check(nobody_waits(), "an entry was left behind");
    }

    channel first;  // in this order they are locked
    channel second;
    int pushed = 0;
    int popped = 0;
    int seen = 0;
    int gave_up = 0;
};

auto one_item(std::size_t capacity, kind what, bool in_the_second) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(capacity);
        here.adds(s, what, "selects",
                  [&here, in_the_second] { model::check(here.take_one() == (in_the_second ? 1 : 0), "another case"); });
        here.pushes(s, what, in_the_second ? here.second : here.first, 1);
        s.finally([&here] {
            here.check_all_there(1);
            model::check(here.popped == 1, "not taken");
        });
    };
}

// An item in each: the select takes one of them, and the next select the other.
auto item_in_each(std::size_t capacity) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(capacity);
        model::add_fiber(s, "selects twice", [&here] {
            const std::size_t taken = here.take_one();
            model::check(here.popped == 1, "took both, or none");
            model::check(here.take_one() == 1 - taken, "the same case twice");
        });
        here.pushes(s, kind::fiber, here.first, 1);
        here.pushes(s, kind::fiber, here.second, 2);
        s.finally([&here] {
            here.check_all_there(2);
            model::check(here.popped == 2, "not taken");
        });
    };
}

// Pushes one item or the other, to those who may not be there any more.
auto pushes_one_of_two(std::size_t capacity) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(capacity);
        auto& taken = s.make<model::plain<std::size_t>>(3);
        model::add_fiber(s, "selects", [&here, &taken] {
            item a(1);
            item b(2);
            taken.set(select(on_push(here.first, std::move(a), [&here] { ++here.pushed; }),
                             on_push(here.second, std::move(b), [&here] { ++here.pushed; }),
                             on_timeout(a_while, [&here] { ++here.gave_up; })));
            model::check(a.number() == (taken.get() == 0 ? 0 : 1) && b.number() == (taken.get() == 1 ? 0 : 2),
                         "an item of another case was moved, or that of its own was not");
        }).with_timer();
        for (channel* each : {&here.first, &here.second}) {
            model::add_fiber(s, "pops", [&here, each] {
                if (auto got = each->pop_for(a_while)) here.note(std::move(got));
            }).with_timer();
        }
        s.finally([&here, &taken] {
            here.check_all_there(taken.get() == 2 ? 0 : 1);
            model::check(here.pushed + here.gave_up == 1, "more than one case was run");
            model::check((here.seen & ~(taken.get() == 0 ? 2 : taken.get() == 1 ? 4 : 0)) == 0, "the other's item");
        });
    };
}

// Each can push to the other, and pop from it: one of the two happens, and both say the same. `crossed`: the second
// names the channels in the other order.
auto face_each_other(bool crossed) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(0);
        auto& first_of_one = s.make<model::plain<bool>>();
        auto& first_of_other = s.make<model::plain<bool>>();
        model::add_fiber(s, "one", [&here, &first_of_one] {
            first_of_one.set(
                select(on_push(here.first, item(1), [&here] { ++here.pushed; }),
                       on_pop(here.second, [&here](std::optional<item> got) { here.note(std::move(got)); })) == 0);
        });
        model::add_fiber(s, "other", [&here, &first_of_other, crossed] {
            auto pop = on_pop(here.first, [&here](std::optional<item> got) { here.note(std::move(got)); });
            item mine(2);  // until the push is over
            auto push = on_push(here.second, std::move(mine), [&here] { ++here.pushed; });
            first_of_other.set(crossed ? select(push, pop) == 1 : select(pop, push) == 0);
        });
        s.finally([&here, &first_of_one, &first_of_other] {
            here.check_all_there(1);
            model::check(here.popped == 1, "not exactly one item has changed hands");
            model::check(first_of_one.get() == first_of_other.get(), "they do not mean the same");
        });
    };
}

// Push and pop of one channel in one select: never with itself, but with whoever comes.
auto both_sides_of_one(bool partner) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(0);
        model::add_fiber(s, "selects", [&here] {
            (void)select(on_push(here.first, item(1), [&here] { ++here.pushed; }),
                         on_pop(here.first, [&here](std::optional<item> got) { here.note(std::move(got)); }),
                         on_timeout(a_while, [&here] { ++here.gave_up; }));
        }).with_timer();
        if (partner) {
            model::add_fiber(s, "pushes", [&here] {
                item mine(2);
                if (here.first.push_for(mine, a_while) == channel_status::ok) ++here.pushed;
            }).with_timer();
        }
        s.finally([&here, partner] {
            here.check_all_there(here.pushed);
            model::check(here.pushed + here.gave_up == 1, "neither an item nor the time");
            model::check(here.seen == (here.pushed == 1 ? 1 << 2 : 0), "it met itself");
            model::check(partner || here.gave_up == 1, "with whom?");
        });
    };
}

// The same channel in two cases: one entry is claimed, the other goes with it.
auto one_channel_twice(std::size_t capacity) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(capacity);
        model::add_fiber(s, "selects", [&here] {
            int taken = 0;
            const auto take = [&here, &taken](std::optional<item> got) {
                here.note(std::move(got));
                ++taken;
            };
            (void)select(on_pop(here.first, take), on_pop(here.first, take));
            model::check(taken == 1, "took both");
        });
        here.pops(s, here.first, "pops the other");
        here.adds(s, kind::fiber, "pushes", [&here] {
            for (int i = 1; i <= 2; ++i) {
                model::check(here.first.push(item(i)), "closed");
                ++here.pushed;
            }
        });
        s.finally([&here] {
            here.check_all_there(2);
            model::check(here.popped == 2, "not taken");
        });
    };
}

// One item for two. The select that might have given up hands it on to the patient one.
auto gives_up(std::size_t capacity, interruption how) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(capacity);
        caller& hurried = model::add_fiber(s, "hurried", [&here, how] {
            std::optional<item> got;
            const auto keep = [&got](std::optional<item> from) { got = std::move(from); };
            try {
                how == interruption::late
                    ? select(on_pop(here.first, keep), on_pop(here.second, keep), on_timeout(a_while, [] {}))
                    : select(on_pop(here.first, keep), on_pop(here.second, keep));
            } catch (const fiber::cancelled&) {
                model::check(!got, "cancelled, with an item");
            }
            while (got) {
                try {
                    (void)here.first.push(std::move(*got));
                    got.reset();
                } catch (const fiber::cancelled&) {  // the cancellation has come behind the item
                }
            }
        });
        model::interrupt(s, hurried, how);
        here.pops(s, here.first, "patient");
        here.pushes(s, kind::fiber, here.first, 1);
        s.finally([&here] {
            here.check_all_there(1);
            model::check(here.popped == 1, "the item did not reach who waited for it");
        });
    };
}

// Closed while it waits: it is told, once, also if both are.
auto closed(bool both) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(0);
        model::add_fiber(s, "selects", [&here] {
            const auto told = [&here](std::optional<item> got) {
                model::check(!got, "an item");
                ++here.gave_up;
            };
            (void)select(on_pop(here.first, told), on_pop(here.second, told));
        });
        s.thread("closes", [&here] { here.first.close(); });
        if (both) s.thread("closes", [&here] { here.second.close(); });
        s.finally([&here] {
            here.check_all_there(0);
            model::check(here.gave_up == 1, "told twice, or not");
        });
    };
}

// It does not wait: either it finds the item, or that is still to be had.
auto does_not_wait(std::size_t capacity) {
    return [=](scenario& s) {
        auto& here = s.make<stage>(capacity);
        model::add_fiber(s, "looks", [&here] {
            (void)select(on_pop(here.first, [&here](std::optional<item> got) { here.note(std::move(got)); }),
                         otherwise([&here] { ++here.gave_up; }));
            model::check(here.popped + here.gave_up == 1, "more than one case was run");
            if (here.gave_up == 1) here.note(here.first.pop());
        });
        here.pushes(s, kind::fiber, here.first, 1);
        s.finally([&here] { here.check_all_there(1); });
    };
}

// Whoever has got the item may destroy the channels at once.
auto destroyed_by_who_selected(std::size_t capacity, kind what) {
    return [=](scenario& s) {
        auto& here = s.make<std::optional<stage>>(std::in_place, capacity);
        model::add_caller(s, what, "selects", [&here] {
            (void)here->take_one();
            here.reset();
        });
        model::add_caller(s, what, "pushes", [&here] { (void)here->first.push(item(1)); });
    };
}

// A select that was served visited all its channels once more, also the one that had served it.
auto destroyed_by_the_partner(kind what) {
    return [=](scenario& s) {
        auto& to = s.make<std::optional<channel>>(std::in_place, 0u);
        model::add_caller(s, what, "selects", [&to] { (void)select(on_push(*to, item(1), [] {})); });
        model::add_caller(s, what, "pops", [&to] {
            model::check(to->pop().has_value(), "nothing came");
            to.reset();
        });
    };
}

}  // namespace

TEST_SUITE_BEGIN("select model");

TEST_CASE("an item in one of two channels") {
    for (const std::size_t capacity : {0, 1}) {
        for (const kind what : {kind::fiber, kind::thread}) {
            for (const bool in_the_second : {false, true}) {
                model::must_pass(model::explore(one_item(capacity, what, in_the_second)));
            }
        }
        model::must_pass(model::explore({.stores = model::memory::pso}, one_item(capacity, kind::fiber, true)));
    }
}

TEST_CASE("an item in each: one of them is taken, and the other is there for the next") {
    for (const std::size_t capacity : {0, 1}) model::must_pass(model::explore(several, item_in_each(capacity)));
}

TEST_CASE("pushes to one of two, or to none in time") {
    for (const std::size_t capacity : {0, 1}) model::must_pass(model::explore(many, pushes_one_of_two(capacity)));
}

TEST_CASE("two selects that face each other do one thing, whatever the order of their channels") {
    for (const bool crossed : {false, true}) model::must_pass(model::explore(face_each_other(crossed)));
}

TEST_CASE("a select does not meet itself") {
    for (const bool partner : {false, true}) model::must_pass(model::explore(both_sides_of_one(partner)));
}

TEST_CASE("the same channel in two cases") {
    for (const std::size_t capacity : {0, 1}) model::must_pass(model::explore(many, one_channel_twice(capacity)));
}

TEST_CASE("a select that gives up takes nothing with it") {
    for (const std::size_t capacity : {0, 1}) {
        model::must_pass(model::explore(several, gives_up(capacity, interruption::late)));
        model::must_pass(model::explore(many, gives_up(capacity, interruption::cancelled)));
    }
}

TEST_CASE("a select that waits is told of the end, once") {
    for (const bool both : {false, true}) model::must_pass(model::explore(several, closed(both)));
}

TEST_CASE("with otherwise() it does not wait") {
    for (const std::size_t capacity : {0, 1}) model::must_pass(model::explore(does_not_wait(capacity)));
}

TEST_CASE("whoever was served may destroy the channels") {
    for (const kind what : {kind::fiber, kind::thread}) {
        for (const std::size_t capacity : {0, 1}) {
            model::must_pass(model::explore(destroyed_by_who_selected(capacity, what)));
        }
        model::must_pass(model::explore(destroyed_by_the_partner(what)));
    }
}

TEST_CASE("what is wrong with the words under it is found") {
    using model::defect;
    SUBCASE("an unlock orders nothing") { model::must_race_with(defect::weak_stores, one_item(0, kind::fiber, false)); }
    SUBCASE("a lock keeps nobody out") { model::must_race_with(defect::no_locks, one_item(0, kind::fiber, false)); }
}

TEST_SUITE_END();
