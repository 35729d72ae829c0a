// Several tasks or futures that somebody watches: how many have ended, and in which order. What wait() and
// as_completed() stand on.
//
// Owned by the fiber or thread that waits; the tasks tell it through observers, each under its own lock. What is
// watched must outlive it, or have ended.
#pragma once

#include <cstddef>
#include <memory>

#include "scheduler/base/spin_lock.hpp"
#include "scheduler/core/wait.hpp"

namespace fiber::detail {

class completions {
 public:
    // Watches from now on. Throws std::bad_alloc.
    completions(engine::task_slot* const* slots, std::size_t count);
    ~completions();
    completions(const completions&) = delete;
    completions& operator=(const completions&) = delete;

    enum class goal : unsigned char { one, one_failed, all };
    // Waits for the goal; one_failed is reached also when all have ended. false: the deadline came first.
    // Cancellation point. Throws usage_error where that could never come: the caller is watched itself.
    bool wait(goal wanted, engine::nanos deadline);

    // The next in order of ending, by its index; `none` if the deadline came first. Cancellation point. Throws
    // usage_error if only the caller itself is left.
    // Requires: not all have been given out.
    static constexpr std::size_t none = ~std::size_t{0};
    std::size_t next(engine::nanos deadline);

    bool ended(std::size_t index) const noexcept;

 private:
    struct link;

    void note_end_locked(link& ended) noexcept;
    bool reached_locked() const noexcept;
    bool only_itself_left_locked() const noexcept;
    bool unreachable_locked() const noexcept;
    bool wait_until_reached(engine::nanos deadline);

    const std::size_t count_;
    const std::size_t own_;  // how often the task that watches stands there itself
    const std::unique_ptr<link[]> links_;
    mutable engine::spin_lock lock_;
    std::size_t ended_ = 0;
    bool any_failed_ = false;
    goal goal_ = goal::one;
    link* first_ready_ = nullptr;  // ended, and not given out by next()
    link** end_of_ready_ = &first_ready_;
    engine::wait_queue waiting_;
};

}  // namespace fiber::detail
