// The slow half of mutex: what happens under the lock bit of its word. A template, so that the model checker runs this
// very code on its own atomics and waiters.
//
// The word: the owner's tag, or 0 when the mutex is free; `contended`: somebody may stand in the queue.
// Invariant: while somebody stands in the queue the word is not 0, so the fast path of lock() fails: nobody slips in.
#pragma once

#include <cstdint>

#include "scheduler/base/clock.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/caller.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber::detail {

enum class acquire_verdict : std::uint8_t { owned, timed_out, relocked };  // relocked: the caller owns it already

template <class Word, class Waiters>
struct mutex_protocol {
    static constexpr std::uint64_t contended = 2;

    Word& word;
    Waiters& waiters;  // guarded by word; a waiter's `handed` is its tag

    // Takes the mutex, or waits for it at the end of the queue. `expired`: the deadline has come already.
    [[nodiscard]] acquire_verdict acquire(engine::caller_tag me, engine::nanos deadline, bool expired) {
        engine::basic_word_holder<Word> held{word, word.lock()};
        if (held.state == 0) {
            word.unlock(me);
            return acquire_verdict::owned;
        }
        const bool mine = engine::same_caller(held.state, me);
        if (mine || expired) {
            held.unlock();
            return mine ? acquire_verdict::relocked : acquire_verdict::timed_out;
        }
        held.state |= contended;
        void* handed = reinterpret_cast<void*>(me);
        const auto verdict = waiters.wait_and_unlock(held, deadline, engine::interruptible::no, &handed);
        return verdict == engine::wait_verdict::notified ? acquire_verdict::owned : acquire_verdict::timed_out;
    }

    // Hands the mutex to the first who waits. false: it is not the caller's, and nothing has happened.
    [[nodiscard]] bool release(engine::caller_tag me) {
        const std::uint64_t state = word.lock();
        if (!engine::same_caller(state, me)) {
            word.unlock(state);
            return false;
        }
        auto* next = waiters.claim_first_locked();
        if (next == nullptr) {
            word.unlock(0);
            return true;
        }
        const auto tag = reinterpret_cast<engine::caller_tag>(next->handed);
        word.unlock(engine::woken_by(tag, me) | (waiters.empty() ? 0 : contended));
        next->complete();  // and only now may the new owner run, and destroy the mutex
        return true;
    }
};

}  // namespace fiber::detail
