// Calls at a later time: loop.call_later and loop.call_at
// (https://docs.python.org/3/library/asyncio-eventloop.html#scheduling-delayed-callbacks).
#pragma once

#include <chrono>
#include <memory>
#include <type_traits>
#include <utility>

#include "fiber/duration.hpp"
#include "fiber/task.hpp"

namespace fiber {

namespace detail {

class later_call;

std::shared_ptr<later_call> make_later_call();  // throws usage_error outside a runtime
bool begin(later_call& call) noexcept;          // false: it was cancelled
bool cancel(later_call& call) noexcept;
void schedule(std::shared_ptr<later_call> call, engine::task_slot& slot, time_limit when) noexcept;

template <class F>
struct later_body {
    std::shared_ptr<later_call> call;
    F f;
    void operator()() {
        if (detail::begin(*call)) (void)detail::invoke(std::move(f));
    }
};

}  // namespace detail

// A call that was put off. May be copied and dropped; the call stands all the same. Any thread.
class call_handle {
 public:
    call_handle() noexcept = default;  // refers to nothing

    // true: it will not happen; its callable is destroyed now, or when its turn would have come. false: it has begun,
    // was cancelled before, or its run() has ended. Throws std::future_error (no_state) if it refers to nothing.
    bool cancel();

    // For the library's own algorithms.
    explicit call_handle(std::shared_ptr<detail::later_call> call) noexcept : call_(std::move(call)) {}

 private:
    std::shared_ptr<detail::later_call> call_;
};

namespace detail {

template <class F>
call_handle call_at(time_limit when, engine::call_site site, F&& f) {
    auto call = make_later_call();
    auto made = build_task({.site = site}, nullptr, later_body<std::decay_t<F>>{call, std::forward<F>(f)});
    schedule(call, made.give_up(), when);
    return call_handle(std::move(call));
}

}  // namespace detail

// Calls f() as a task of its own, not before the time has come: after a duration, zero or less meaning soon; or at a
// time point. The task has the context variables of the caller, as they are now; what f returns is dropped, what it
// throws is reported like an exception that nobody retrieved. Calls for one time happen in the order of asking, on one
// worker. When run() ends, calls that have not begun are dropped: they do not keep it.
//
// On a fiber. Never waits. Throws usage_error outside a runtime, std::invalid_argument for NaN, std::bad_alloc, and
// what copying f throws; then there is no call.
template <class Rep, class Period, class F>
requires std::is_invocable_v<std::decay_t<F>> call_handle call_later(
    const std::chrono::duration<Rep, Period>& delay, F&& f, engine::call_site site = engine::call_site::current()) {
    return detail::call_at(detail::limit_of(delay), site, std::forward<F>(f));
}
template <class Clock, class Duration, class F>
requires std::is_invocable_v<std::decay_t<F>> call_handle
call_at(const std::chrono::time_point<Clock, Duration>& when, F&& f,
        engine::call_site site = engine::call_site::current()) {
    return detail::call_at(detail::limit_of(when), site, std::forward<F>(f));
}

}  // namespace fiber
