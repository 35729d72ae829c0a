// The readiness of a descriptor explored exhaustively, with the library's own wait on it: no edge is slept through,
// what one reader leaves another gets, limits and cancellations lose nothing, a closed descriptor is given back once
// and when nobody uses it.
#include <doctest/doctest.h>

#include "scheduler/core/edge_wait.hpp"
#include "tests/model/caller.hpp"
#include "tests/model/expect.hpp"

namespace {

using fiber::engine::close_verdict;
using fiber::engine::enter_verdict;
using fiber::engine::io_direction;
using fiber::engine::io_user;
using fiber::engine::io_wait_verdict;
using fiber::engine::leave_verdict;
using fiber::engine::list_node;
using fiber::engine::nanos;
using fiber::engine::never;
using fiber::engine::readiness;
using model::caller;
using model::scenario;
using model::several;
using model::some_time;

constexpr io_direction in = io_direction::read;

// Three threads and more, or long ones: not every order, but each with up to four preemptions, or three.
constexpr model::options most{.stores = model::memory::interleaving, .most_preemptions = 4};
constexpr model::options few{.stores = model::memory::interleaving, .most_preemptions = 3};

auto claim_into(fiber::engine::wake_list& to_wake) {
    return [&to_wake](list_node& node, bool alone) { return fiber::engine::claim_for_edge(to_wake, node, alone); };
}

// A socket with a reader's half of a library, and a kernel that counts bytes. A byte that arrives is an edge.
class socket {
 public:
    // --- the kernel ---

    void arrive() {
        bytes_.fetch_add(1, std::memory_order_seq_cst);
        raise();
    }

    // At most `most`; 0: it would block. A user of the descriptor only.
    int receive(int most) {
        (void)static_cast<int>(number_);  // a read: it must be ordered with what gives the number back
        int seen = bytes_.load(std::memory_order_seq_cst);
        while (seen != 0 && !bytes_.compare_exchange_strong(seen, seen > most ? seen - most : 0)) {
        }
        return seen > most ? most : seen;
    }

    int left() const { return bytes_.peek(); }

    // --- the library, as its operations do it ---

    struct outcome {
        io_wait_verdict how;
        int count = 0;
    };

    // At least one byte, at most `room`.
    outcome read(int room, nanos deadline = never, bool cancellable = false) {
        io_user user = io_user::not_yet;
        outcome done = try_to_read(room, deadline, cancellable, user);
        if (done.how == io_wait_verdict::ready && done.count == room) raise();  // there may be more
        if (user == io_user::entered) leave();
        return done;
    }

    void close() {
        fiber::engine::wake_list to_wake;
        const close_verdict verdict = state_.close(claim_into(to_wake));
        if (verdict == close_verdict::give_back) give_back();
        to_wake.complete_all();
    }

    int given_back() { return number_; }

 private:
    void raise() {
        fiber::engine::wake_list to_wake;
        state_.raise(readiness::ready(in), claim_into(to_wake));
        to_wake.complete_all();
    }

    io_wait_verdict begin(nanos deadline, bool cancellable, io_user& user) {
        if (user == io_user::not_yet && state_.is_ready(in)) {
            const enter_verdict entered = state_.enter(in, true);
            if (entered == enter_verdict::closed) return io_wait_verdict::closed;
            user = io_user::entered;
            if (entered == enter_verdict::ready) return io_wait_verdict::ready;
        }
        for (;;) {
            if (const auto verdict =
                    fiber::engine::wait_for_edge(state_, *caller::current(), in, deadline, cancellable, user))
                return *verdict;
        }
    }

    outcome try_to_read(int room, nanos deadline, bool cancellable, io_user& user) {
        for (;;) {
            const io_wait_verdict how = begin(deadline, cancellable, user);
            if (how != io_wait_verdict::ready) return {how};
            if (const int count = receive(room)) return {how, count};
        }
    }

    void leave() {
        if (state_.leave() == leave_verdict::give_back) give_back();
    }

    void give_back() { number_ = number_ + 1; }

