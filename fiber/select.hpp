// select: waits for several channels at once and does exactly one thing. Go's select statement
// (https://go.dev/ref/spec#Select_statements), after the guarded alternatives of Hoare's CSP.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

#include "fiber/channel.hpp"

namespace fiber {

namespace detail {

// One channel case of a select. In the frame of the caller.
struct select_case {
    using attempt = hand_over_verdict (*)(select_case&, engine::wake_list&);
    select_case(hand_over_base& of, hand_over_list& side, attempt how) noexcept
        : core(&of), list(&side), attempt_locked(how) {}

    hand_over_base* core;
    hand_over_list* list;    // where its entry waits
    attempt attempt_locked;  // under the channel's lock: done, closed or blocked
    hand_over_entry entry;
    hand_over_verdict outcome = hand_over_verdict::blocked;
};

enum class select_mode : bool { poll, wait };

// Tries all cases, in random order, and waits for them until `deadline`. Returns the one that was taken, its `outcome`
// set; nullptr: none, or none in time. `by_address` is room for as many. Cancellation point.
select_case* select_one(select_case* const* cases, select_case** by_address, std::size_t count, select_mode mode,
                        engine::nanos deadline);

[[noreturn]] void throw_empty_select();
[[noreturn]] void throw_pushed_to_closed();

template <class T, class F>
struct pop_case : select_case {
    pop_case(channel<T>& from, F f)
        : select_case(from.core(), from.core().poppers(), &attempt_pop), function(std::move(f)) {
        entry.item = &item;
    }
    pop_case(const pop_case&) = delete;
    pop_case& operator=(const pop_case&) = delete;

    static hand_over_verdict attempt_pop(select_case& self, engine::wake_list& woken) {
        auto& me = static_cast<pop_case&>(self);
        return static_cast<hand_over<T, ring<T>>*>(me.core)->pop_locked(me.item, woken);
    }
    void run() { std::move(function)(std::move(item)); }

    F function;
    std::optional<T> item;
};

// Held: a T of its own, or T&& where the caller passed an rvalue.
template <class T, class Held, class F>
struct push_case : select_case {
    template <class V>
    push_case(channel<T>& to, V&& value, F f)
        : select_case(to.core(), to.core().pushers(), &attempt_push),
          item(std::forward<V>(value)),
          function(std::move(f)) {
        entry.item = &item;
    }
    push_case(const push_case&) = delete;
    push_case& operator=(const push_case&) = delete;

    static hand_over_verdict attempt_push(select_case& self, engine::wake_list& woken) {
        auto& me = static_cast<push_case&>(self);
        return static_cast<hand_over<T, ring<T>>*>(me.core)->push_locked(me.item, woken);
    }
    void run() {
        if constexpr (std::is_invocable_v<F&&, bool>) {
            std::move(function)(outcome == hand_over_verdict::done);
        } else {
            if (outcome != hand_over_verdict::done) throw_pushed_to_closed();
            std::move(function)();
        }
    }

