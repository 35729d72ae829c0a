// The stores of the queues: first in first out, last in first out, smallest first. Each may have a limit, and counts
// the items that were put in and not yet reported as done. Guarded by the lock of the hand_over they belong to.
#pragma once

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "fiber/detail/ring.hpp"

namespace fiber::detail {

class queue_limit {
 public:
    explicit queue_limit(std::size_t most) noexcept : most_(most) {}

    bool reached(std::size_t size) const noexcept { return most_ != 0 && size >= most_; }
    std::size_t most() const noexcept { return most_; }

    void entered() noexcept { ++unfinished_; }
    std::size_t unfinished() const noexcept { return unfinished_; }
    // Returns what is left. Requires: count <= unfinished().
    std::size_t finish(std::size_t count) noexcept { return unfinished_ -= count; }

 private:
    std::size_t most_;  // 0: none
    std::size_t unfinished_ = 0;
};

template <class T>
class fifo_store : public queue_limit {
 public:
    using content = ring<T>;
    explicit fifo_store(std::size_t most) : queue_limit(most), items_() {}

    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return reached(items_.size()); }
    std::size_t size() const noexcept { return items_.size(); }
    void push(T&& item) {
        if (items_.full()) items_.grow(items_.capacity() == 0 ? 8 : 2 * items_.capacity());
        items_.push(std::move(item));
    }
    void pop_into(std::optional<T>& into) { items_.pop_into(into); }
    content take_all() noexcept { return std::exchange(items_, content()); }

 private:
    content items_;
};

template <class T>
class lifo_store : public queue_limit {
 public:
    using content = std::vector<T>;
    using queue_limit::queue_limit;

    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return reached(items_.size()); }
    std::size_t size() const noexcept { return items_.size(); }
    void push(T&& item) { items_.push_back(std::move(item)); }
    void pop_into(std::optional<T>& into) {
        into.emplace(std::move(items_.back()));
        items_.pop_back();
    }
    content take_all() noexcept { return std::exchange(items_, content()); }

 private:
    content items_;
};

// A binary heap. Compares first and moves afterwards, so that a comparison that throws changes nothing.
template <class T, class Compare>
class heap_store : public queue_limit {
    static_assert(std::is_move_assignable_v<T>, "fiber: the items of a priority_queue must be assignable");

 public:
    using content = std::vector<T>;
    heap_store(std::size_t most, Compare before) : queue_limit(most), before_(std::move(before)) {}

    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return reached(items_.size()); }
    std::size_t size() const noexcept { return items_.size(); }

    void push(T&& item) {
        std::size_t place = items_.size();
        while (place != 0 && before_(std::as_const(item), std::as_const(items_[parent(place)]))) place = parent(place);
        std::size_t at = items_.size();
        items_.push_back(std::move(item));
        for (; at != place; at = parent(at)) std::swap(items_[at], items_[parent(at)]);
    }

    // The last item goes down from the root to its place; what stands on the way moves up.
    void pop_into(std::optional<T>& into) {
        std::size_t place = place_of_last_from_root();
        into.emplace(std::move(items_.front()));
        T displaced = std::move(items_.back());
        for (; place != 0; place = parent(place)) std::swap(displaced, items_[place]);
        items_.front() = std::move(displaced);
        items_.pop_back();
    }

    content take_all() noexcept { return std::exchange(items_, content()); }

 private:
    static std::size_t parent(std::size_t child) noexcept { return (child - 1) / 2; }

    std::size_t place_of_last_from_root() {
        const T& last = items_.back();
        const std::size_t count = items_.size() - 1;
        std::size_t place = 0;
        for (;;) {
            std::size_t child = 2 * place + 1;
            if (child + 1 < count && before_(std::as_const(items_[child + 1]), std::as_const(items_[child]))) ++child;
            if (child >= count || !before_(std::as_const(items_[child]), last)) return place;
            place = child;
        }
    }

    content items_;
    Compare before_;
};

}  // namespace fiber::detail
