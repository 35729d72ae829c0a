// The mutex's protocol explored exhaustively, with plain threads as waiters: one owner at a time, who sees what the
// last owner wrote; no unlock is lost, time-outs or not; nobody who waits is overtaken; the last one may destroy the
// mutex.
#include <array>
#include <cstdint>
#include <doctest/doctest.h>

#include "fiber/detail/mutex_protocol.hpp"
#include "scheduler/park/park_state.hpp"
#include "tests/model/expect.hpp"
#include "tests/model/explorer.hpp"

namespace {

using fiber::detail::acquire_verdict;
using fiber::engine::caller_tag;
using fiber::engine::claim_verdict;
using fiber::engine::commit_verdict;
using fiber::engine::interruptible;
using fiber::engine::nanos;
using fiber::engine::never;
using fiber::engine::park_epoch;
using fiber::engine::wait_verdict;
using fiber::engine::wake_reason;
using model::scenario;

constexpr std::size_t most_callers = 3;

constexpr caller_tag tag_of(std::size_t caller) { return (caller + 1) * 64; }
constexpr std::size_t caller_of(caller_tag tag) { return tag / 64 - 1; }

struct model_spin {
    template <class Condition>
    static void until(Condition condition) {
        model::wait_until(condition);
    }
};

// engine::waiter of a plain thread. `handed` is written before the waiter is known, and not later.
struct model_waiter {
    void complete() {
        park.complete_for_thread();
        futex.wake();
    }

    // With a deadline: it may come at any moment.
    wake_reason wait(bool with_deadline) {
        if (park.commit() == commit_verdict::parked) sleep_until_complete(with_deadline);
        return park.finish();
    }

    void sleep_until_complete(bool with_deadline) {
        for (;;) {
            const std::uint32_t seen = park.futex_value();
            if (park.completed()) return;
            if (with_deadline && model::choose(2) == 1) {
                with_deadline = false;
                if (park.claim(epoch.get(), wake_reason::timed_out) != claim_verdict::lost) return;
                continue;
            }
            futex.sleep_while([&] { return park.futex_value() == seen; });
        }
    }

    fiber::engine::basic_park_state<model::atomic> park;
    model::sleepers futex;
    model::plain<park_epoch> epoch{0};
    void* handed = nullptr;  // the same in each execution
};

// engine::wait_queue, a waiter for each caller. Everything in it is plain: the word guards it.
class model_queue {
 public:
    model_queue() {
        for (std::size_t c = 0; c < most_callers; ++c) waiters_[c].handed = reinterpret_cast<void*>(tag_of(c));
    }

    bool empty() const { return length_.get() == 0; }

    template <class Lock>
    wait_verdict wait_and_unlock(Lock& lock, nanos deadline, interruptible, void** handed) {
        const std::size_t self = caller_of(reinterpret_cast<caller_tag>(*handed));
        model_waiter& me = waiters_[self];
        me.epoch.set(me.park.begin(false));
        line_[length_.get()].set(self);
        length_.set(length_.get() + 1);
        lock.unlock();
        if (me.wait(deadline != never) == wake_reason::notified) return wait_verdict::notified;
        lock.lock();
        for (std::size_t place = 0; place < length_.get(); ++place) {
            if (line_[place].get() == self) {
                remove(place);
                break;
            }
        }
        lock.unlock();
        return wait_verdict::timed_out;
    }

    model_waiter* claim_first_locked() {
        while (!empty()) {
            model_waiter& first = waiters_[line_[0].get()];
            remove(0);
            if (first.park.claim(first.epoch.get(), wake_reason::notified) != claim_verdict::lost) return &first;
        }
        return nullptr;
    }

 private:
    void remove(std::size_t place) {
        const std::size_t left = length_.get() - 1;
        for (; place < left; ++place) line_[place].set(line_[place + 1].get());
        length_.set(left);
    }

    std::array<model_waiter, most_callers> waiters_;
    std::array<model::plain<std::size_t>, most_callers> line_;
    model::plain<std::size_t> length_{0};
};

// std::atomic's stand-in with one order weakened.
template <class T>
struct relaxed_store : model::atomic<T> {
    using model::atomic<T>::atomic;
    void store(T value, std::memory_order) { model::atomic<T>::store(value, std::memory_order_relaxed); }
};

template <template <class> class Atomic = model::atomic>
struct stage {
    using word_type = fiber::engine::basic_guarded_word<Atomic, model_spin>;

