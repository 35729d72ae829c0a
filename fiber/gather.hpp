// Waiting for several at once and getting all their results: asyncio.gather
// (https://docs.python.org/3/library/asyncio-task.html#asyncio.gather).
//
// gather(a, b, ...) gives a tuple, gather(range) a vector, in the order of the arguments. An argument is a task or a
// future, moved in or borrowed (an lvalue), a shared_future, or a callable, which gather spawns. void becomes
// std::monostate in tuples; a range of void gives void.
//
// The first failure is rethrown at once. Borrowed tasks go on; tasks that were moved in, and those that gather spawned,
// are cancelled and joined on the way out: nothing dangles. A child that was cancelled has failed with `cancelled`.
// gather(return_exceptions, ...) waits for all and gives an outcome<T> for each.
//
// On a fiber, or on a plain thread if no argument is a callable. Cancellation point: cancelling the caller cancels
// every child that has not finished, with the same message; gather then waits for all of them, in both forms, before it
// throws. Throws std::logic_error if one task stands twice, usage_error for the calling task itself, std::future_error
// (no_state) for a handle that refers to nothing, invalid_option for a nullptr, std::bad_alloc; then nothing has been
// waited for.
#pragma once

#include <cstddef>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "fiber/detail/awaitable.hpp"
#include "fiber/future.hpp"
#include "fiber/outcome.hpp"
#include "fiber/task.hpp"

namespace fiber {

// Says that failures are wanted as values: gather(return_exceptions, ...).
struct return_exceptions_t {
    explicit return_exceptions_t() = default;
};
inline constexpr return_exceptions_t return_exceptions{};

namespace detail {

// One child of a gather: owns what was moved in, refers to what was lent.
template <class T, class Handle>
struct gathered {
    using value_type = T;
    Handle handle;

    static_assert(!std::is_same_v<std::remove_cvref_t<Handle>, shared_future<T>> ||
                      std::is_copy_constructible_v<stored_type<T>>,
                  "fiber: gather() copies the value of a shared_future, so that must be copyable: use get()");

    engine::task_slot& slot() const { return handle.slot(); }
    auto take() const {
        if constexpr (std::is_same_v<std::remove_cvref_t<Handle>, shared_future<T>>) {
            if (handle.result().has_exception()) rethrow_result(handle.result());
            return stored_type<T>(handle.result().value());
        } else {
            return handle.result().take_stored();
        }
    }
    outcome<T> end() const {
        return outcome<T>(handle.result(), !std::is_same_v<std::remove_cvref_t<Handle>, shared_future<T>>);
    }
};

// From an argument to a child. The place of a spawn is that of the gather.
template <class A>
auto gathered_from(A&& argument, engine::call_site site) {
    using bare = std::remove_cvref_t<A>;
    if constexpr (awaitable<bare>) {
        using T = typename bare::value_type;
        if constexpr (std::is_lvalue_reference_v<A>) {
            return gathered<T, bare&>{const_cast<bare&>(argument)};
        } else {
            return gathered<T, bare>{std::forward<A>(argument)};
        }
    } else if constexpr (std::is_pointer_v<bare> && awaitable<std::remove_pointer_t<bare>>) {
        return gathered_from(pointed_to(argument), site);
    } else {
        static_assert(std::is_invocable_v<std::decay_t<A>>,
                      "gather() takes tasks, futures and callables without arguments");
        auto made = detail::spawn_task({.site = site}, std::forward<A>(argument));
        using T = typename decltype(made)::value_type;
        return gathered<T, task<T>>{std::move(made)};
    }
}

enum class gather_mode : bool { first_failure, all };

// Waits as the head of this file says. Returns normally when the results may be taken; throws `cancelled` when the
// caller was cancelled; in mode first_failure throws what the first to fail has thrown. The children are left as they
// are. Cancellation point.
void gather_wait(engine::task_slot* const* children, std::size_t count, gather_mode mode);
// Throws std::logic_error when a child stands twice; nullptr may.
void require_distinct(engine::task_slot* const* children, std::size_t count);
// First all are cancelled, then all are joined: their clean-ups run at the same time, and none is cancelled a second
// time by its destructor.
void cancel_unfinished(engine::task_slot& slot) noexcept;
void join_unfinished(engine::task_slot& slot) noexcept;

template <class Child>
inline constexpr bool is_owned_task = std::is_same_v<decltype(Child::handle), task<typename Child::value_type>>;
template <class Child>
inline constexpr bool is_shared =
    std::is_same_v<std::remove_cvref_t<decltype(Child::handle)>, shared_future<typename Child::value_type>>;

template <class... Child>
struct gather_tuple {
    std::tuple<Child...> children;

