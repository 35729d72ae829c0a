// What fiber/asio.hpp needs of the library, without Boost.Asio: the wait for an operation that somebody else completes,
// and calls that no fiber makes.
#pragma once

#include <cstdint>

#include "scheduler/base/guarded_word.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber::detail {

// Comes once, and one fiber or plain thread waits for it, in whose frame it stands.
class completion {
 public:
    completion() = default;
    completion(const completion&) = delete;
    completion& operator=(const completion&) = delete;

    // Once, any thread. What was written before it, the waiter sees; *this may be gone when it returns.
    void come() noexcept;

    // Parks until it has come; a plain thread blocks. false: not yet, a cancellation came first, and is still to be
    // taken. The waiter, as often as it likes until it has come.
    [[nodiscard]] bool wait() noexcept { return wait(engine::interruptible::yes); }
    // The same whatever happens.
    void wait_out() noexcept { (void)wait(engine::interruptible::no); }

 private:
    static constexpr std::uint64_t has_come = 2;

    bool wait(engine::interruptible mode) noexcept;

    engine::guarded_word word_;  // has_come or 0
    engine::wait_queue waiters_;
};

// Calls f() on no fiber: what waits in there blocks the worker's thread, so that f() returns on the thread on which it
// began. f must not throw. On a fiber or a plain thread; not in another call_off_fiber().
void call_off_fiber(void (*call)(void*) noexcept, void* argument) noexcept;

template <class F>
void call_off_fiber(F f) noexcept {
    call_off_fiber([](void* argument) noexcept { (*static_cast<F*>(argument))(); }, &f);
}

// Before an operation of Asio is waited for. Cancellation point; throws usage_error in call_off_fiber().
void check_may_wait_for_asio();

}  // namespace fiber::detail