    Held item;
    F function;
};

template <class F>
struct timeout_case {
    engine::nanos deadline;
    F function;
    void run() { std::move(function)(); }
};

template <class F>
struct otherwise_case {
    F function;
    void run() { std::move(function)(); }
};

template <class Case>
inline constexpr bool is_channel_case = std::is_base_of_v<select_case, Case>;
template <class Case>
inline constexpr bool is_timeout_case = false;
template <class F>
inline constexpr bool is_timeout_case<timeout_case<F>> = true;
template <class Case>
inline constexpr bool is_otherwise_case = false;
template <class F>
inline constexpr bool is_otherwise_case<otherwise_case<F>> = true;

}  // namespace detail

// --- The cases, to be written in the call of select() ---

// When an item can be popped: f(std::optional<T>), empty when the channel is closed and drained, which counts as ready.
template <class T, class F>
requires std::is_invocable_v<F, std::optional<T>>
[[nodiscard]] auto on_pop(channel<T>& from, F f) { return detail::pop_case<T, F>(from, std::move(f)); }

// When the value can be pushed: f(), or f(bool) if it takes one. A channel that is closed counts as ready: then
// f(false) is called, and where f takes no bool select() throws channel_closed. An rvalue of type T is moved from only
// when the case is taken, and then not if the channel is closed; of anything else the case makes a T.
template <class T, class V, class F>
requires std::is_constructible_v<T, V&&> &&(std::is_invocable_v<F, bool> || std::is_invocable_v<F>)
    [[nodiscard]] auto on_push(channel<T>& to, V&& value, F f) {
    using held = std::conditional_t<std::is_same_v<V, T>, T&&, T>;
    return detail::push_case<T, held, F>(to, std::forward<V>(value), std::move(f));
}

// When nothing else was ready in time. The time runs from here. Of several the earliest counts. Throws
// std::invalid_argument for a duration that is not a number.
template <class Rep, class Period, class F>
requires std::is_invocable_v<F>
[[nodiscard]] auto on_timeout(const std::chrono::duration<Rep, Period>& limit, F f) {
    return detail::timeout_case<F>{detail::deadline_after(limit), std::move(f)};
}
template <class Clock, class Duration, class F>
requires std::is_invocable_v<F>
[[nodiscard]] auto on_timeout(const std::chrono::time_point<Clock, Duration>& when, F f) {
    return detail::timeout_case<F>{detail::deadline_at(when), std::move(f)};
}

// When nothing else is ready now: with it select() never waits. At most one.
template <class F>
requires std::is_invocable_v<F>
[[nodiscard]] auto otherwise(F f) { return detail::otherwise_case<F>{std::move(f)}; }

// Waits until one of the cases is ready, takes exactly one, calls its f and returns its index in the call, from 0. When
// several are ready, a random one is taken. The others have had no effect: no item was moved. f runs after everything
// was unlocked; what it throws goes to the caller, and what it returns is dropped. The same channel may stand in
// several cases; a select never meets itself. Fibers and plain threads alike. Throws usage_error without any case; what
// moving a T throws, and then nothing has happened. Cancellation point.
template <class... Cases>
std::size_t select(Cases&&... cases) {
    using namespace detail;
    constexpr std::size_t channels = (std::size_t{0} + ... + is_channel_case<std::decay_t<Cases>>);
    constexpr std::size_t fallbacks = (std::size_t{0} + ... + is_otherwise_case<std::decay_t<Cases>>);
    constexpr std::size_t timeouts = (std::size_t{0} + ... + is_timeout_case<std::decay_t<Cases>>);
    static_assert(channels + fallbacks + timeouts == sizeof...(Cases),
                  "fiber: select() takes on_pop, on_push, on_timeout and otherwise");
    static_assert(fallbacks <= 1, "fiber: select() takes one otherwise() at most");
    if constexpr (sizeof...(Cases) == 0) {
        throw_empty_select();
    } else {
        std::array<select_case*, channels + 1> found{};
        std::array<select_case*, channels + 1> by_address{};
        engine::nanos deadline = engine::never;
        const void* if_none = nullptr;
        std::size_t count = 0;
        const auto note = [&](auto& each) {
            using Case = std::decay_t<decltype(each)>;
            if constexpr (is_channel_case<Case>) {
                found[count++] = &each;
            } else if constexpr (is_otherwise_case<Case>) {
                if_none = &each;
            } else if (fallbacks == 0 && (if_none == nullptr || each.deadline < deadline)) {
                deadline = each.deadline;
                if_none = &each;
            }
        };
        (note(cases), ...);
        select_case* taken = select_one(found.data(), by_address.data(), count,
                                        fallbacks != 0 ? select_mode::poll : select_mode::wait, deadline);
        std::size_t index = 0;
        const auto run_if_chosen = [&](auto& each) {
            bool chosen = false;
            if constexpr (is_channel_case<std::decay_t<decltype(each)>>) {
                chosen = taken == &each;
            } else {
                chosen = taken == nullptr && if_none == &each;
            }
            chosen ? each.run() : static_cast<void>(++index);
            return chosen;
        };
        (run_if_chosen(cases) || ...);
        return index;
    }
}

}  // namespace fiber
