// Waiting for some of several: asyncio.wait
// (https://docs.python.org/3/library/asyncio-task.html#waiting-primitives).
#pragma once

#include <cstddef>
#include <memory>
#include <ranges>
#include <type_traits>
#include <vector>

#include "fiber/detail/awaitable.hpp"
#include "fiber/duration.hpp"

namespace fiber {

enum return_when : unsigned char {
    first_completed,  // until one has ended, however
    first_exception,  // until one has failed, or all have ended; a cancelled one has not failed
    all_completed,
};

// Pointers to the handles that were given, in their order.
template <class Handle>
struct wait_result {
    std::vector<Handle*> done;
    std::vector<Handle*> pending;
};

namespace detail {

// The handle that an element of a range is or points to.
template <awaitable H>
H* handle_of(H& handle) noexcept {
    return std::addressof(handle);
}
template <awaitable H>
H* handle_of(H* handle) {
    return &pointed_to(handle);
}

// Handles that outlive the call: lent by an lvalue or a view, or pointed to.
template <class R>
concept handle_range = std::ranges::input_range<R> && requires(std::ranges::range_reference_t<R> each) {
    detail::handle_of(each);
} &&(std::is_pointer_v<std::ranges::range_value_t<R>> || std::is_lvalue_reference_v<R> ||
     std::ranges::borrowed_range<R>);

template <class R>
using handle_in = std::remove_pointer_t<decltype(handle_of(std::declval<std::ranges::range_reference_t<R>&>()))>;

template <class Range>
std::vector<handle_in<Range>*> handles_in(Range&& range) {
    std::vector<handle_in<Range>*> handles;
    if constexpr (std::ranges::sized_range<Range>) handles.reserve(std::ranges::size(range));
    for (auto&& each : range) handles.push_back(handle_of(each));
    return handles;
}

// Throws std::future_error (no_state).
template <class H>
std::vector<engine::task_slot*> slots_of(const std::vector<H*>& handles) {
    std::vector<engine::task_slot*> slots;
    slots.reserve(handles.size());
    for (H* each : handles) slots.push_back(&each->slot());
    return slots;
}

// Returns which have ended. Throws invalid_option, `cancelled`.
std::vector<bool> wait_for_some(const std::vector<engine::task_slot*>& slots, return_when when, engine::nanos deadline);

template <class Range>
auto wait_in(Range&& range, return_when when, engine::nanos deadline) {
    const auto handles = handles_in(range);
    const std::vector<bool> ended = wait_for_some(slots_of(handles), when, deadline);
    wait_result<handle_in<Range>> result;
    for (std::size_t i = 0; i < handles.size(); ++i) {
        (ended[i] ? result.done : result.pending).push_back(handles[i]);
    }
    return result;
}

}  // namespace detail

// Waits for tasks or futures until what `when` names has come, or the time is up, and tells which have ended by then.
// Never throws what a task has thrown, and cancels none: not when the time is up, nor when the caller is cancelled.
//
// range: of tasks, futures or shared futures, lent (an lvalue, a view), or of pointers to such, as a former wait()
// returned. limit: a duration, a time point, std::nullopt.
//
// A fiber or a plain thread. Cancellation point. Throws invalid_option for an empty range, a `when` that is none and a
// nullptr, std::future_error (no_state) for a handle that refers to nothing, std::invalid_argument for NaN, usage_error
// where the calling task is among them and, without a limit, nothing else could end the wait (any more),
// std::bad_alloc.
template <detail::handle_range Range>
auto wait(Range&& range, return_when when = all_completed) {
    return detail::wait_in(range, when, engine::never);
}
template <detail::handle_range Range, detail::limits_time Limit>
auto wait(Range&& range, return_when when, const Limit& limit) {
    return detail::wait_in(range, when, detail::limit_of(limit).deadline);
}
template <detail::handle_range Range, detail::limits_time Limit>
auto wait(Range&& range, const Limit& limit) {
    return detail::wait_in(range, all_completed, detail::limit_of(limit).deadline);
}

}  // namespace fiber