    // As mutex::lock() and unlock(), without the spinning.
    bool lock(std::size_t caller, nanos deadline = never) {
        if (word.change(0, tag_of(caller), std::memory_order_acquire)) return true;
        const auto verdict = protocol.acquire(tag_of(caller), deadline, false);
        model::check(verdict != acquire_verdict::relocked, "took another for itself");
        return verdict == acquire_verdict::owned;
    }
    void unlock(std::size_t caller) {
        if (word.change(tag_of(caller), 0, std::memory_order_release)) return;
        model::check(protocol.release(tag_of(caller)), "the owner was refused");
    }

    void section(std::size_t caller) {
        model::check(owner.get() == -1, "two owners");
        owner.set(static_cast<int>(caller));
        ++sections;
        owner.set(-1);
    }
    void lock_and_unlock(std::size_t caller, nanos deadline = never) {
        if (!lock(caller, deadline)) return;
        section(caller);
        unlock(caller);
    }
    void check_free() {
        model::check(lock(0), "left locked");
        model::check(queue.empty(), "somebody was left in the queue");
    }

    word_type word;
    model_queue queue;
    fiber::detail::mutex_protocol<word_type, model_queue> protocol{word, queue};
    model::plain<int> owner{-1};
    int sections = 0;
};

template <template <class> class Atomic = model::atomic>
auto contend(std::size_t callers, int rounds) {
    return [=](scenario& s) {
        auto& all = s.make<stage<Atomic>>();
        for (std::size_t c = 0; c < callers; ++c) {
            s.thread("caller", [&all, c, rounds] {
                for (int i = 0; i < rounds; ++i) all.lock_and_unlock(c);
            });
        }
        s.finally([&all, callers, rounds] {
            model::check(all.sections == static_cast<int>(callers) * rounds, "a lock was not served");
        });
    };
}

}  // namespace

TEST_SUITE_BEGIN("mutex model");

TEST_CASE("two callers, under each memory model") {
    for (const auto stores : {model::memory::interleaving, model::memory::tso, model::memory::pso}) {
        model::must_pass(model::explore({.stores = stores}, contend(2, 1)));
    }
}

TEST_CASE("two callers, two sections each") {
    model::must_pass(model::explore({.most_preemptions = 2}, contend(2, 2)));
}

TEST_CASE("three callers") { model::must_pass(model::explore({.most_preemptions = 2}, contend(3, 1))); }

TEST_CASE("a deadline that comes with the unlock: the lock or the time, and nothing is left behind") {
    model::must_pass(model::explore([](scenario& s) {
        auto& all = s.make<stage<>>();
        s.thread("patient", [&all] { all.lock_and_unlock(0); });
        s.thread("hurried", [&all] { all.lock_and_unlock(1, 1); });
        s.finally([&all] { all.check_free(); });
    }));
}

TEST_CASE("one who gives up and one who waits behind: the unlock reaches the second") {
    model::must_pass(model::explore({.most_preemptions = 2}, [](scenario& s) {
        auto& all = s.make<stage<>>();
        (void)all.word.change(0, tag_of(0), std::memory_order_acquire);
        s.thread("owner", [&all] { all.unlock(0); });
        s.thread("hurried", [&all] { all.lock_and_unlock(1, 1); });
        s.thread("patient", [&all] { all.lock_and_unlock(2); });
        s.finally([&all] { all.check_free(); });
    }));
}

TEST_CASE("who waits is not overtaken by the owner that comes again") {
    model::must_pass(model::explore([](scenario& s) {
        auto& all = s.make<stage<>>();
        auto& waiting = s.make<model::atomic<int>>(0);
        (void)all.word.change(0, tag_of(0), std::memory_order_acquire);
        s.thread("owner", [&all, &waiting] {
            model::wait_until([&] { return all.word.load() & all.protocol.contended; });
            waiting.store(1);
            all.unlock(0);
            model::check(all.lock(0), "not served");
            model::check(waiting.load() == 2, "it has overtaken one who waited");
            all.unlock(0);
        });
        s.thread("waits", [&all, &waiting] {
            model::check(all.lock(1), "not served");
            waiting.store(2);
            all.unlock(1);
        });
    }));
}

TEST_CASE("a word whose unlock orders nothing is found out") {
    model::must_fail(model::explore({.stores = model::memory::pso}, contend<relaxed_store>(2, 1)), "data race");
}
