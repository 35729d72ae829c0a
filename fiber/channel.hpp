// Channels: items go from those who push to those who pop, each to exactly one, in order. Hoare's "Communicating
// Sequential Processes" (1978), as Go has them; asyncio has no such thing (its Queue is in queue.hpp).
// Fibers and plain threads alike, in any mixture: where a fiber parks, a thread blocks.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>

#include "fiber/detail/hand_over.hpp"
#include "fiber/detail/ring.hpp"
#include "fiber/duration.hpp"
#include "fiber/error.hpp"

namespace fiber {

// How an operation ended that may end in more than two ways. Is true in an `if` exactly when it is `ok`; can be
// compared and switched over: case channel_status::full.
class channel_status {
 public:
    enum class value : std::uint8_t {
        ok,
        empty,   // try_pop: nothing there now
        full,    // try_push: no room, or at a rendezvous nobody who pops, now
        closed,  // push: closed; pop: closed and drained
        timeout  // the time was up first
    };
    static constexpr value ok = value::ok;
    static constexpr value empty = value::empty;
    static constexpr value full = value::full;
    static constexpr value closed = value::closed;
    static constexpr value timeout = value::timeout;

    constexpr channel_status(value status) noexcept : value_(status) {}
    constexpr operator value() const noexcept { return value_; }
    constexpr explicit operator bool() const noexcept { return value_ == ok; }
    friend constexpr bool operator==(channel_status a, channel_status b) noexcept { return a.value_ == b.value_; }
    friend constexpr bool operator==(channel_status a, value b) noexcept { return a.value_ == b; }

 private:
    value value_;
};

namespace detail {

std::size_t require_channel_capacity(std::size_t capacity);  // throws invalid_option
[[noreturn]] void throw_closed_twice();

constexpr channel_status status_of(hand_over_verdict got, channel_status blocked) noexcept {
    switch (got) {
        case hand_over_verdict::done:
            return channel_status::ok;
        case hand_over_verdict::closed:
            return channel_status::closed;
        case hand_over_verdict::timed_out:
            return channel_status::timeout;
        default:
            return blocked;
    }
}

}  // namespace detail

// A queue of at most `capacity` items between those who push and those who pop; with capacity 0 a rendezvous: a push
// ends when a pop has taken its item. First come, first served, on both sides.
//
// Push, pop and their timed forms are cancellation points: they throw `cancelled` on entry or while they wait. Then,
// and when the time is up, nothing has happened: no item is lost, and one that was passed as an rvalue or by reference
// is still where it was. An item that has changed hands is never taken back: the operation returns, and a cancellation
// that came at the same time is delivered at the next cancellation point.
//
// T is move-only at least. Its move constructor runs under a spin lock: it must not wait. It may throw: in push() and
// pop() that goes to the caller, and nothing has happened.
//
// The channel must outlive all who use it; the last that was woken may destroy it.
template <class T>
class channel {
    static_assert(std::is_object_v<T> && !std::is_const_v<T> && std::is_move_constructible_v<T>,
                  "fiber: channel<T> needs an object type that can be moved");

 public:
    using value_type = T;
    class iterator;

    // Throws invalid_option beyond 2^31 items, std::bad_alloc. All memory is taken here.
    explicit channel(std::size_t capacity = 0) : core_(detail::require_channel_capacity(capacity)) {}
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;

    // --- push ---

    // Waits for room, or at a rendezvous for who pops. false: the channel is closed, and the item stays the caller's.
    // Any thread. Cancellation point.
    bool push(T&& item) { return core_.push(item, engine::never) == detail::hand_over_verdict::done; }
    bool push(const T& item) requires std::is_copy_constructible_v<T> { return push(T(item)); }

    // Pushes if that can be done at once. The form for an lvalue says why not, and moves from `item` only if `ok`.
    // Any thread. Never waits, and is no cancellation point.
    channel_status try_push(T& item) { return detail::status_of(core_.try_push(item), channel_status::full); }
    bool try_push(T&& item) { return core_.try_push(item) == detail::hand_over_verdict::done; }
    bool try_push(const T& item) requires std::is_copy_constructible_v<T> { return try_push(T(item)); }

