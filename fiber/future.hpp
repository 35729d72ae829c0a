// Results that are set by hand: asyncio.Future (https://docs.python.org/3/library/asyncio-future.html), in the shape of
// std::promise, std::future and std::shared_future. Usable between fibers and plain threads, both ways.
//
// asyncio's one Future object is split as in std: the promise sets, the future waits. Errors are std::future_error with
// std's codes: broken_promise, future_already_retrieved, promise_already_satisfied, no_state.
#pragma once

#include <atomic>
#include <exception>
#include <utility>

#include "fiber/task.hpp"

namespace fiber {

template <class T>
class promise;
template <class T>
class shared_future;

namespace detail {

[[noreturn]] void throw_no_state();
[[noreturn]] void throw_already_retrieved();
[[noreturn]] void throw_already_satisfied();
void set_broken_promise(engine::task_slot& slot, result_base& result) noexcept;
std::exception_ptr require_exception(std::exception_ptr error);  // throws std::invalid_argument for nullptr

// Calls `call` once the slot has finished: on the thread or fiber that finishes it, or here if it has.
class done_callback : public engine::observer, public engine::deferred_call {
 public:
    void attach(engine::task_slot& slot) noexcept;

 protected:
    explicit done_callback(void (*run)(engine::deferred_call*) noexcept) noexcept;
    ~done_callback() = default;
};
void report_callback_exception() noexcept;  // inside catch

template <class F>
class done_callback_for final : public done_callback {
 public:
    template <class G>
    explicit done_callback_for(G&& f) : done_callback(&run), f_(std::forward<G>(f)) {}

 private:
    static void run(engine::deferred_call* self) noexcept {
        const std::unique_ptr<done_callback_for> owned(static_cast<done_callback_for*>(self));
        try {
            owned->f_();
        } catch (...) {
            report_callback_exception();
        }
    }
    F f_;
};

template <class T>
struct promise_payload {
    detail::result<T> result;

    static promise_payload& of(engine::task_slot& slot) noexcept {
        return *std::launder(static_cast<promise_payload*>(slot.payload()));
    }
    static void drop(engine::task_slot& slot) noexcept { of(slot).result.set_cancelled(slot); }
    static void override_with_cancel(engine::task_slot&) noexcept {}  // a promise has no pending cancellation
    static void destroy(engine::task_slot& slot) noexcept {
        report_if_unretrieved(slot);
        of(slot).~promise_payload();
    }
    static constexpr engine::task_operations operations{nullptr, &drop, nullptr, &override_with_cancel, &destroy};
};

}  // namespace detail

// The waiting side of a promise, or of a call that was handed to a thread pool. Move-only. Fibers and plain threads.
// wait(), wait_for(), done(), cancelled(), exception() as a task's. cancel() settles the future as cancelled, at once:
// whoever waits sees `cancelled`, and a later set_value() throws promise_already_satisfied. Dropping a future only
// drops interest.
template <class T>
class [[nodiscard]] future : public detail::handle {
 public:
    using value_type = T;

    future() noexcept = default;  // refers to nothing
    future(future&&) noexcept = default;
    future& operator=(future&& other) noexcept {
        if (this != &other) {
            let_go();
            slot_ = std::exchange(other.slot_, nullptr);
        }
        return *this;
    }
    ~future() { let_go(); }

    // As task<T>::get(): moves the value out, or throws. Cancellation point: cancelling the caller cancels the future.
    T get() {
        join_for_result();
        return result().take();
    }

    // Makes it shareable; *this refers to nothing afterwards. Throws std::future_error (no_state), std::bad_alloc.
    shared_future<T> share() { return shared_future<T>(std::move(*this)); }

    // Calls f() once, when the result has come: on the fiber or thread that brings it, so f must not wait; at once if
    // it is there already. What f throws is reported like an exception that nobody retrieved. Throws std::bad_alloc.
    // asyncio calls it from the loop instead: here there may be none.
    template <class F>
    void on_done(F&& f) {
        engine::task_slot& watched = slot();
        (new detail::done_callback_for<std::decay_t<F>>(std::forward<F>(f)))->attach(watched);
    }

    // For the library's own algorithms.
    explicit future(engine::task_slot& slot) noexcept : handle(slot) {}
    explicit future(detail::handle&& other) noexcept : handle(std::move(other)) {}
    detail::result<T>& result() const { return *std::launder(static_cast<detail::result<T>*>(slot().payload())); }

 private:
    void let_go() noexcept {
        if (slot_ != nullptr) engine::release_handle(*std::exchange(slot_, nullptr));
    }
};

// The setting side. Move-only. Destroying it unset breaks the promise: the future's get() throws std::future_error
// (broken_promise). Nothing here waits. Any thread; one at a time.
template <class T>
class promise {
 public:
    // Throws std::bad_alloc.
    promise() : slot_(&engine::allocate_promise(content::operations, sizeof(content))) {
        ::new (slot_->payload()) content;
    }
    promise(promise&& other) noexcept
        : slot_(std::exchange(other.slot_, nullptr)), retrieved_(std::exchange(other.retrieved_, false)) {}
    promise& operator=(promise&& other) noexcept {
        promise moved(std::move(other));
        std::swap(slot_, moved.slot_);
        std::swap(retrieved_, moved.retrieved_);
        return *this;
    }
    ~promise() {
        if (slot_ == nullptr) return;
        if (engine::settle_begin(*slot_)) {
            if (retrieved_) detail::set_broken_promise(*slot_, result());
            engine::finish_promise(*slot_);
        }
        if (!retrieved_) engine::release_handle(*slot_);
        engine::release_runner(*slot_);
    }

