// Items in the order in which they came, in one block of memory. The store of channels (fixed), and under that of
// queue<T> (growing). No thread safety of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

namespace fiber::detail {

template <class T>
class ring {
 public:
    static constexpr std::size_t most = std::size_t{1} << 31;

    // Throws std::bad_alloc. Requires: capacity <= most.
    explicit ring(std::size_t capacity = 0)
        : slots_(allocate(capacity)), capacity_(static_cast<std::uint32_t>(capacity)) {}
    ring(ring&& other) noexcept
        : slots_(std::exchange(other.slots_, nullptr)),
          head_(std::exchange(other.head_, 0)),
          size_(std::exchange(other.size_, 0)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    ring& operator=(ring&& other) noexcept {
        std::swap(slots_, other.slots_);
        std::swap(head_, other.head_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }
    ~ring() {
        for (; size_ != 0; drop_front()) slots_[head_].~T();
        if (slots_ != nullptr) ::operator delete (slots_, std::align_val_t{alignof(T)});
    }

    bool empty() const noexcept { return size_ == 0; }
    bool full() const noexcept { return size_ == capacity_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t capacity() const noexcept { return capacity_; }

    // Requires: !full(). No effect if making it throws.
    template <class V>
    void emplace(V&& value) {
        std::size_t at = std::size_t{head_} + size_;
        if (at >= capacity_) at -= capacity_;
        ::new (static_cast<void*>(slots_ + at)) T(std::forward<V>(value));
        ++size_;
    }
    void push(T&& item) { emplace(std::move(item)); }

    // Requires: !empty().
    T& front() noexcept { return slots_[head_]; }
    void pop() noexcept {
        slots_[head_].~T();
        drop_front();
    }
    // The same at once. The item stays if moving throws.
    void pop_into(std::optional<T>& into) {
        into.emplace(std::move(front()));
        pop();
    }

    // The same items in more room. No effect if it throws. Requires: T can be moved without throwing, or copied.
    void grow(std::size_t capacity) {
        ring larger(capacity);
        for (std::uint32_t i = 0; i < size_; ++i) {
            T& each = slots_[(std::size_t{head_} + i) % capacity_];
            ::new (static_cast<void*>(larger.slots_ + i)) T(std::move_if_noexcept(each));
            larger.size_ = i + 1;
        }
        *this = std::move(larger);
    }

    void entered() noexcept {}

 private:
    static T* allocate(std::size_t capacity) {
        if (capacity == 0) return nullptr;
        if (capacity > most || capacity > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_alloc();
        return static_cast<T*>(::operator new (capacity * sizeof(T), std::align_val_t{alignof(T)}));
    }
    void drop_front() noexcept {
        if (++head_ == capacity_) head_ = 0;
        --size_;
    }

    T* slots_;
    std::uint32_t head_ = 0;
    std::uint32_t size_ = 0;
    std::uint32_t capacity_;
};

}  // namespace fiber::detail
