// asyncio.Queue, PriorityQueue and LifoQueue (https://docs.python.org/3/library/asyncio-queue.html), with the shutdown
// of Python 3.13. Fibers and plain threads alike: where a fiber parks, a thread blocks.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>

#include "fiber/detail/hand_over.hpp"
#include "fiber/detail/queue_stores.hpp"
#include "fiber/duration.hpp"
#include "fiber/error.hpp"

namespace fiber {

namespace detail {

[[noreturn]] void throw_queue_shutdown();

// The unfinished items, and who waits until there are none. Guarded by the queue's lock.
class queue_joiners {
 public:
    // Called with the lock held, returns with it released. Cancellation point.
    // false: the cancellation was taken back meanwhile; look again.
    bool wait_and_unlock(engine::spin_lock& lock);
    void wake_all(engine::wake_list& woken) noexcept { waiting_.claim_all_locked(woken); }

    [[noreturn]] static void throw_too_often();

 private:
    engine::wait_queue waiting_;
};

}  // namespace detail

// What queue, lifo_queue and priority_queue have in common: put() and get(), join() and task_done(), shutdown().
//
// Waiting functions are cancellation points: they throw `cancelled` on entry or while they wait, and then nothing has
// happened: no item is lost. An item that has changed hands is never taken back: the call returns, and a cancellation
// that came at the same time is delivered at the next cancellation point. First come, first served, on both sides.
//
// T is move-only at least. Moving and comparing run under a spin lock: they must not wait. They may throw: in put() and
// get() that goes to the caller, and nothing has happened. Except that get() moves the item twice, out of the queue and
// to the caller: if the second move throws, the item is lost. try_get() and get_for() move it once.
//
// The queue must outlive all who use it.
template <class T, class Store>
class basic_queue {
    static_assert(std::is_object_v<T> && !std::is_const_v<T> && std::is_move_constructible_v<T>,
                  "fiber: a queue needs an object type that can be moved");

 public:
    using value_type = T;

    basic_queue(const basic_queue&) = delete;
    basic_queue& operator=(const basic_queue&) = delete;

    // --- put ---

    // Waits while the queue is full. Throws queue_shutdown once it is shut down; then, as when it is cancelled, the
    // item stays the caller's. Throws std::bad_alloc. Any thread. Cancellation point.
    void put(T&& item) { (void)put_by(item, engine::never); }
    void put(const T& item) requires std::is_copy_constructible_v<T> { put(T(item)); }

    // put_nowait: false when the queue is full, and then has not moved from the item. Throws queue_shutdown.
    // Any thread. Never waits, and is no cancellation point.
    bool try_put(T&& item) { return entered(core_.try_push(item)); }
    bool try_put(const T& item) requires std::is_copy_constructible_v<T> { return try_put(T(item)); }

    // wait_for(put(item), limit): false when the time was up first, and then has not moved from the item. Throws as
    // put() does, and std::invalid_argument for a duration that is not a number. Any thread. Cancellation point.
    template <class Rep, class Period>
    bool put_for(T&& item, const std::chrono::duration<Rep, Period>& limit) {
        return put_by(item, detail::deadline_after(limit));
    }
    template <class Rep, class Period>
    bool put_for(const T& item,
                 const std::chrono::duration<Rep, Period>& limit) requires std::is_copy_constructible_v<T> {
        return put_for(T(item), limit);
    }
    template <class Clock, class Duration>
    bool put_until(T&& item, const std::chrono::time_point<Clock, Duration>& when) {
        return put_by(item, detail::deadline_at(when));
    }
    template <class Clock, class Duration>
    bool put_until(const T& item,
                   const std::chrono::time_point<Clock, Duration>& when) requires std::is_copy_constructible_v<T> {
        return put_until(T(item), when);
    }

    // --- get ---

    // Waits for an item. Throws queue_shutdown if the queue is shut down and empty. Any thread. Cancellation point.
    T get() { return *get_by(engine::never); }

    // get_nowait: empty when nothing is there. Throws queue_shutdown. Any thread. Never waits, no cancellation point.
    std::optional<T> try_get() {
        std::optional<T> item;
        (void)entered(core_.try_pop(item));
        return item;
    }

