// Keeping cancellation away: asyncio.shield
// (https://docs.python.org/3/library/asyncio-task.html#shielding-from-cancellation), and a scope for clean-up.
#pragma once

#include <chrono>
#include <exception>
#include <type_traits>
#include <utility>

#include "fiber/detail/awaitable.hpp"
#include "fiber/duration.hpp"
#include "fiber/task.hpp"

namespace fiber {

namespace detail {

// While it stands, nothing is delivered to the running task. On a plain thread nothing.
class uncancellable_scope {
 public:
    uncancellable_scope() noexcept;
    ~uncancellable_scope();
    uncancellable_scope(const uncancellable_scope&) = delete;
    uncancellable_scope& operator=(const uncancellable_scope&) = delete;

 private:
    engine::task_slot* task_;
};

}  // namespace detail

// What shield() returns: waits for a task or future that is somebody else's (H is a reference), or for a future of its
// own. To be given to gather(), it is a callable, too.
template <class H>
class shielded {
 public:
    using value_type = typename std::remove_cvref_t<H>::value_type;

    template <class G>
    requires std::is_constructible_v<H, G&&>
    explicit shielded(G&& handle) : handle_(static_cast<G&&>(handle)) {}

    // Has the result come? Never waits.
    bool done() const { return handle_.done(); }

    // As the task's or future's, except that a cancellation of the caller ends the waiting alone, with `cancelled`.
    // Cancellation points.
    decltype(auto) get() {
        handle_.wait();  // this one passes nothing on
        return handle_.get();
    }
    decltype(auto) operator()() { return get(); }
    void wait() const { handle_.wait(); }
    template <class Rep, class Period>
    bool wait_for(const std::chrono::duration<Rep, Period>& limit) const {
        return handle_.wait_for(limit);
    }
    template <class Clock, class Duration>
    bool wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
        return handle_.wait_until(when);
    }

 private:
    H handle_;
};

// Waiting for a task through its shield leaves it alone when the waiter is cancelled or times out. The task is
// borrowed: it must outlive the waiting, and whoever owns it still decides its life. If it is cancelled itself, the
// waiter sees that. What it throws after the waiter has left is reported with its handle, once. Futures may be moved
// in. A fiber or a plain thread. asyncio.shield. Throws std::future_error (no_state).
template <detail::awaitable H>
auto shield(H& handle) {
    (void)handle.slot();
    return shielded<H&>(handle);
}
template <detail::awaitable H>
requires(!std::is_lvalue_reference_v<H>) auto shield(H&& handle) {
    static_assert(!std::is_same_v<H, task<typename H::value_type>>,
                  "a task that is moved into shield() would be cancelled with the shield: name it, and shield that");
    (void)handle.slot();
    return shielded<H>(std::move(handle));
}

// Calls f() and returns what it returns. Meanwhile the running task is not interrupted: a cancellation is counted, and
// delivered at the first cancellation point after it; so is the expiry of a time limit, also of one inside it: wait
// with the timed forms of the primitives there. Tasks that f spawns are not protected. For clean-up that has to wait.
// May be nested. A fiber; on a plain thread it just calls f. asyncio has none.
template <class F>
requires std::is_invocable_v<F>
decltype(auto) uncancellable(F&& f) {
    const detail::uncancellable_scope scope;
    return std::forward<F>(f)();
}

}  // namespace fiber
