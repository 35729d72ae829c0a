// In place of the library's header of this name: the words are the model checker's, and so is what they guard.
//
// Every write of an atomic counts as its own moment, not as its value, because what the words guard (lists, stores) is
// no part of the model's state: two executions are in the same state only if they came to it by the same order of
// writes.
#pragma once

#include "tests/model/defect.hpp"
#include "tests/model/explorer.hpp"

namespace fiber::engine {

template <class T>
class atomic {
 public:
    constexpr atomic() noexcept : atomic(T{}) {}
    constexpr atomic(T value) noexcept : word_(value) {}

    T load(std::memory_order order = std::memory_order_seq_cst) const { return used().load(order); }
    void store(T value, std::memory_order order = std::memory_order_seq_cst) {
        used().store(value, model::weakened_store(order));
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure) {
        return used().compare_exchange_strong(expected, desired, model::weakened_store(success), failure);
    }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst) {
        return compare_exchange_strong(expected, desired, order, model::detail::failure_order(order));
    }
    template <class... Orders>
    bool compare_exchange_weak(T& expected, T desired, Orders... orders) {
        return compare_exchange_strong(expected, desired, orders...);
    }
    T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
        return used().exchange(value, model::weakened_update(order));
    }
    T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst) {
        if (model::seeded != model::defect::torn_updates) return used().fetch_or(value, model::weakened_update(order));
        const T old = load();
        store(old | value);
        return old;
    }
    T fetch_and(T value, std::memory_order order = std::memory_order_seq_cst) {
        return used().fetch_and(value, model::weakened_update(order));
    }
    T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst) {
        return used().fetch_add(value, model::weakened_update(order));
    }
    T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst) {
        return used().fetch_sub(value, model::weakened_update(order));
    }
    T peek() const noexcept { return word_.peek(); }

 private:
    struct word : model::atomic<T> {
        constexpr explicit word(T value) noexcept : model::atomic<T>(value, model::detail::identity::moment) {}
    };

    word& used() {
        life_.use();
        return word_;
    }
    const word& used() const {
        life_.use();
        return word_;
    }

    word word_;  // first: its address is that of the atomic
    model::lifetime life_;
};

// A plain variable that notices accesses which nothing orders, and those after its end: beginning and end count as
// writes.
template <class T>
class guarded {
 public:
    constexpr guarded() noexcept : guarded(T{}) {}
    constexpr guarded(T value) noexcept : value_(value) {
        if (!std::is_constant_evaluated()) model::detail::note_write(log_);
    }
    guarded(const guarded& other) : guarded(other.get()) {}
    ~guarded() {
        note_write();
        life_ = life::over;
    }

    guarded& operator=(const guarded& other) {
        set(other.get());
        return *this;
    }
    guarded& operator=(T value) {
        set(value);
        return *this;
    }
    operator T() const { return get(); }
    template <class U>
    explicit operator U() const {
        return static_cast<U>(get());
    }
    T operator->() const { return get(); }

 private:
    enum class life : std::uint32_t { running = 0x600d, over = 0xdead };

    T get() const {
        if (life_ != life::running) model::fail("looked at what has ended");
        model::detail::note_read(log_);
        return value_;
    }
    void set(T value) {
        note_write();
        value_ = value;
    }
    void note_write() {
        if (life_ != life::running) model::fail("wrote to what has ended");
        model::detail::note_write(log_);
    }

    mutable model::detail::access_log log_;
    life life_ = life::running;
    T value_;
};

}  // namespace fiber::engine
