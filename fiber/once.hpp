// A call that is made once, whoever comes first: std::once_flag and std::call_once. asyncio has none.
// Thread safety: any number of fibers and plain threads at once.
#pragma once

#include <type_traits>
#include <utility>

#include "fiber/detail/invoke.hpp"
#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/caller.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber {

// Whether the call was made; for call_once(). May be destroyed when everybody has returned from there.
class once_flag {
 public:
    constexpr once_flag() noexcept = default;
    once_flag(const once_flag&) = delete;
    once_flag& operator=(const once_flag&) = delete;

 private:
    template <class F, class... A>
    requires std::is_invocable_v<F, A...>
    friend void call_once(once_flag& flag, F&& f, A&&... args);

    // Until its end the caller makes the call. If it was left by an exception, the next who waits makes it instead.
    class attempt {
     public:
        explicit attempt(once_flag& flag) noexcept : flag_(flag) {}
        attempt(const attempt&) = delete;
        attempt& operator=(const attempt&) = delete;
        ~attempt() { succeeded_ ? flag_.finish() : flag_.give_up(); }
        void succeeded() noexcept { succeeded_ = true; }

     private:
        once_flag& flag_;
        bool succeeded_ = false;
    };

    // The word: 0 nobody has come; the tag of the one who makes the call; `done`.
    static constexpr std::uint64_t done = 2;

    bool is_done() const noexcept { return word_.load() & done; }  // acquire: what the call wrote is seen
    bool begin();                                                  // true: the caller makes the call
    void finish() noexcept;
    void give_up() noexcept;

    engine::guarded_word word_;
    engine::wait_queue waiters_;  // guarded by word_
};

// Calls f(args…) unless that was done before; returns when it is done, by whomever. If f throws, that goes to its
// caller, and the next who waits calls its own f. A fiber or a plain thread.
// Throws std::system_error (resource_deadlock_would_occur) from within that very call.
// Cancellation point while another makes the call: throws `cancelled`, and the others are as before.
template <class F, class... A>
requires std::is_invocable_v<F, A...>
void call_once(once_flag& flag, F&& f, A&&... args) {
    if (flag.is_done() || !flag.begin()) return;
    once_flag::attempt call(flag);
    detail::invoke(std::forward<F>(f), std::forward<A>(args)...);
    call.succeeded();
}

}  // namespace fiber
