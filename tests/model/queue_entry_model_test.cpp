// Who runs a task that has two entries in the queues, explored exhaustively.
//
// The story: a thief has taken a fresh task's entry and not looked at it yet. The task's joiner finds it in no queue,
// claims it by its state, calls it, and the task yields: now it stands in the joiner's queue a second time. Both
// holders of an entry read `started | queued`, each took his own entry for the stale one, and the task was never seen
// again: a tree of tasks hung once in thousands of runs, with all workers asleep.
#include <doctest/doctest.h>

#include "scheduler/core/queue_entry.hpp"
#include "tests/model/expect.hpp"
#include "tests/model/explorer.hpp"

namespace {

using fiber::engine::accept_entry;
using fiber::engine::claim_without_entry;
using fiber::engine::entry_verdict;
using fiber::engine::task_slot;
using model::scenario;

using accept_function = entry_verdict (*)(model::atomic<std::uint64_t>&, std::uint64_t&);

// As it was: looks at the state, and drops its entry whatever has happened since.
entry_verdict accept_without_asking(model::atomic<std::uint64_t>& state, std::uint64_t& now) {
    constexpr std::uint64_t both = task_slot::started | task_slot::queued;
    const std::uint64_t seen = state.load(std::memory_order_acquire);
    if ((seen & both) != both) return accept_entry(state, now);
    (void)state.fetch_and(~task_slot::queued, std::memory_order_acq_rel);
    return entry_verdict::dropped;
}

struct contested_task {
    void run() { parked_on.load(std::memory_order_relaxed) == nullptr ? start() : go_on(); }

    void start() {
        model::check(++starts == 1, "started twice");
        stack.set(1);
    }

    // The body yields: from here on the task has an entry of its own again.
    void yield() { parked_on.store(&stack, std::memory_order_relaxed); }

    void go_on() {
        model::check(++continuations == 1, "two workers run it");
        model::check(stack.get() == 1, "goes on before its stack was left");
    }

    model::atomic<std::uint64_t> state{task_slot::queued};
    model::plain<int> stack{0};
    model::atomic<model::plain<int>*> parked_on{nullptr};
    int claims = 0;
    int starts = 0;
    int continuations = 0;
};

auto two_entries(accept_function accept) {
    return [accept](scenario& s) {
        auto& task = s.make<contested_task>();
        s.thread("joiner", [&task, accept] {
            if (!claim_without_entry(task.state)) return;
            ++task.claims;
            task.start();
            task.yield();
            std::uint64_t now = 0;
            if (accept(task.state, now) == entry_verdict::run) task.run();
        });
        s.thread("thief", [&task, accept] {
            std::uint64_t now = 0;
            if (accept(task.state, now) == entry_verdict::run) task.run();
        });
        s.finally([&task] {
            model::check(task.starts == 1, "nobody started it");
            model::check(task.continuations == task.claims, "it waits for its turn, and both entries were dropped");
            model::check(!(task.state.peek() & task_slot::queued), "an entry is accounted for that is none");
        });
    };
}

}  // namespace

TEST_SUITE_BEGIN("queue entry model");

TEST_CASE("a task with two entries is run by one of their holders") {
    model::must_pass(model::explore(two_entries(&accept_entry<model::atomic<std::uint64_t>>)));
}

TEST_CASE("the checker finds the lost task when entries are dropped without asking who was first") {
    model::must_fail(model::explore(two_entries(&accept_without_asking)), "both entries were dropped");
}

TEST_CASE("a fresh task that two joiners and a worker are after is started once") {
    model::must_pass(model::explore([](scenario& s) {
        auto& task = s.make<contested_task>();
        for (const char* name : {"joiner", "another"}) {
            s.thread(name, [&task] {
                if (claim_without_entry(task.state)) task.start();
            });
        }
        s.thread("worker", [&task] {
            std::uint64_t now = 0;
            if (accept_entry(task.state, now) == entry_verdict::run) task.start();
        });
        s.finally([&task] {
            model::check(task.starts == 1, "nobody started it");
            model::check(!(task.state.peek() & task_slot::queued), "an entry is accounted for that is none");
        });
    }));
}

TEST_CASE("a task that stands in the injection queue is not claimed: that could not hold it twice") {
    std::atomic<std::uint64_t> state{task_slot::queued | task_slot::injected};
    CHECK_FALSE(claim_without_entry(state));
    CHECK(state.load() == (task_slot::queued | task_slot::injected));
    state.fetch_and(~task_slot::injected);
    CHECK(claim_without_entry(state));
    CHECK(state.load() == (task_slot::queued | task_slot::started));
}

TEST_SUITE_END();