    // Push that waits for a time at most. false: closed, or the time was up. Throws std::invalid_argument for a
    // duration that is not a number. Any thread. Cancellation point.
    template <class Rep, class Period>
    channel_status push_for(T& item, const std::chrono::duration<Rep, Period>& limit) {
        return push_by(item, detail::deadline_after(limit));
    }
    template <class Rep, class Period>
    bool push_for(T&& item, const std::chrono::duration<Rep, Period>& limit) {
        return push_by(item, detail::deadline_after(limit)) == channel_status::ok;
    }
    template <class Rep, class Period>
    bool push_for(const T& item,
                  const std::chrono::duration<Rep, Period>& limit) requires std::is_copy_constructible_v<T> {
        return push_for(T(item), limit);
    }
    template <class Clock, class Duration>
    channel_status push_until(T& item, const std::chrono::time_point<Clock, Duration>& when) {
        return push_by(item, detail::deadline_at(when));
    }
    template <class Clock, class Duration>
    bool push_until(T&& item, const std::chrono::time_point<Clock, Duration>& when) {
        return push_by(item, detail::deadline_at(when)) == channel_status::ok;
    }
    template <class Clock, class Duration>
    bool push_until(const T& item,
                    const std::chrono::time_point<Clock, Duration>& when) requires std::is_copy_constructible_v<T> {
        return push_until(T(item), when);
    }

    // --- pop ---

    // Waits for an item. Empty: the channel is closed and drained. Any thread. Cancellation point.
    std::optional<T> pop() {
        std::optional<T> item;
        (void)core_.pop(item, engine::never);
        return item;
    }

    // Pops if something is there. The form for an lvalue assigns to `item` only if `ok`, and says why not.
    // Any thread. Never waits, and is no cancellation point.
    std::optional<T> try_pop() {
        std::optional<T> item;
        (void)core_.try_pop(item);
        return item;
    }
    channel_status try_pop(T& item) {
        std::optional<T> popped;
        return assign(item, popped, core_.try_pop(popped));
    }

    // Pop that waits for a time at most. Empty: closed and drained, or the time was up; the form for an lvalue says
    // which. Throws std::invalid_argument for a duration that is not a number. Any thread. Cancellation point.
    template <class Rep, class Period>
    std::optional<T> pop_for(const std::chrono::duration<Rep, Period>& limit) {
        return pop_by(detail::deadline_after(limit));
    }
    template <class Rep, class Period>
    channel_status pop_for(T& item, const std::chrono::duration<Rep, Period>& limit) {
        std::optional<T> popped;
        return assign(item, popped, core_.pop(popped, detail::deadline_after(limit)));
    }
    template <class Clock, class Duration>
    std::optional<T> pop_until(const std::chrono::time_point<Clock, Duration>& when) {
        return pop_by(detail::deadline_at(when));
    }
    template <class Clock, class Duration>
    channel_status pop_until(T& item, const std::chrono::time_point<Clock, Duration>& when) {
        std::optional<T> popped;
        return assign(item, popped, core_.pop(popped, detail::deadline_at(when)));
    }

    // --- the rest ---

    // No more pushes: those that wait and those that come return false. Pops take what is left, and are then told.
    // Throws usage_error if it is closed already (as Go's panics). Any thread.
    void close() {
        bool first = false;
        {
            detail::hand_over_section here(core_.lock());
            first = core_.close_locked(here.woken);
        }
        if (!first) detail::throw_closed_twice();
    }

    // Any thread. What they say may be over when it is read.
    bool closed() const noexcept { return core_.closed(); }
    std::size_t size() const noexcept { return core_.size(); }
    bool empty() const noexcept { return size() == 0; }

    // As it was made; 0: a rendezvous. Any thread.
    std::size_t capacity() const noexcept { return core_.store().capacity(); }

    // for (T& item : channel): pops until the channel is closed and drained. Each step is a cancellation point. A loop
    // that is left early has popped no more than it has seen.
    iterator begin() { return iterator(*this); }
    std::default_sentinel_t end() const noexcept { return {}; }

    // For the library's own algorithms.
    auto& core() noexcept { return core_; }

 private:
    channel_status push_by(T& item, engine::nanos deadline) {
        return detail::status_of(core_.push(item, deadline), channel_status::full);
    }
    std::optional<T> pop_by(engine::nanos deadline) {
        std::optional<T> item;
        (void)core_.pop(item, deadline);
        return item;
    }
    static channel_status assign(T& item, std::optional<T>& popped, detail::hand_over_verdict got) {
        if (popped) item = std::move(*popped);
        return detail::status_of(got, channel_status::empty);
    }

    detail::hand_over<T, detail::ring<T>> core_;
};

// An input iterator over what is popped: single pass, move-only, holds the item that it stands at.
template <class T>
class channel<T>::iterator {
 public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit iterator(channel& from) : from_(&from), item_(from.pop()) {}
    iterator(iterator&&) = default;
    iterator& operator=(iterator&&) = default;

    T& operator*() const noexcept { return *item_; }
    T* operator->() const noexcept { return &*item_; }
    iterator& operator++() {
        item_.reset();
        item_ = from_->pop();
        return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept { return !at.item_.has_value(); }

 private:
    channel* from_;
    mutable std::optional<T> item_;
};

}  // namespace fiber