    void wait(gather_mode mode) {
        std::apply(
            [&](auto&... child) {
                constexpr std::size_t count = sizeof...(Child);
                engine::task_slot* slots[count + 1] = {&child.slot()...};
                engine::task_slot* distinct[count + 1] = {(is_shared<Child> ? nullptr : &child.slot())...};
                require_distinct(distinct, count);
                try {
                    gather_wait(slots, count, mode);
                } catch (...) {
                    (if_owned(child, &cancel_unfinished), ...);
                    (if_owned(child, &join_unfinished), ...);
                    throw;
                }
            },
            children);
    }

    template <class C>
    static void if_owned(C& child, void (*act)(engine::task_slot&) noexcept) noexcept {
        if constexpr (is_owned_task<C>) act(child.slot());
    }
};

template <class... A>
auto make_gather_tuple(engine::call_site site, A&&... arguments) {
    // Braces: from left to right, so that callables are spawned in the order of the arguments.
    return gather_tuple<decltype(gathered_from(std::declval<A>(), site))...>{
        {gathered_from(std::forward<A>(arguments), site)...}};
}

template <class Range>
auto make_gather_vector(engine::call_site site, Range&& range) {
    using reference = std::ranges::range_reference_t<Range>;
    // A container that is given away gives its elements away; one that is lent, and a view, lends them.
    constexpr bool lent = std::is_lvalue_reference_v<Range> || std::ranges::view<std::remove_cvref_t<Range>>;
    using element = std::conditional_t<lent || !std::is_lvalue_reference_v<reference>, reference,
                                       std::remove_reference_t<reference> &&>;
    std::vector<decltype(gathered_from(std::declval<element>(), site))> children;
    if constexpr (std::ranges::sized_range<Range>) children.reserve(std::ranges::size(range));
    for (auto&& each : range) children.push_back(gathered_from(static_cast<element&&>(each), site));
    return children;
}

template <class Child>
void wait_for_all(std::vector<Child>& children, gather_mode mode) {
    std::vector<engine::task_slot*> slots;
    slots.reserve(children.size());
    for (const Child& child : children) slots.push_back(&child.slot());
    // Handles cannot be copied: only borrowed ones (pointers) can name one task twice.
    if constexpr (std::is_reference_v<decltype(Child::handle)> && !is_shared<Child>)
        require_distinct(slots.data(), slots.size());
    try {
        gather_wait(slots.data(), slots.size(), mode);
    } catch (...) {
        if constexpr (is_owned_task<Child>) {
            for (const Child& child : children) cancel_unfinished(child.slot());
            for (const Child& child : children) join_unfinished(child.slot());
        }
        throw;
    }
}

template <class A>
concept gather_range =
    std::ranges::input_range<A> && !awaitable<std::remove_cvref_t<A>> && !std::is_invocable_v<std::decay_t<A>>;
template <class A>
concept gather_argument = awaitable<std::remove_cvref_t<A>> || std::is_invocable_v<std::decay_t<A>>;

}  // namespace detail

// gather(a, b, ...): a tuple of the values, in the order of the arguments. The first failure is thrown at once.
template <class... A>
requires(detail::gather_argument<A>&&...) auto gather(A&&... arguments) {
    if constexpr (sizeof...(A) == 0) {
        return std::tuple<>();
    } else {
        auto all = detail::make_gather_tuple({}, std::forward<A>(arguments)...);
        all.wait(detail::gather_mode::first_failure);
        return std::apply([](auto&... child) { return std::tuple(child.take()...); }, all.children);
    }
}

// The same with an outcome<T> in each place; waits for all, and throws what no child has thrown.
template <class... A>
requires(detail::gather_argument<A>&&...) auto gather(return_exceptions_t, A&&... arguments) {
    if constexpr (sizeof...(A) == 0) {
        return std::tuple<>();
    } else {
        auto all = detail::make_gather_tuple({}, std::forward<A>(arguments)...);
        all.wait(detail::gather_mode::all);
        return std::apply([](auto&... child) { return std::tuple(child.end()...); }, all.children);
    }
}

// gather(range): a vector of the values, in the order of the range; nothing for a range of void.
template <detail::gather_range Range>
auto gather(Range&& range, engine::call_site site = engine::call_site::current()) {
    auto children = detail::make_gather_vector(site, std::forward<Range>(range));
    using child = typename decltype(children)::value_type;
    detail::wait_for_all(children, detail::gather_mode::first_failure);
    if constexpr (!std::is_void_v<typename child::value_type>) {
        std::vector<detail::stored_type<typename child::value_type>> values;
        values.reserve(children.size());
        for (const child& each : children) values.push_back(each.take());
        return values;
    }
}

// The same with a vector of outcome<T>.
template <detail::gather_range Range>
auto gather(return_exceptions_t, Range&& range, engine::call_site site = engine::call_site::current()) {
    auto children = detail::make_gather_vector(site, std::forward<Range>(range));
    using child = typename decltype(children)::value_type;
    detail::wait_for_all(children, detail::gather_mode::all);
    std::vector<outcome<typename child::value_type>> ends;
    ends.reserve(children.size());
    for (const child& each : children) ends.push_back(each.end());
    return ends;
}

}  // namespace fiber
