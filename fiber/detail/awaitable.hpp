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

[[noreturn]] void throw_null_handle();  // invalid_option

// What a pointer in a range stands for. Throws invalid_option for nullptr.
template <awaitable H>
H& pointed_to(H* handle) {
    if (handle == nullptr) throw_null_handle();
    return *handle;
}

// What can be asked for its result but hides the task behind it: shield().
template <class H>
concept awaitable_by_get = !awaitable<H> && requires(H & h) {
    typename std::remove_cvref_t<H>::value_type;
    h.done();
    h.get();
};

}  // namespace fiber::detail
