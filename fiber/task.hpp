// Tasks: spawn() starts one, task<T> is the handle to its result. asyncio.create_task and asyncio.Task
// (https://docs.python.org/3/library/asyncio-task.html).
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "fiber/cancelled.hpp"
#include "fiber/detail/payload.hpp"
#include "fiber/duration.hpp"
#include "fiber/error.hpp"

namespace fiber {

// What spawn() may be told. An aggregate: spawn({.name = "reader"}, f).
struct spawn_options {
    std::string_view name = {};  // copied; for task<T>::name(), all_tasks() and reports
    std::size_t stack_size = 0;  // bytes that the task may use; 0: the runtime's default. A multiple of the page size
    engine::call_site site = engine::call_site::current();
};

namespace detail {

// What all handles to a slot have in common, whatever the result's type. Owns the handle's side of the slot.
class handle {
 public:
    handle() noexcept = default;
    explicit handle(engine::task_slot& slot) noexcept : slot_(&slot) {}
    handle(handle&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
    handle(const handle&) = delete;
    handle& operator=(const handle&) = delete;

    // Does the handle refer to anything? Not after it was moved from or detached.
    bool valid() const noexcept { return slot_ != nullptr; }

    // Has the result come? Any thread. Throws std::future_error (no_state) on a handle that refers to nothing; so do
    // all below.
    bool done() const { return slot().is(engine::task_slot::finished); }

    // Did it end as cancelled? false while it runs.
    bool cancelled() const { return slot().is(engine::task_slot::was_cancelled); }

    // Waits for the end, whatever it is, and leaves the result. A fiber or a plain thread. Cancellation point: a
    // cancelled waiter stops waiting and leaves the task alone, as asyncio.wait does; get() is the one that passes it
    // on. Throws usage_error if a task waits for itself; so does get().
    void wait() const;

    // Waits until the end (true) or until the time is up (false), and leaves the task alone then. Cancellation point.
    // Throws std::invalid_argument for a duration that is not a number.
    template <class Rep, class Period>
    bool wait_for(const std::chrono::duration<Rep, Period>& limit) const {
        return wait_until_nanos(deadline_after(limit));
    }
    template <class Clock, class Duration>
    bool wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
        return wait_until_nanos(deadline_at(when));
    }

    // The exception it ended with, nullptr if with a value. Counts as retrieved.
    // Throws `cancelled` if it was cancelled, usage_error if it has not finished (asyncio: InvalidStateError).
    std::exception_ptr exception() const;

    // Asks it to end: `cancelled` is thrown at its next cancellation point, or it never starts. Counts; true while it
    // is unfinished. Any thread.
    bool cancel() { return engine::cancel(slot(), nullptr); }
    bool cancel(const std::string& message) { return engine::cancel(slot(), message.c_str()); }

    // How often cancel() was called, less uncancel(). Stops counting at 65,535.
    unsigned cancelling() const { return engine::cancelling(slot()); }
    // Takes one cancel() back and returns what is left; at 0 a cancellation that was not delivered yet is withdrawn.
    unsigned uncancel() { return engine::uncancel(slot()); }

    // For the library's own algorithms.
    engine::task_slot& slot() const {
        if (slot_ == nullptr) [[unlikely]]
            throw_no_state();
        return *slot_;
    }
    // Requires: valid(). The caller owns the handle's side of the slot from here on.
    engine::task_slot& give_up() noexcept { return *std::exchange(slot_, nullptr); }

 protected:
    ~handle() = default;

    [[noreturn]] static void throw_no_state();
    bool wait_until_nanos(engine::nanos deadline) const;
    // Waits as get() does; afterwards the result may be taken, and counts as retrieved.
    void join_for_result() const {
        engine::task_slot& waited = slot();
        const engine::join_verdict verdict = engine::join(waited);
        if (verdict != engine::join_verdict::finished) [[unlikely]]
            throw_not_joined(verdict);
        if (!(waited.state.load(std::memory_order_relaxed) &
              (engine::task_slot::failed | engine::task_slot::was_cancelled))) [[likely]] {
            return;
        }
        mark_retrieved();
    }
    void mark_retrieved() const noexcept;
    [[noreturn]] static void throw_not_joined(engine::join_verdict why);
    // What the destructor of an unfinished task does: cancels and joins. Never throws.
    void cancel_and_release() noexcept;
    void release() noexcept {
        if (slot_ == nullptr) return;
        if (!slot_->is(engine::task_slot::finished)) [[unlikely]]
            return cancel_and_release();
        engine::release_handle(*std::exchange(slot_, nullptr));
    }

    engine::task_slot* slot_ = nullptr;
};

}  // namespace detail

// The handle to a spawned callable and its result. Move-only.
//
// The destructor of an unfinished task cancels it and waits for it, as std::jthread's does: a child may hold references
// into its parent's frame. It never throws.
//
// Thread safety: cancel(), done(), cancelled(), cancelling() and name() from any thread; get(), wait() and the like
// from one fiber or thread at a time.
template <class T>
class [[nodiscard]] task : public detail::handle {
 public:
    using value_type = T;

    task() noexcept = default;  // refers to nothing
    task(task&&) noexcept = default;
    task& operator=(task&& other) noexcept {
        if (this != &other) {
            release();
            slot_ = std::exchange(other.slot_, nullptr);
        }
        return *this;
    }
    ~task() { release(); }

