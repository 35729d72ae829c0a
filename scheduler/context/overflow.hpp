// A stack overflow ends the program with a message that says whose stack it was, then with the default action of the
// signal: a core dump shows the place. The message comes from a describer, which knows the fibers; here is only the
// signal.
//
// Thread safety: install_overflow_handler() may be called by any thread, any number of times; the first call counts.
// The handler needs a stack of its own, since the fiber's is used up: one alternate_signal_stack per worker thread.
// Signal handlers are the process's: these, and those of fiber::signals, are the library's only global mutable state
// besides the current worker. Not under ASan and TSan: they have handlers of their own, with better reports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "scheduler/base/check.hpp"

namespace fiber::engine {

// Called on the alternate stack of the thread that faulted, at any point of its execution. Writes at most `size` bytes
// of text, newline included, and returns how many; 0 when `fault_address` is not in the guard of a stack of ours. Must
// be async-signal-safe: no lock, no allocation, no stdio; signal_safe_text helps.
using overflow_describer = int (*)(const void* fault_address, char* buffer, std::size_t size) noexcept;

inline constexpr bool overflow_handler_supported = !FIBER_ASAN && !FIBER_TSAN;

// Takes SIGSEGV and SIGBUS. Faults that `describer` disclaims go on to whoever had the signal before, unchanged.
void install_overflow_handler(overflow_describer describer) noexcept;

// Gives the calling thread a stack for signal handlers, unless it has one; takes it away again when destroyed, if it is
// still the thread's. Owner only: made and destroyed on the same thread. Without memory there is none, and an overflow
// ends without a message.
class alternate_signal_stack {
 public:
    alternate_signal_stack() noexcept;
    ~alternate_signal_stack();
    alternate_signal_stack(const alternate_signal_stack&) = delete;
    alternate_signal_stack& operator=(const alternate_signal_stack&) = delete;

 private:
    std::byte* mapping_ = nullptr;  // a guard page, then the stack; none when the thread had one
    std::size_t size_ = 0;          // of both
};

// Appends text and numbers to a buffer, async-signal-safely; what does not fit is cut off.
class signal_safe_text {
 public:
    signal_safe_text(char* buffer, std::size_t size) noexcept : begin_(buffer), at_(buffer), end_(buffer + size) {}

    signal_safe_text& operator<<(std::string_view text) noexcept {
        const auto room = static_cast<std::size_t>(end_ - at_);
        const std::size_t length = text.size() < room ? text.size() : room;
        std::memcpy(at_, text.data(), length);
        at_ += length;
        return *this;
    }

    signal_safe_text& operator<<(std::uint64_t number) noexcept {
        char digits[20];
        char* first = digits + sizeof digits;
        do {
            *--first = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        return *this << std::string_view(first, static_cast<std::size_t>(digits + sizeof digits - first));
    }

    int length() const noexcept { return static_cast<int>(at_ - begin_); }

 private:
    char* begin_;
    char* at_;
    char* end_;
};

}  // namespace fiber::engine
