// What the waiting verbs have in common: the wait for a state of a guarded word, and how misuse is reported.
#pragma once

#include <cstdint>

#include "fiber/this_fiber.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber::detail {

// Has the deadline come? Reads the clock of the current runtime, but not for `never`.
bool has_passed(engine::nanos deadline) noexcept;

// Waits until is_over(state of the word), or until it was notified, which means that it was over. false: the deadline
// came first. A fiber or a plain thread. Cancellation point: one that comes before the caller has run again wins.
template <class Predicate>
bool wait_for_state(engine::guarded_word& word, engine::wait_queue& waiters, engine::nanos deadline,
                    Predicate is_over) {
    for (;;) {
        this_fiber::check_cancelled();
        if (is_over(word.load())) return true;
        const bool expired = has_passed(deadline);
        engine::word_holder held{word, word.lock()};
        const bool over = is_over(held.state);
        if (over || expired) {
            held.unlock();
            return over;
        }
        const auto verdict = waiters.wait_and_unlock(held, deadline, engine::interruptible::yes);
        this_fiber::check_cancelled();
        if (verdict == engine::wait_verdict::notified) return true;
        if (verdict == engine::wait_verdict::timed_out) return false;
        // A cancellation that was withdrawn before this fiber ran: it waits on.
    }
}

[[noreturn]] void throw_not_the_owner(const char* what);   // std::system_error, operation_not_permitted
[[noreturn]] void throw_would_deadlock(const char* what);  // std::system_error, resource_deadlock_would_occur
[[noreturn]] void throw_unavailable(const char* what);     // std::system_error, resource_unavailable_try_again
[[noreturn]] void throw_invalid(const char* what);         // invalid_option
[[noreturn]] void throw_misuse(const char* what);          // usage_error

}  // namespace fiber::detail
