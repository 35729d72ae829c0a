// A doubly linked list whose links live in its elements: linking, unlinking and emptiness are O(1) and never allocate.
// An element derives from list_node and stands in at most one list at a time. No thread safety of its own: whoever owns
// the list guards it.
// Invariant: the list is a ring through its own sentinel; an unlinked node points to nothing.
#pragma once

#include "scheduler/base/atomic.hpp"
#include "scheduler/base/check.hpp"

namespace fiber::engine {

class list_node {
 public:
    constexpr list_node() noexcept = default;
    list_node(const list_node&) = delete;
    list_node& operator=(const list_node&) = delete;

    bool linked() const noexcept { return next_ != nullptr; }

    // Requires: linked().
    void unlink() noexcept {
        FIBER_ASSERT(linked());
        prev_->next_ = next_;
        next_->prev_ = prev_;
        prev_ = next_ = nullptr;
    }

 private:
    template <class T>
    friend class intrusive_list;

    guarded<list_node*> prev_ = nullptr;
    guarded<list_node*> next_ = nullptr;
};

template <class T>
class intrusive_list {
 public:
    constexpr intrusive_list() noexcept { clear(); }
    intrusive_list(const intrusive_list&) = delete;
    intrusive_list& operator=(const intrusive_list&) = delete;

    bool empty() const noexcept { return ring_.next_ == &ring_; }
    T& front() const noexcept { return *static_cast<T*>(ring_.next_); }

    // Requires: !node.linked().
    void push_back(T& element) noexcept { insert_before(ring_, element); }
    void push_front(T& element) noexcept { insert_before(*ring_.next_, element); }

    // nullptr when empty.
    T* pop_front() noexcept {
        if (empty()) return nullptr;
        T& element = front();
        static_cast<list_node&>(element).unlink();
        return &element;
    }

    // The element after `element`, nullptr at the end.
    T* after(const T& element) const noexcept {
        list_node* next = static_cast<const list_node&>(element).next_;
        return next == &ring_ ? nullptr : static_cast<T*>(next);
    }

 private:
    constexpr void clear() noexcept { ring_.prev_ = ring_.next_ = &ring_; }

    static void insert_before(list_node& at, T& element) noexcept {
        list_node& node = element;
        FIBER_ASSERT(!node.linked());
        node.prev_ = at.prev_;
        node.next_ = &at;
        at.prev_->next_ = &node;
        at.prev_ = &node;
    }

    list_node ring_;
};

}  // namespace fiber::engine
