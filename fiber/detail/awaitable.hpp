// What tasks, futures and shared futures have in common, for the verbs that take any of them.
#pragma once

#include <concepts>
#include <type_traits>

#include "scheduler/core/task.hpp"

namespace fiber::detail {

template <class H>
concept awaitable = requires(H& h) {
    typename std::remove_cvref_t<H>::value_type;
    { h.slot() } -> std::same_as<engine::task_slot&>;
    h.result();
};

// What can be asked for its result but hides the task behind it: shield().
template <class H>
concept awaitable_by_get = !awaitable<H> && requires(H & h) {
    typename std::remove_cvref_t<H>::value_type;
    h.done();
    h.get();
};

}  // namespace fiber::detail
