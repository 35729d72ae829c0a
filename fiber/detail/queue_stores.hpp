// The stores of the queues: first in first out, last in first out, smallest first. Each may have a limit, and counts
// the items that were put in and not yet reported as done. Guarded by the lock of the hand_over they belong to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
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

template <class T, class Compare>
class heap_store : public queue_limit {
 public:
    using content = std::vector<T>;
    heap_store(std::size_t most, Compare compare) : queue_limit(most), later_{std::move(compare)} {}

    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return reached(items_.size()); }
    std::size_t size() const noexcept { return items_.size(); }
    void push(T&& item) {
        items_.push_back(std::move(item));
        std::push_heap(items_.begin(), items_.end(), later_);
    }
    void pop_into(std::optional<T>& into) {
        std::pop_heap(items_.begin(), items_.end(), later_);
        try {
            into.emplace(std::move(items_.back()));
        } catch (...) {
            std::push_heap(items_.begin(), items_.end(), later_);
            throw;
        }
        items_.pop_back();
    }
    content take_all() noexcept { return std::exchange(items_, content()); }

 private:
    // std's heaps have the largest on top.
    struct later {
        Compare before;
        bool operator()(const T& a, const T& b) { return before(b, a); }
    };

    content items_;
    later later_;
};

}  // namespace fiber::detail