    // Waits and returns what the callable returned, or throws what it threw; `cancelled` if it ended cancelled. The
    // value is moved out: a second get() throws std::future_error (future_already_retrieved). An exception is thrown at
    // each call. A fiber or a plain thread. Cancellation point: cancelling the caller cancels the task waited for, as
    // `await` does.
    T get() {
        join_for_result();
        return result().take();
    }

    // The name it was given; empty if none.
    std::string name() const { return task_name(slot()); }

    // Lets it run on its own: the runtime keeps it, cancels it when run() ends, and reports an exception.
    void detach();

    // For the library's own algorithms.
    explicit task(engine::task_slot& slot) noexcept : handle(slot) {}
    detail::result<T>& result() const { return *std::launder(static_cast<detail::result<T>*>(slot().payload())); }

 private:
    static std::string task_name(engine::task_slot& slot);
};

namespace detail {

void detach(engine::task_slot& slot) noexcept;
std::uint8_t stack_class_of(const spawn_options& options);  // throws invalid_option
[[noreturn]] void throw_no_runtime();
// Hands a built task to its scheduler. Throws runtime_stopped; the task is then destroyed.
void submit(engine::task_slot& slot);

// Builds a task in a slot; `home` nullptr: the current runtime.
template <class F, class... A>
auto build_task(const spawn_options& options, engine::scheduler* home, F&& f, A&&... args) {
    using result_type = std::invoke_result_t<std::decay_t<F>, std::decay_t<A>...>;
    using content = payload_for<result_type, bound_call<std::decay_t<F>, std::decay_t<A>...>>;
    constexpr std::uint8_t slot_class = engine::slot_class_for(sizeof(content));
    const std::uint8_t size = options.stack_size == 0 ? engine::runtime_default : stack_class_of(options);
    engine::task_slot* slot =
        home == nullptr ? engine::allocate_task(content::operations, slot_class, size, options.site)
                        : &engine::allocate_task_for(*home, content::operations, slot_class, size, options.site);
    if (slot == nullptr) [[unlikely]]
        throw_no_runtime();
    try {
        if (!options.name.empty()) engine::set_name(*slot, options.name);
        ::new (slot->payload()) content(std::forward<F>(f), std::forward<A>(args)...);
    } catch (...) {
        engine::abandon(*slot);
        throw;
    }
    return task<result_type>(*slot);
}

template <class F, class... A>
auto spawn_task(const spawn_options& options, F&& f, A&&... args) {
    auto made = build_task(options, nullptr, std::forward<F>(f), std::forward<A>(args)...);
    engine::submit(made.slot());
    return made;
}

}  // namespace detail

template <class T>
std::string task<T>::task_name(engine::task_slot& slot) {
    return engine::name_of(slot);
}

template <class T>
void task<T>::detach() {
    detail::detach(slot());
    slot_ = nullptr;
}

// Starts a task that calls f(args...) concurrently, on the current runtime. Callable and arguments are copied or moved
// as std::thread does it. It runs when its turn comes: first spawned, first started, on one worker. On a fiber. Throws
// usage_error outside a runtime, std::bad_alloc, and what copying the callable throws; then nothing was spawned. That
// no stack can be had shows when the task is to start: get() throws start_error.
template <class F>
requires std::is_invocable_v<std::decay_t<F>>
auto spawn(F&& f, engine::call_site site = engine::call_site::current()) {
    return detail::spawn_task({.site = site}, std::forward<F>(f));
}
// The compiler can tell the place of the call only behind a fixed number of arguments, hence one overload for each
// number.
template <class F, class A>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>>
auto spawn(F&& f, A&& a, engine::call_site site = engine::call_site::current()) {
    return detail::spawn_task({.site = site}, std::forward<F>(f), std::forward<A>(a));
}
template <class F, class A, class B>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>, std::decay_t<B>>
auto spawn(F&& f, A&& a, B&& b, engine::call_site site = engine::call_site::current()) {
    return detail::spawn_task({.site = site}, std::forward<F>(f), std::forward<A>(a), std::forward<B>(b));
}
template <class F, class A, class B, class C>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>, std::decay_t<B>, std::decay_t<C>>
auto spawn(F&& f, A&& a, B&& b, C&& c, engine::call_site site = engine::call_site::current()) {
    return detail::spawn_task({.site = site}, std::forward<F>(f), std::forward<A>(a), std::forward<B>(b),
                              std::forward<C>(c));
}
// Four arguments and more: the place of the call is not recorded; name the task instead.
template <class F, class A, class B, class C, class D, class... Rest>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>, std::decay_t<B>, std::decay_t<C>, std::decay_t<D>,
                             std::decay_t<Rest>...>
auto spawn(F&& f, A&& a, B&& b, C&& c, D&& d, Rest&&... rest) {
    return detail::spawn_task({.site = {}}, std::forward<F>(f), std::forward<A>(a), std::forward<B>(b),
                              std::forward<C>(c), std::forward<D>(d), std::forward<Rest>(rest)...);
}

// The same with a name, a stack size. Throws invalid_option besides.
template <class F, class... A>
requires std::is_invocable_v<std::decay_t<F>, std::decay_t<A>...>
auto spawn(spawn_options options, F&& f, A&&... args) {
    return detail::spawn_task(options, std::forward<F>(f), std::forward<A>(args)...);
}

}  // namespace fiber
