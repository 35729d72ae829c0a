// What is known of one descriptor, by one thread: who may try, who waits, who gives it back.
#include "scheduler/io/readiness.hpp"

#include <doctest/doctest.h>
#include <vector>

using namespace fiber::engine;

namespace {

constexpr io_direction in = io_direction::read;
constexpr io_direction out = io_direction::write;

struct claims {
    std::vector<list_node*> nodes;
    int alone = 0;
    auto into() {
        return [this](list_node& node, bool takes_edge) {
            nodes.push_back(&node);
            alone += takes_edge;
            return true;
        };
    }
};

}  // namespace

TEST_SUITE_BEGIN("readiness");

TEST_CASE("at first anything may be tried; what was taken stays taken until an edge") {
    readiness state;
    CHECK(state.is_ready(in));
    CHECK(state.is_ready(out));
    CHECK(state.take(in));
    CHECK_FALSE(state.take(in));
    CHECK(state.is_ready(out));
    claims claimed;
    state.raise(readiness::ready(in), claimed.into());
    CHECK(claimed.nodes.empty());
    CHECK(state.take(in));
    CHECK_FALSE(state.take(in));
}

TEST_CASE("an edge that comes between the take and the wait is not slept through") {
    readiness state;
    list_node waiting;
    claims claimed;
    CHECK(state.enter(in, true) == enter_verdict::ready);
    state.raise(readiness::ready(in), claimed.into());  // while the system call runs, which then says EAGAIN
    CHECK(state.await(in, waiting) == await_verdict::ready);
    CHECK_FALSE(waiting.linked());
    CHECK_FALSE(state.take(in));  // await() did
    CHECK(state.await(in, waiting) == await_verdict::waiting);
    state.raise(readiness::ready(in), claimed.into());
    CHECK(claimed.nodes == std::vector<list_node*>{&waiting});
    CHECK_FALSE(waiting.linked());
    CHECK(state.leave() == leave_verdict::stays_open);
}

TEST_CASE("an edge wakes all of its direction, in the order in which they came, and nobody else") {
    readiness state;
    list_node first, second, writer;
    claims claimed;
    (void)state.take(in);
    (void)state.take(out);
    CHECK(state.await(in, first) == await_verdict::waiting);
    CHECK(state.await(in, second) == await_verdict::waiting);
    CHECK(state.await(out, writer) == await_verdict::waiting);
    state.raise(readiness::ready(in), claimed.into());
    CHECK(claimed.nodes == std::vector<list_node*>{&first, &second});
    CHECK(writer.linked());
    state.withdraw(writer);
    CHECK_FALSE(writer.linked());
    state.withdraw(writer);  // again: nothing
    state.raise(readiness::ready(out), claimed.into());
    CHECK(claimed.nodes.size() == 2);
}

TEST_CASE("an edge goes with a lone waiter; several find it set, and so does whoever comes after one that was lost") {
    readiness state;
    list_node first, second;
    claims claimed;
    (void)state.take(in);
    CHECK(state.await(in, first) == await_verdict::waiting);
    state.raise(readiness::ready(in), claimed.into());
    CHECK(claimed.alone == 1);
    CHECK_FALSE(state.take(in));
    CHECK(state.await(in, first) == await_verdict::waiting);
    CHECK(state.await(in, second) == await_verdict::waiting);
    state.raise(readiness::ready(in), claimed.into());
    CHECK(claimed.alone == 1);
    CHECK(state.take(in));
    CHECK_FALSE(state.take(in));
    CHECK(state.await(in, first) == await_verdict::waiting);
    state.raise(readiness::ready(in), [](list_node&, bool) { return false; });  // it has timed out meanwhile
    CHECK(state.take(in));
    CHECK(state.await(in, first) == await_verdict::waiting);
    state.raise(readiness::ready(in) | readiness::ended(in), claimed.into());
    CHECK(state.take(in));  // an end is for all
    CHECK(state.take(in));
}

TEST_CASE("entering and waiting are one step: a user from then on, but for what is closed") {
    readiness state;
    list_node waiting;
    claims claimed;
    CHECK(state.enter_and_await(in, waiting) == await_verdict::ready);
    CHECK_FALSE(state.is_ready(in));
    CHECK(state.leave() == leave_verdict::stays_open);
    CHECK(state.enter_and_await(in, waiting) == await_verdict::waiting);
    CHECK(state.close(claimed.into()) == close_verdict::left_to_users);
    CHECK(claimed.nodes == std::vector<list_node*>{&waiting});
    CHECK(state.leave() == leave_verdict::give_back);
    CHECK(state.enter_and_await(in, waiting) == await_verdict::closed);
}

TEST_CASE("what has ended stays ready, until somebody finds that it goes on") {
    readiness state;
    claims claimed;
    state.raise(readiness::ready(in) | readiness::ended(in), claimed.into());
    CHECK(state.take(in));
    CHECK(state.take(in));
    CHECK(state.enter(in, true) == enter_verdict::ready);
    CHECK(state.has_ended(in));
    CHECK_FALSE(state.has_ended(out));
    state.take_all(in);
    CHECK_FALSE(state.has_ended(in));
    CHECK_FALSE(state.take(in));
    CHECK(state.leave() == leave_verdict::stays_open);
}

TEST_CASE("closing wakes all, lets nobody in, and gives the descriptor back once: at once, or by the last user") {
    claims claimed;
    readiness unused;
    CHECK(unused.close(claimed.into()) == close_verdict::give_back);
    CHECK(unused.close(claimed.into()) == close_verdict::was_closed);
    CHECK(unused.enter(in, true) == enter_verdict::closed);
    CHECK(unused.is_closed());
    list_node late;
    CHECK(unused.await(in, late) == await_verdict::closed);

    readiness used;
    list_node reader, writer;
    CHECK(used.enter(in, true) == enter_verdict::ready);
    CHECK(used.enter(out, false) == enter_verdict::ready);
    used.take_all(out);
    CHECK(used.await(in, reader) == await_verdict::waiting);
    CHECK(used.await(out, writer) == await_verdict::waiting);
    CHECK(used.close(claimed.into()) == close_verdict::left_to_users);
    CHECK(claimed.nodes == std::vector<list_node*>{&reader, &writer});
    CHECK(used.leave() == leave_verdict::stays_open);
    CHECK(used.leave() == leave_verdict::give_back);
}

TEST_SUITE_END();
