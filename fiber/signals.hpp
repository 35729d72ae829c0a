// Signals of the process, waited for instead of handled: asyncio's loop.add_signal_handler
// (https://docs.python.org/3/library/asyncio-eventloop.html#unix-signals).
//
//   fiber::signals stop{SIGINT, SIGTERM};
//   stop.wait();  // parks; a signal no longer ends the process
//
// Each object sees every signal of its set that arrives while it lives, however many objects name it. Several of one
// number that arrive before they are asked for count as one, as the kernel counts them. What was set for a number
// before, a handler, the default or to ignore it, is put aside while an object names it, and comes back with the end of
// the last; but for SIGCHLD it does not meet a signal that was sent before that. A signal that every thread of the
// process blocks does not arrive.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <optional>

#include "fiber/io.hpp"

namespace fiber {

namespace detail {

// What a signal handler knows of a signals object.
struct signal_watch {
    std::uint64_t set = 0;               // bit n-1: signal n
    std::atomic<std::uint64_t> come{0};  // arrived, and not yet asked for
    int doorbell = -1;                   // an eventfd
    std::atomic<signal_watch*> next{nullptr};
};

}  // namespace detail

// Thread safety: any number of fibers and threads wait, each signal goes to one of them. Making and destroying: any
// thread, alone. As a descriptor, it is used within one running runtime at a time, and from plain threads.
class signals {
 public:
    // Watches from now on. Throws invalid_option for an empty set, and for what cannot be waited for: numbers that are
    // none, SIGKILL and SIGSTOP, and faults of the program itself (SIGSEGV, SIGBUS, SIGFPE, SIGILL). Throws
    // std::system_error, std::bad_alloc.
    signals(std::initializer_list<int> numbers);
    signals(const signals&) = delete;
    signals& operator=(const signals&) = delete;
    ~signals();

    // Parks until one of them has arrived, and returns its number; of several the lowest. Cancellation point: a signal
    // that arrives at the same moment is there for the next wait. Throws std::system_error.
    int wait();
    // The same for a time; nullopt: none came. Throw besides std::invalid_argument for NaN.
    template <class Rep, class Period>
    std::optional<int> wait_for(const std::chrono::duration<Rep, Period>& length) {
        return wait_within(io::limit(length));
    }
    template <class Clock, class Duration>
    std::optional<int> wait_until(const std::chrono::time_point<Clock, Duration>& when) {
        return wait_within(io::limit(when));
    }
    // Never waits.
    std::optional<int> try_wait() noexcept;

 private:
    std::optional<int> wait_within(const io::limit& within);
    std::optional<int> take();

    io::descriptor doorbell_;
    detail::signal_watch watch_;
};

}  // namespace fiber
