// Time limits: asyncio.timeout and asyncio.wait_for
// (https://docs.python.org/3/library/asyncio-task.html#timeouts).
//
// Expiry is a cancellation of the running task that the scope turns into timeout_error on its way out. Hence all that
// can be cancelled can be timed out, clean-up runs and is waited for, and code that never waits is not interrupted.
//
// Thread safety: a timeout_scope belongs to the task that entered it.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <type_traits>
#include <utility>

#include "fiber/cancelled.hpp"
#include "fiber/detail/awaitable.hpp"
#include "fiber/duration.hpp"
#include "fiber/error.hpp"
#include "scheduler/core/timer.hpp"

namespace fiber {

// What with_timeout() hands to its callable. It is active until the callable returns.
class timeout_scope : engine::timer {
 public:
    // Moves the expiry: later, earlier, or away (std::nullopt). `limit`: a duration from now, a time point,
    // std::nullopt. A limit in the past expires at the next cancellation point. Throws usage_error when the scope has
    // expired (and the cancellation was delivered), or is not the caller's; std::invalid_argument for NaN.
    template <detail::limits_time Limit>
    void reschedule(const Limit& limit) {
        reschedule_to(detail::limit_of(limit));
    }

    // Has the time come before the callable returned? Stays true when the callable swallows the cancellation.
    bool expired() const noexcept { return state_.load(std::memory_order_relaxed) >= state::expiring; }

    // When it is going to expire, or did; none if never.
    std::optional<std::chrono::steady_clock::time_point> when() const noexcept;

    // --- for the library's own algorithms ---

    // Throws usage_error outside a task.
    explicit timeout_scope(detail::time_limit limit);
    ~timeout_scope() {
        if (state_.load(std::memory_order_relaxed) < state::left) (void)leave(leaving::otherwise);
    }
    timeout_scope(const timeout_scope&) = delete;
    timeout_scope& operator=(const timeout_scope&) = delete;

    // Disarms. true: it has expired and nobody else has cancelled the task, so a cancellation on its way out is this
    // scope's own. Once.
    enum class leaving : bool { otherwise, by_cancellation };
    [[nodiscard]] bool leave(leaving how) noexcept;

 private:
    enum class state : unsigned char { entered, expiring, left, left_expired };

    static bool fired(timer& self) noexcept;
    void arm(bool past) noexcept;
    bool disarm() noexcept;
    void expire() noexcept;
    bool expire_with_inner(engine::nanos inner) noexcept;
    bool leave_expired(leaving how) noexcept;
    void reschedule_to(detail::time_limit limit);
    void check_active() const;

    engine::task_slot* task_;
    timeout_scope* outer_;  // of the same stack, perhaps of another task
    void** innermost_;
    engine::nanos deadline_;
    unsigned cancelling_on_entry_;
    bool pending_on_entry_;
    bool armed_ = false;
    std::atomic<state> state_{state::entered};
};

namespace detail {

[[noreturn]] void throw_timeout();  // inside catch (const cancelled&): nests it
[[noreturn]] void throw_timeout_before_start();
// Waits until the task has finished and its result may be taken; on expiry cancels it and waits for its clean-up.
// Throws timeout_error, `cancelled`.
void await_within(engine::task_slot& slot, time_limit limit);

template <class F>
concept timed_body = std::is_invocable_v<F, timeout_scope&> || std::is_invocable_v<F>;

template <class F>
decltype(auto) call_within(timeout_scope& scope, F&& f) {
    if constexpr (std::is_invocable_v<F, timeout_scope&>) {
        return std::forward<F>(f)(scope);
    } else {
        return std::forward<F>(f)();
    }
}

template <class F>
decltype(auto) run_within(time_limit limit, F&& f) {
    timeout_scope scope(limit);
    try {
        return call_within(scope, std::forward<F>(f));
    } catch (const cancelled&) {
        if (scope.leave(timeout_scope::leaving::by_cancellation)) throw_timeout();
        throw;
    }
}

}  // namespace detail

// Calls f(), or f(timeout_scope&), in the calling task and returns what it returns. If it has not returned when the
// time is up, the task is cancelled, and the `cancelled` that leaves f becomes timeout_error, with the former nested.
//
// limit: a duration, a time point, or std::nullopt for none (yet). Zero or a time that has passed expires at the first
// cancellation point; a callable that never waits completes. Another exception that leaves f goes on; a cancellation
// from outside wins over the expiry; one that f swallows is swallowed, and the scope says expired(). Of nested scopes
// with equal deadlines the outermost throws. Inside uncancellable() the expiry is delivered after it.
//
// On a fiber. Throws usage_error outside a task, std::invalid_argument for NaN. asyncio.timeout, timeout_at.
template <detail::limits_time Limit, class F>
requires detail::timed_body<F>
decltype(auto) with_timeout(const Limit& limit, F&& f) {
    return detail::run_within(detail::limit_of(limit), std::forward<F>(f));
}

// The same, except that a limit of zero or in the past throws timeout_error without calling f. asyncio.wait_for.
template <detail::limits_time Limit, class F>
requires detail::timed_body<F>
decltype(auto) wait_for(const Limit& limit, F&& f) {
    const detail::time_limit wanted = detail::limit_of(limit);
    if (wanted.past) detail::throw_timeout_before_start();
    return detail::run_within(wanted, std::forward<F>(f));
}

// Waits for a task or future and gives its result, as get() does. When the time is up, it is cancelled, its clean-up
// waited for, and timeout_error thrown; but if it ends with a value or an exception of its own all the same, that is
// the result. One that is finished gives its result whatever the limit, at no cost; with a limit of zero or in the past
// one that has not started never starts.
//
// A fiber or a plain thread. Cancellation point: cancelling the caller cancels what it waits for. Throws
// std::future_error (no_state) for a handle that refers to nothing, std::invalid_argument for NaN. asyncio.wait_for.
template <detail::awaitable H, detail::limits_time Limit>
decltype(auto) wait_for(H&& handle, const Limit& limit) {
    engine::task_slot& slot = handle.slot();
    if (slot.is(engine::task_slot::finished)) {
        detail::require_number(limit);
    } else {
        detail::await_within(slot, detail::limit_of(limit));
    }
    return handle.get();
}
// Of shield(task): gives up waiting when the time is up, and leaves the task alone.
template <detail::awaitable_by_get H, detail::limits_time Limit>
decltype(auto) wait_for(H&& handle, const Limit& limit) {
    if (handle.done()) return handle.get();
    return detail::run_within(detail::limit_of(limit), [&]() -> decltype(auto) { return handle.get(); });
}

}  // namespace fiber