    // wait_for(get(), limit): empty when the time was up first. Throws as get() does, and std::invalid_argument for a
    // duration that is not a number. Any thread. Cancellation point.
    template <class Rep, class Period>
    std::optional<T> get_for(const std::chrono::duration<Rep, Period>& limit) {
        return get_by(detail::deadline_after(limit));
    }
    template <class Clock, class Duration>
    std::optional<T> get_until(const std::chrono::time_point<Clock, Duration>& when) {
        return get_by(detail::deadline_at(when));
    }

    // --- the work behind the items ---

    // The work on an item that was got is done. Throws usage_error (a std::logic_error) when called more often than
    // items were put. Any thread.
    void task_done() {
        detail::hand_over_section here(core_.lock());
        if (core_.store().unfinished() == 0) detail::queue_joiners::throw_too_often();
        if (core_.store().finish(1) == 0) joiners_.wake_all(here.woken);
    }

    // Waits until task_done() was called for each item that was put. Any thread. Cancellation point.
    void join() {
        detail::cancellation_point();
        for (;;) {
            detail::hand_over_section here(core_.lock());
            if (core_.store().unfinished() == 0) return;
            here.dismiss();
            if (joiners_.wait_and_unlock(core_.lock())) return;
        }
    }

    // Winds the queue down: from now on put() throws queue_shutdown, also in those who wait in it; get() goes on until
    // the queue is empty, and then throws too. `immediate`: what is in it is thrown away and counts as done, so that
    // get() throws at once. May be called again, to make it immediate. Any thread.
    void shutdown(bool immediate = false) {
        typename Store::content thrown_away;  // destroyed without the lock
        detail::hand_over_section here(core_.lock());
        (void)core_.close_locked(here.woken);
        if (!immediate) return;
        const std::size_t count = core_.store().size();
        const std::size_t unfinished = core_.store().unfinished();
        thrown_away = core_.store().take_all();
        if (core_.store().finish(count < unfinished ? count : unfinished) == 0) joiners_.wake_all(here.woken);
    }

    // --- a look at it: what they say may be over when it is read. Any thread. ---

    std::size_t size() const noexcept { return core_.size(); }
    bool empty() const noexcept { return size() == 0; }
    bool full() const noexcept { return maxsize() != 0 && size() >= maxsize(); }
    bool is_shut_down() const noexcept { return core_.closed(); }
    std::size_t maxsize() const noexcept { return core_.store().most(); }  // 0: no limit

 protected:
    template <class... A>
    explicit basic_queue(std::size_t maxsize, A&&... arguments) : core_(maxsize, std::forward<A>(arguments)...) {}
    ~basic_queue() = default;

 private:
    static bool entered(detail::hand_over_verdict got) {
        if (got == detail::hand_over_verdict::closed) [[unlikely]]
            detail::throw_queue_shutdown();
        return got == detail::hand_over_verdict::done;
    }
    bool put_by(T& item, engine::nanos deadline) { return entered(core_.push(item, deadline)); }
    std::optional<T> get_by(engine::nanos deadline) {
        std::optional<T> item;
        (void)entered(core_.pop(item, deadline));
        return item;
    }

    detail::hand_over<T, Store> core_;
    detail::queue_joiners joiners_;
};

// First in, first out: asyncio.Queue. maxsize: how many items it holds before put() waits; 0: no limit.
template <class T>
class queue : public basic_queue<T, detail::fifo_store<T>> {
 public:
    explicit queue(std::size_t maxsize = 0) : basic_queue<T, detail::fifo_store<T>>(maxsize) {}
};

// Last in, first out: asyncio.LifoQueue.
template <class T>
class lifo_queue : public basic_queue<T, detail::lifo_store<T>> {
 public:
    explicit lifo_queue(std::size_t maxsize = 0) : basic_queue<T, detail::lifo_store<T>>(maxsize) {}
};

// The order of a priority_queue that is given none: by operator<.
struct smallest_first {
    template <class T>
    bool operator()(const T& a, const T& b) const {
        return a < b;
    }
};

// What compares first comes out first: by default the smallest, as in asyncio.PriorityQueue (and other than
// std::priority_queue).
// Among equals the order is unspecified.
template <class T, class Compare = smallest_first>
class priority_queue : public basic_queue<T, detail::heap_store<T, Compare>> {
 public:
    explicit priority_queue(std::size_t maxsize = 0, Compare compare = Compare())
        : basic_queue<T, detail::heap_store<T, Compare>>(maxsize, std::move(compare)) {}
};

}  // namespace fiber
