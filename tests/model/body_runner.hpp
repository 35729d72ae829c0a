// A stack on which the explorer's virtual threads run, one after the other.
// Thread safety: none; all runners belong to one OS thread. A body that was abandoned in the middle is not unwound.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "scheduler/context/context.hpp"

namespace model {

class body_runner {
 public:
    body_runner() = default;
    body_runner(const body_runner&) = delete;
    body_runner& operator=(const body_runner&) = delete;
    ~body_runner() { abandon(); }

    // Requires: ended(). The body is borrowed.
    void begin(const std::function<void()>* body);
    // Until the body's next leave(), or its end.
    void resume();
    // On this stack. Back to whoever resumed it.
    void leave();
    // Drops a body that has not ended.
    void abandon() noexcept;
    bool ended() const noexcept { return body_ == nullptr; }
    // What an exception that left the body said; empty if none did.
    const std::string& exception() const noexcept { return exception_; }

 private:
    static void run(void* self) noexcept;

    static constexpr std::size_t stack_size = 128 * 1024;

    fiber::engine::context inside_;
    fiber::engine::context outside_;
    std::unique_ptr<std::byte[]> stack_;
    const std::function<void()>* body_ = nullptr;
    std::string exception_;
    bool made_ = false;
};

}  // namespace model
