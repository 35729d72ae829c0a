// What can go wrong, by type. Everything the library throws that is not the user's own is one of these, `cancelled`, an
// exception_group, a std::future_error (promises, futures and moved-from handles, with std's codes), a
// std::system_error (operating system, locks), std::invalid_argument (a time that is not a number, a null exception),
// std::logic_error (the same task twice in gather()) or std::bad_alloc.
#pragma once

#include <stdexcept>
#include <string>

namespace fiber {

// An option or argument whose value cannot be meant: what() names it, says what was wrong and what is allowed.
class invalid_option : public std::invalid_argument {
 public:
    using std::invalid_argument::invalid_argument;
};

// A function was called where it cannot work: run() on a fiber, spawn() outside a runtime, a used scope re-entered.
class usage_error : public std::logic_error {
 public:
    using std::logic_error::logic_error;
};

// The runtime has stopped: nothing can be handed to it any more.
class runtime_stopped : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

// A task could not be started, because no stack could be had for it. what() names the limit that was hit.
class start_error : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

// A queue was shut down: it takes nothing more, and has nothing more to give. asyncio's QueueShutDown.
class queue_shutdown : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

// select() took an on_push on a channel that is closed, and its callable takes no bool that could say so.
class channel_closed : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

// A time limit has run out: with_timeout(), wait_for(), a step of as_completed(). asyncio's TimeoutError.
class timeout_error : public std::runtime_error {
 public:
    timeout_error() : std::runtime_error("fiber: timed out") {}
    explicit timeout_error(const std::string& what) : std::runtime_error(what) {}
};

}  // namespace fiber