    readiness state_;
    model::atomic<int> bytes_{0};
    fiber::engine::guarded<int> number_ = 0;  // how often it was given back
};

struct stage {
    explicit stage(scenario& s) : ends(s.make<socket>()), got(s.make<int>(0)) {}

    void reads(scenario& s, int bytes, int room) {
        model::add_fiber(s, "reads", [this, bytes, room] {
            for (int mine = 0; mine < bytes;) {
                const int count = ends.read(room).count;
                mine += count;
                got += count;
            }
        });
    }
    void sends(scenario& s, int times = 1) {
        s.thread("sends", [this, times] {
            for (int i = 0; i < times; ++i) ends.arrive();
        });
    }

    socket& ends;
    int& got;
};

// One who may give up, and the byte that arrives meanwhile: he has it, or it is there for the next.
void gives_up(scenario& s, nanos deadline, bool cancelled) {
    auto& here = s.make<stage>(s);
    caller& reader = model::add_fiber(s, "reads", [&here, deadline, cancelled] {
        here.got += here.ends.read(8, deadline, cancelled).count;
        if (here.got == 0) here.got += here.ends.read(8).count;
    });
    if (deadline != never) reader.with_timer();
    here.sends(s);
    if (cancelled) s.thread("cancels", [&reader] { (void)reader.cancel(); });
    s.finally([&here] { model::check(here.got == 1, "a byte was lost"); });
}

void closed_meanwhile(scenario& s, int readers, bool sends) {
    auto& here = s.make<stage>(s);
    for (int i = 0; i < readers; ++i) {
        model::add_fiber(s, "reads", [&here] {
            while (here.ends.read(8).how == io_wait_verdict::ready) {
            }
        });
    }
    if (sends) here.sends(s);
    s.thread("closes", [&here] { here.ends.close(); });
    s.finally([&here] { model::check(here.ends.given_back() == 1, "not given back, or twice"); });
}

}  // namespace

TEST_SUITE_BEGIN("readiness model");

TEST_CASE("one reads what arrives: no edge is slept through") {
    for (const int room : {1, 8}) {
        model::must_pass(model::explore(most, [room](scenario& s) {
            auto& here = s.make<stage>(s);
            here.reads(s, 2, room);
            here.sends(s, 2);
            s.finally([&here] { model::check(here.got == 2, "a byte was lost"); });
        }));
    }
}

TEST_CASE("two read, each a part: what one leaves the other gets") {
    model::must_pass(model::explore(few, [](scenario& s) {
        auto& here = s.make<stage>(s);
        here.reads(s, 1, 1);
        here.reads(s, 1, 1);
        here.sends(s, 2);
        s.finally([&here] { model::check(here.got == 2, "a byte was lost"); });
    }));
}

TEST_CASE("a time-out that comes with the edge loses nothing") {
    model::must_pass(model::explore(several, [](scenario& s) { gives_up(s, some_time, false); }));
}

TEST_CASE("a cancellation that comes with the edge loses nothing") {
    model::must_pass(model::explore(most, [](scenario& s) { gives_up(s, never, true); }));
}

TEST_CASE("closing: all are woken, and the number is given back once, when nobody uses it") {
    model::must_pass(model::explore(several, [](scenario& s) { closed_meanwhile(s, 1, false); }));
    model::must_pass(model::explore(most, [](scenario& s) { closed_meanwhile(s, 1, true); }));
    model::must_pass(model::explore(most, [](scenario& s) { closed_meanwhile(s, 2, false); }));
}

TEST_CASE("what is wrong with the words under it is found") {
    using model::defect;
    SUBCASE("an unlock orders nothing") {
        model::must_race_with(defect::weak_stores, [](scenario& s) { closed_meanwhile(s, 1, false); });
    }
    SUBCASE("complete and commit miss each other") {
        const model::with_defect seeded(defect::torn_updates);
        model::must_fail(model::explore([](scenario& s) {
            auto& here = s.make<stage>(s);
            here.reads(s, 1, 8);
            here.sends(s);
        }));
    }
}

TEST_SUITE_END();
