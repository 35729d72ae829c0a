// What a cancellation does to one task on its way: the steps of cancel_walk.cpp. Any thread, at any moment of the task.
#pragma once

#include <cstdint>

#include "scheduler/core/task.hpp"

namespace fiber::engine {

// A task and the use of its slot that is meant. Nobody need keep the task alive, only its pool.
struct cancel_target {
    task_slot* task;
    std::uint32_t generation;

    bool stands() const noexcept { return task->generation() == generation; }
    bool operator==(const cancel_target&) const = default;
};

// Counts a request. false: not that task any more, or it has finished.
[[nodiscard]] bool count_request(const cancel_target& at) noexcept;
// Of a request that nobody will see: the task has finished, or cancels itself.
void take_back_count(const cancel_target& at) noexcept;

// The task that `from` waits for; {nullptr, 0}: none, or it has a forwarder.
cancel_target awaited_by(const cancel_target& from) noexcept;

// over: the task has finished meanwhile, and nobody will see the request. moved_on: it waits for another task by now,
// which has to get it.
enum class deliver_verdict : std::uint8_t { delivered, over, moved_on };

// To the wait that is open or to the next one. `message` may be nullptr.
[[nodiscard]] deliver_verdict deliver(const cancel_target& to, const char* message) noexcept;

// A promise in two steps. The first, for which somebody else keeps it alive, says whether the caller is the one to
// settle it, and keeps it until the second, which tells those who wait and may call code of the user's.
[[nodiscard]] bool hold_to_cancel(task_slot& promise) noexcept;
void cancel_held(task_slot& promise, const char* message) noexcept;

}  // namespace fiber::engine
