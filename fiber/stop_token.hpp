// std::stop_token and cancellation, both ways: for code that knows the one and meets the other. asyncio has none.
#pragma once

#include <cstdint>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "fiber/task.hpp"

namespace fiber {

namespace detail {

std::stop_token stop_token_of(engine::task_slot& slot);
engine::task_slot& running_task_for_stop();  // throws usage_error

// What a stop request does.
struct stop_canceller {
    engine::task_slot* slot;
    void operator()() const noexcept { (void)engine::cancel(*slot, nullptr); }
};

}  // namespace detail

// A token that is requested as soon as the task's cancel() is called, also while it computes or waits in a call that
// takes a stop_token; at once if it has been called already. Callbacks run inside cancel(), on its caller's thread, so
// they must not wait. When a cancellation was taken back (uncancel(), an expired time limit), the token that saw it
// stays requested; a new call gives a new one. Any thread. Throws std::bad_alloc, std::future_error (no_state).
template <class T>
std::stop_token get_stop_token(const task<T>& handle) {
    return detail::stop_token_of(handle.slot());
}

namespace this_fiber {
// Of the running task. Throws usage_error outside a task.
std::stop_token get_stop_token();
}  // namespace this_fiber

// While it stands, a stop request cancels the task. Made by cancel_on_stop(). Its destructor waits for a request that
// is being delivered on another thread, as std::stop_callback's does.
class [[nodiscard]] stop_link {
 public:
    stop_link(const std::stop_token& token, engine::task_slot& slot)
        : callback_(token, detail::stop_canceller{&slot}) {}
    stop_link(const stop_link&) = delete;
    stop_link& operator=(const stop_link&) = delete;

 private:
    std::stop_callback<detail::stop_canceller> callback_;
};

// A stop request cancels the task or future, or (without one) the running task, once; at once if it came before. The
// link must not outlive the handle, or the running task. Throws std::future_error (no_state), usage_error outside a
// task, std::bad_alloc.
inline stop_link cancel_on_stop(const std::stop_token& token, const detail::handle& target) {
    return stop_link(token, target.slot());
}
inline stop_link cancel_on_stop(const std::stop_token& token) {
    return stop_link(token, detail::running_task_for_stop());
}

// Calls f() in the running task and returns what it returns; a stop request meanwhile cancels the task. On a fiber.
// Throws what f throws, usage_error outside a task, std::bad_alloc.
template <class F>
requires std::is_invocable_v<F>
decltype(auto) with_stop_token(const std::stop_token& token, F&& f) {
    const stop_link link = cancel_on_stop(token);
    return std::forward<F>(f)();
}

}  // namespace fiber
