// Time limits tested without waiting for them: the runtime's time stands still while anything runs, and jumps to the
// next timer when all wait. Used by the tests of whatever has a deadline.
#pragma once

#include "tests/api/fixture.hpp"

namespace fiber::test {

// As on_each_worker_count(), in virtual time.
template <class Body>
void in_virtual_time(Body&& body) {
    for_each_worker_count([&](unsigned workers) {
        runtime_fixture fixture(runtime_options{.workers = workers, .virtual_time = true});
        if constexpr (std::is_invocable_v<Body&, runtime_fixture&>) {
            fixture.run([&] { body(fixture); });
        } else {
            fixture.run([&] { body(); });
        }
    });
}

// The runtime's time, from an arbitrary start. On a fiber.
inline std::chrono::nanoseconds virtual_now() { return std::chrono::nanoseconds(detail::current_time()); }

// Has about as much time passed since `start`: no less, and at most the grain of a few timers more?
inline bool took(std::chrono::nanoseconds start, std::chrono::nanoseconds expected) {
    const auto passed = virtual_now() - start;
    return passed >= expected && passed < expected + 1ms;
}

// Does f throw something that matches E, with a `cancelled` nested in it?
template <class E, class F>
bool throws_with_cancellation_nested(F&& f) {
    try {
        f();
    } catch (const E& error) {
        try {
            std::rethrow_if_nested(error);
        } catch (const cancelled&) {
            return true;
        }
    }
    return false;
}

}  // namespace fiber::test
