// In place of the library's header of this name: a virtual thread sleeps by the rules of the model. A time limit may
// come at any moment, once in a wait.
#pragma once

#include <atomic>
#include <cstdint>

#include "scheduler/base/clock.hpp"

namespace fiber::engine {

enum class futex_verdict { woken, timed_out };

// The word is the half of a park state.
futex_verdict futex_wait(const std::atomic<std::uint32_t>* word, std::uint32_t expected, nanos deadline = never);
void futex_wake(const std::atomic<std::uint32_t>* word, int count);

}  // namespace fiber::engine
