// The park state explored exhaustively: one winner among those who wake, exactly one who makes the waiter runnable, no
// wake lost, nobody on a stack that is still in use, and what the winner wrote is seen.
#include <cstdint>
#include <doctest/doctest.h>

#include "scheduler/park/park_state.hpp"
#include "tests/model/expect.hpp"
#include "tests/model/explorer.hpp"

namespace {

using fiber::engine::claim_verdict;
using fiber::engine::commit_verdict;
using fiber::engine::complete_verdict;
using fiber::engine::park_epoch;
using fiber::engine::wake_reason;
using model::scenario;

enum class cancellable : bool { no, yes };

// A fiber that waits. Whoever has the duty to make it runnable runs it, there and then.
template <template <class> class Atomic = model::atomic>
struct waiting_fiber {
    void begin(cancellable mode) { epoch = park.begin(mode == cancellable::yes); }

    // The worker that the fiber leaves.
    void leave_stack() {
        stack.set(1);
        if (park.commit() == commit_verdict::runnable) return run(1);
        if (cancel_pending.load() == 1) claim_for_cancel();
    }

    void wake(park_epoch which, wake_reason reason) { end(park.claim(which, reason), reason); }

    void claim_for_cancel() {
        end(park.claim_cancel([this] { return cancel_pending.load() == 1; }), wake_reason::cancelled);
    }

    // A canceller.
    void cancel(std::memory_order order) {
        cancel_pending.store(1, order);
        claim_for_cancel();
    }

    void end(claim_verdict won, wake_reason reason) {
        if (won == claim_verdict::lost) return;
        model::check(++winners == 1, "two winners");
        handed.set(static_cast<int>(reason));
        if (park.complete(won) == complete_verdict::enqueue) run(1);
    }

    // Requires: the stack was left in this state.
    void run(int left) {
        model::check(++runs == 1, "made runnable twice");
        model::check(stack.get() == left, "runs on a stack that is in use");
        stack.set(left + 1);
        model::check(static_cast<int>(park.finish()) == handed.get(), "not what the winner handed over");
    }

    void check_end(int expected_runs) const {
        model::check(winners == expected_runs, "nobody won");
        model::check(runs == expected_runs, "the wake was lost");
    }

    fiber::engine::basic_park_state<Atomic> park;
    park_epoch epoch = 0;  // known to all from the start, if the wait was opened then
    model::plain<int> stack{0};
    model::plain<int> handed{0};
    model::atomic<int> cancel_pending{0};
    int winners = 0;
    int runs = 0;
};

template <template <class> class Atomic = model::atomic>
void notify_and_time_out(scenario& s) {
    auto& f = s.make<waiting_fiber<Atomic>>();
    f.begin(cancellable::no);
    s.thread("leaves", [&f] { f.leave_stack(); });
    s.thread("notifies", [&f] { f.wake(f.epoch, wake_reason::notified); });
    s.thread("times out", [&f] { f.wake(f.epoch, wake_reason::timed_out); });
    s.finally([&f] { f.check_end(1); });
}

auto cancel_only(cancellable mode, std::memory_order request) {
    return [mode, request](scenario& s) {
        auto& f = s.make<waiting_fiber<>>();
        s.thread("waits", [&f, mode] {
            f.begin(mode);
            f.leave_stack();
        });
        s.thread("cancels", [&f, request] { f.cancel(request); });
        s.finally([&f, mode] { f.check_end(mode == cancellable::yes ? 1 : 0); });
    };
}

// Two waits in a row. The second is opened by whoever runs the fiber after the first.
struct fiber_that_waits_twice {
    void leave_stack(int which) {
        stack.set(which);
        if (park.commit() == commit_verdict::runnable) run(which);
    }

    void wake(park_epoch epoch, int which) {
        const claim_verdict won = park.claim(epoch, wake_reason::notified);
        if (won == claim_verdict::lost) return;
        model::check(++winners[which] == 1, "two winners of one wait");
        handed.set(10 * which);
        if (park.complete(won) == complete_verdict::enqueue) run(which);
    }

    void run(int which) {
        model::check(++runs[which] == 1, "made runnable twice");
        model::check(stack.get() == which, "runs on a stack that is in use, or too early");
        model::check(park.finish() == wake_reason::notified, "not the winner's reason");
        model::check(handed.get() == 10 * which, "woken by a wake that was meant for another wait");
        if (which == 2) return;
        handed.set(0);
        second_epoch.store(park.begin(false), std::memory_order_release);
        leave_stack(2);
    }

    fiber::engine::basic_park_state<model::atomic> park;
    const park_epoch first_epoch = park.begin(false);
    model::atomic<park_epoch> second_epoch{0};
    model::plain<int> stack{0};
    model::plain<int> handed{0};
    int winners[3] = {};
    int runs[3] = {};
};

// A plain thread that waits, as waiter::wait_on_thread() does.
struct waiting_thread {
    void wait(bool with_deadline) {
        handed.set(0);
        epoch.store(park.begin(false), std::memory_order_release);
        if (park.commit() == commit_verdict::parked) sleep_until_complete(with_deadline);
        model::check(static_cast<int>(park.finish()) == handed.get(), "not what the winner handed over");
        ++ends;
    }

