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

// An item as a store keeps it. Stores move their items about; where such a move could throw half-way, the item stands
// in a box, and only the box is moved.
template <class T>
class bare_item {
 public:
    explicit bare_item(T&& item) : item_(std::move(item)) {}
    T& operator*() noexcept { return item_; }
    const T& operator*() const noexcept { return item_; }

 private:
    T item_;
};
template <class T>
class boxed_item {
 public:
    explicit boxed_item(T&& item) : item_(new T(std::move(item))) {}
    boxed_item(boxed_item&& other) noexcept : item_(std::exchange(other.item_, nullptr)) {}
    boxed_item& operator=(boxed_item&& other) noexcept {
        std::swap(item_, other.item_);
        return *this;
    }
    ~boxed_item() { delete item_; }
    T& operator*() noexcept { return *item_; }
    const T& operator*() const noexcept { return *item_; }

 private:
    T* item_;  // no std::unique_ptr: <memory> would cost each user five thousand lines
};

// Where a row that grows may fall back on copies, and where it may not.
template <class T>
using item_in_row = std::conditional_t<std::is_nothrow_move_constructible_v<T> || std::is_copy_constructible_v<T>,
                                       bare_item<T>, boxed_item<T>>;
template <class T>
using item_in_heap = std::conditional_t<std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>,
                                        bare_item<T>, boxed_item<T>>;

// Makes room before the item is touched, so that it stays its owner's if there is none. Throws std::bad_alloc.
template <class Item, class T>
void push_back(std::vector<Item>& items, T&& item) {
    if (items.size() == items.capacity()) items.reserve(items.empty() ? 8 : 2 * items.size());
    items.emplace_back(std::move(item));
}

template <class T>
class fifo_store : public queue_limit {
 public:
    using content = ring<item_in_row<T>>;
    explicit fifo_store(std::size_t most) : queue_limit(most), items_() {}

    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return reached(items_.size()); }
    std::size_t size() const noexcept { return items_.size(); }
    void push(T&& item) {
        if (items_.full()) items_.grow(items_.capacity() == 0 ? 8 : 2 * items_.capacity());
        items_.emplace(std::move(item));
    }
    void pop_into(std::optional<T>& into) {
        into.emplace(std::move(*items_.front()));
        items_.pop();
    }
    content take_all() noexcept { return std::exchange(items_, content()); }

 private:
    content items_;
};

template <class T>
class lifo_store : public queue_limit {
 public:
    using content = std::vector<item_in_row<T>>;
    using queue_limit::queue_limit;

    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return reached(items_.size()); }
    std::size_t size() const noexcept { return items_.size(); }
    void push(T&& item) { detail::push_back(items_, std::move(item)); }
    void pop_into(std::optional<T>& into) {
        into.emplace(std::move(*items_.back()));
        items_.pop_back();
    }
    content take_all() noexcept { return std::exchange(items_, content()); }

 private:
    content items_;
};

// A binary heap. Compares first and moves afterwards, so that a comparison that throws changes nothing.
template <class T, class Compare>
class heap_store : public queue_limit {
 public:
    using content = std::vector<item_in_heap<T>>;
    heap_store(std::size_t most, Compare before) : queue_limit(most), before_(std::move(before)) {}

    bool empty() const noexcept { return items_.empty(); }
    bool full() const noexcept { return reached(items_.size()); }
    std::size_t size() const noexcept { return items_.size(); }

    void push(T&& item) {
        std::size_t place = items_.size();
        while (place != 0 && before_(std::as_const(item), item_at(parent(place)))) place = parent(place);
        std::size_t at = items_.size();
        detail::push_back(items_, std::move(item));
        for (; at != place; at = parent(at)) std::swap(items_[at], items_[parent(at)]);
    }

    // The last item goes down from the root to its place; what stands on the way moves up.
    void pop_into(std::optional<T>& into) {
        std::size_t place = place_of_last_from_root();
        into.emplace(std::move(*items_.front()));
        auto displaced = std::move(items_.back());
        for (; place != 0; place = parent(place)) std::swap(displaced, items_[place]);
        items_.front() = std::move(displaced);
        items_.pop_back();
    }

    content take_all() noexcept { return std::exchange(items_, content()); }

 private:
    static std::size_t parent(std::size_t child) noexcept { return (child - 1) / 2; }
    const T& item_at(std::size_t place) const noexcept { return *items_[place]; }

    std::size_t place_of_last_from_root() {
        const T& last = *std::as_const(items_).back();
        const std::size_t count = items_.size() - 1;
        std::size_t place = 0;
        for (;;) {
            std::size_t child = 2 * place + 1;
            if (child + 1 < count && before_(item_at(child + 1), item_at(child))) ++child;
            if (child >= count || !before_(item_at(child), last)) return place;
            place = child;
        }
    }

    content items_;
    Compare before_;
};

}  // namespace fiber::detail
