// asyncio's CancelledError (https://docs.python.org/3/library/asyncio-exceptions.html).
#pragma once

#include <string>
#include <utility>

namespace fiber {

// Thrown at a cancellation point of a task that was cancelled, once per request. Catch it to clean up, then rethrow it.
// As in asyncio it is not derived from std::exception, so that a handler for errors does not swallow it by accident. A
// callable may throw it itself: its task then ends as cancelled. It is never thrown while the stack unwinds, inside
// uncancellable(), by a lock() or by a destructor of this library.
class cancelled {
 public:
    cancelled() = default;
    explicit cancelled(std::string message) noexcept : message_(std::move(message)) {}

    // What cancel() was called with; empty if with nothing.
    const std::string& message() const noexcept { return message_; }

 private:
    std::string message_;
};

}  // namespace fiber