    // Once. Throws std::future_error (future_already_retrieved, no_state).
    future<T> get_future() {
        engine::task_slot& state = slot();
        if (std::exchange(retrieved_, true)) detail::throw_already_retrieved();
        return future<T>(state);
    }

    // Sets the result and wakes who waits. Throws std::future_error: promise_already_satisfied, also when the future
    // was cancelled; no_state. What copying the value throws becomes the result, and is thrown here, too.
    template <class... V>
    requires(sizeof...(V) == (std::is_void_v<T> ? 0 : 1)) void set_value(V&&... value) {
        settle([&] {
            if constexpr (std::is_reference_v<T>) {
                result().emplace(std::addressof(value)...);
            } else {
                result().emplace(std::forward<V>(value)...);
            }
        });
    }
    // For what is written in braces: set_value({1, 2}).
    void set_value(detail::stored_type<T>&& value) requires std::is_object_v<T> {
        settle([&] { result().emplace(std::move(value)); });
    }
    // Besides: std::invalid_argument for nullptr. An exception of type `cancelled` makes the future a cancelled one.
    void set_exception(std::exception_ptr error) {
        error = detail::require_exception(std::move(error));
        settle([&] {
            try {
                std::rethrow_exception(error);
            } catch (...) {
                result().capture(*slot_);
            }
            error = nullptr;  // it is the other side's now, and does not outlive that here
        });
    }

    // Is the result set, by set_…() or by cancelling the future?
    bool done() const { return slot().is(engine::task_slot::result_taken); }

 private:
    using content = detail::promise_payload<T>;

    engine::task_slot& slot() const {
        if (slot_ == nullptr) detail::throw_no_state();
        return *slot_;
    }
    detail::result<T>& result() const noexcept { return content::of(*slot_).result; }

    template <class Write>
    void settle(Write write) {
        if (!engine::settle_begin(slot())) detail::throw_already_satisfied();
        try {
            write();
        } catch (...) {
            result().capture(*slot_);  // copying the value threw: that is the result
            engine::finish_promise(*slot_);
            throw;
        }
        engine::finish_promise(*slot_);
    }

    engine::task_slot* slot_;
    bool retrieved_ = false;
};

// A future that may be copied, and asked by many at once, fibers and plain threads. get() gives a reference to the one
// value. All members as future<T>'s, except that get() of a caller that is cancelled leaves the future alone: others
// wait for it. Throws std::future_error (no_state) where it refers to nothing. Each copy: one thread at a time.
template <class T>
class [[nodiscard]] shared_future {
 public:
    using value_type = T;

    shared_future() noexcept = default;  // refers to nothing
    // As future<T>::share().
    explicit shared_future(future<T>&& one)
        : shared_(one.valid() ? std::make_shared<future<T>>(std::move(one)) : nullptr) {
        if (shared_ == nullptr) detail::throw_no_state();
    }

    bool valid() const noexcept { return shared_ != nullptr; }
    bool done() const { return inner().done(); }
    bool cancelled() const { return inner().cancelled(); }
    void wait() const { inner().wait(); }
    template <class Rep, class Period>
    bool wait_for(const std::chrono::duration<Rep, Period>& limit) const {
        return inner().wait_for(limit);
    }
    template <class Clock, class Duration>
    bool wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
        return inner().wait_until(when);
    }
    std::exception_ptr exception() const { return inner().exception(); }
    bool cancel() { return inner().cancel(); }
    bool cancel(const std::string& message) { return inner().cancel(message); }
    template <class F>
    void on_done(F&& f) {
        inner().on_done(std::forward<F>(f));
    }

    // Waits and gives the value, or throws what was set; `cancelled` if it ended so. Any number of times. Cancellation
    // point.
    decltype(auto) get() const {
        inner().wait();
        detail::result<T>& result = inner().result();
        if (result.what() != detail::result_base::kind::value) {
            inner().slot().state.fetch_or(engine::task_slot::retrieved, std::memory_order_acq_rel);
            detail::rethrow_result(result);
        }
        if constexpr (std::is_void_v<T>) {
            return;
        } else if constexpr (std::is_reference_v<T>) {
            return static_cast<T>(*result.value());
        } else {
            return static_cast<const T&>(result.value());
        }
    }

    // For the library's own algorithms.
    engine::task_slot& slot() const { return inner().slot(); }
    detail::result<T>& result() const { return inner().result(); }

 private:
    future<T>& inner() const {
        if (shared_ == nullptr) detail::throw_no_state();
        return *shared_;
    }

    std::shared_ptr<future<T>> shared_;
};

}  // namespace fiber