    void sleep_until_complete(bool with_deadline) {
        for (;;) {
            const std::uint32_t seen = park.futex_value();
            if (park.completed()) return;
            if (with_deadline && model::choose(2) == 1) {
                with_deadline = false;
                if (park.claim(epoch.peek(), wake_reason::timed_out) == claim_verdict::lost) continue;
                model::check(++winners == 1, "two winners");
                handed.set(static_cast<int>(wake_reason::timed_out));
                return;
            }
            futex.sleep_while([&] { return park.futex_value() == seen; });
        }
    }

    void notify() {
        model::wait_until([this] { return epoch.peek() != 0; });
        if (park.claim(epoch.load(std::memory_order_acquire), wake_reason::notified) == claim_verdict::lost) return;
        model::check(++winners == 1, "two winners");
        handed.set(static_cast<int>(wake_reason::notified));
        park.complete_for_thread();
        futex.wake();
    }

    fiber::engine::basic_park_state<model::atomic> park;
    model::atomic<park_epoch> epoch{0};
    model::sleepers futex;
    model::plain<int> handed{0};
    int winners = 0;
    int ends = 0;
};

auto thread_waits(bool with_deadline, int notifiers) {
    return [=](scenario& s) {
        auto& t = s.make<waiting_thread>();
        s.thread("waits", [&t, with_deadline] { t.wait(with_deadline); });
        for (int i = 0; i < notifiers; ++i) s.thread("notifies", [&t] { t.notify(); });
        s.finally([&t] {
            model::check(t.winners == 1, "nobody won");
            model::check(t.ends == 1, "the wake was lost");
        });
    };
}

// A park state whose read-modify-writes order nothing.
template <class T>
struct relaxed_updates : model::atomic<T> {
    using model::atomic<T>::atomic;
    T fetch_or(T value, std::memory_order) { return model::atomic<T>::fetch_or(value, std::memory_order_relaxed); }
};

// A park state whose commit and complete are made of two steps.
template <class T>
struct torn_updates : model::atomic<T> {
    using model::atomic<T>::atomic;
    T fetch_or(T value, std::memory_order) {
        const T old = model::atomic<T>::load();
        model::atomic<T>::store(old | value);
        return old;
    }
};

}  // namespace

TEST_SUITE_BEGIN("park state model");

TEST_CASE("a wake before, while and after the waiter leaves its stack: made runnable exactly once") {
    model::must_pass(model::explore([](scenario& s) {
        auto& f = s.make<waiting_fiber<>>();
        f.begin(cancellable::no);
        s.thread("leaves", [&f] { f.leave_stack(); });
        s.thread("notifies", [&f] { f.wake(f.epoch, wake_reason::notified); });
        s.finally([&f] { f.check_end(1); });
    }));
}

TEST_CASE("notify against time-out: one winner, and its reason is what the waiter sees") {
    model::must_pass(model::explore(notify_and_time_out<>));
    model::must_pass(model::explore({.stores = model::memory::pso}, notify_and_time_out<>));
}

TEST_CASE("notify, time-out and cancel at once") {
    model::must_pass(model::explore([](scenario& s) {
        auto& f = s.make<waiting_fiber<>>();
        f.begin(cancellable::yes);
        s.thread("leaves", [&f] { f.leave_stack(); });
        s.thread("notifies", [&f] { f.wake(f.epoch, wake_reason::notified); });
        s.thread("times out", [&f] { f.wake(f.epoch, wake_reason::timed_out); });
        s.thread("cancels", [&f] { f.cancel(std::memory_order_seq_cst); });
        s.finally([&f] { f.check_end(1); });
    }));
}

TEST_CASE("a cancellation is not slept through, and needs its seq_cst request for that") {
    model::must_pass(model::explore(cancel_only(cancellable::yes, std::memory_order_seq_cst)));
    model::must_fail(model::explore(cancel_only(cancellable::yes, std::memory_order_release)), "nobody won");
}

TEST_CASE("a wait that is not cancellable is not cancelled") {
    model::must_pass(model::explore(cancel_only(cancellable::no, std::memory_order_seq_cst)));
}

TEST_CASE("a wake for an earlier wait does nothing to the next one") {
    model::must_pass(model::explore([](scenario& s) {
        auto& f = s.make<fiber_that_waits_twice>();
        s.thread("leaves", [&f] { f.leave_stack(1); });
        for (int i = 0; i < 2; ++i) s.thread("first", [&f] { f.wake(f.first_epoch, 1); });
        s.thread("second", [&f] {
            model::wait_until([&f] { return f.second_epoch.peek() != 0; });
            f.wake(f.second_epoch.load(std::memory_order_acquire), 2);
        });
        s.finally([&f] { model::check(f.runs[1] == 1 && f.runs[2] == 1, "a wake was lost"); });
    }));
}

TEST_CASE("a plain thread sleeps until it is notified or late") {
    model::must_pass(model::explore(thread_waits(false, 1)));
    model::must_pass(model::explore(thread_waits(false, 2)));
    model::must_pass(model::explore(thread_waits(true, 1)));
    model::must_pass(model::explore(thread_waits(true, 2)));
}

TEST_CASE("a park state that lacks one order is found") {
    SUBCASE("P1, P2: commit and complete order nothing") {
        model::must_fail(model::explore(notify_and_time_out<relaxed_updates>), "data race");
    }
    SUBCASE("commit and complete miss each other") {
        model::must_fail(model::explore(notify_and_time_out<torn_updates>));
    }
}

TEST_SUITE_END();
