// What a child process is given, and how it ended. Plain values: any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace fiber {

// Where a standard stream of a child goes to or comes from.
class stdio {
 public:
    enum mode : unsigned char {
        inherit,    // the parent's
        null,       // /dev/null
        pipe,       // process::in(), out(), err()
        to_output,  // standard error only: wherever the standard output goes
        descriptor  // see use()
    };

    constexpr stdio(mode how = inherit) noexcept : mode_(how) {}  // not `descriptor`: that needs its number
    // An open descriptor of the caller's, which stays the caller's, and must stay open until the child was started. A
    // pipe that does not block, such as io::pipe() makes, is one that blocks for the child.
    static constexpr stdio use(int fd) noexcept { return stdio(descriptor, fd); }

    // What was asked for; the number of use(), otherwise -1.
    constexpr mode how() const noexcept { return mode_; }
    constexpr int number() const noexcept { return number_; }

 private:
    constexpr stdio(mode how, int number) noexcept : mode_(how), number_(number) {}

    mode mode_;
    int number_ = -1;
};

// What process() may be told. An aggregate.
struct process_options {
    stdio in = stdio::inherit;
    stdio out = stdio::inherit;
    stdio err = stdio::inherit;
    std::string directory = {};                                // to start in; empty: the parent's
    std::optional<std::vector<std::string>> environment = {};  // "NAME=value" each; none: the parent's
    bool new_session = false;                                  // setsid(2): no terminal, a group of its own
};

// How a process ended.
class exit_status {
 public:
    constexpr exit_status() noexcept = default;
    constexpr exit_status(int code, int signal) noexcept : code_(code), signal_(signal) {}

    // Exit code 0; by an exit at all, and not by a signal.
    constexpr bool success() const noexcept { return signal_ == 0 && code_ == 0; }
    constexpr bool exited() const noexcept { return signal_ == 0; }
    constexpr int code() const noexcept { return code_; }      // what it gave to exit(); -1 if a signal ended it
    constexpr int signal() const noexcept { return signal_; }  // the signal that ended it; 0 if it exited
    std::string to_string() const;                             // "exit code 3", "signal 9"
    constexpr bool operator==(const exit_status&) const noexcept = default;

 private:
    int code_ = 0;
    int signal_ = 0;
};

}  // namespace fiber
