// Results in the order in which they come: asyncio.as_completed
// (https://docs.python.org/3/library/asyncio-task.html#asyncio.as_completed).
#pragma once

#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "fiber/detail/completions.hpp"
#include "fiber/error.hpp"
#include "fiber/wait.hpp"

namespace fiber {

// What as_completed() returns: an input range of pointers to the handles that were given. Each step waits for the next
// to end. A step that throws has not ended the iteration: begin() goes on with the next one.
// Owned by one fiber or thread. The handles must outlive it; what they refer to may be taken.
template <class Handle>
class completion_range {
 public:
    class iterator {
     public:
        using value_type = Handle*;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        iterator() noexcept = default;
        explicit iterator(completion_range& range) noexcept : range_(&range) {}
        Handle* operator*() const noexcept { return range_->current_; }
        iterator& operator++() {
            range_->advance();
            return *this;
        }
        void operator++(int) { range_->advance(); }
        friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept { return *it == nullptr; }

     private:
        completion_range* range_ = nullptr;
    };

    completion_range(std::vector<Handle*> handles, engine::nanos deadline)
        : handles_(std::move(handles)), deadline_(deadline), steps_left_(handles_.size()), watched_(watch(handles_)) {}
    completion_range(const completion_range&) = delete;
    completion_range& operator=(const completion_range&) = delete;

    // Takes the next step, as ++ does. Cancellation point. Throws timeout_error.
    iterator begin() {
        advance();
        return iterator(*this);
    }
    std::default_sentinel_t end() const noexcept { return {}; }

 private:
    static detail::completions watch(const std::vector<Handle*>& handles) {
        const auto slots = detail::slots_of(handles);
        return detail::completions(slots.data(), slots.size());
    }

    void advance() {
        current_ = nullptr;
        if (steps_left_ == 0) return;
        // Once the time was up, each step that is left throws, as asyncio's do.
        const std::size_t next = expired_ ? detail::completions::none : watched_.next(deadline_);
        --steps_left_;
        if (next == detail::completions::none) {
            expired_ = true;
            throw timeout_error();
        }
        current_ = handles_[next];
    }

    const std::vector<Handle*> handles_;
    const engine::nanos deadline_;
    std::size_t steps_left_;
    bool expired_ = false;
    Handle* current_ = nullptr;
    detail::completions watched_;
};

// for (task<T>* done : as_completed(tasks)) use(done->get());
//
// Gives each handle of the range once, when it has ended: those that have already, first, in their order. When the time
// is up, each step that is left throws timeout_error; the tasks go on. Never cancels, never throws what a task has
// thrown. `range` and `limit` as for wait(); an empty range is an empty iteration.
//
// A fiber or a plain thread. Each step is a cancellation point; one that was cancelled may be taken again. Throws
// std::future_error (no_state), std::invalid_argument for NaN, invalid_option for a nullptr, std::bad_alloc, and
// usage_error at the step for which, without a limit, only the calling task itself is left.
template <detail::handle_range Range>
auto as_completed(Range&& range) {
    return completion_range<detail::handle_in<Range>>(detail::handles_in(range), engine::never);
}
template <detail::handle_range Range, detail::limits_time Limit>
auto as_completed(Range&& range, const Limit& limit) {
    return completion_range<detail::handle_in<Range>>(detail::handles_in(range), detail::limit_of(limit).deadline);
}

}  // namespace fiber
