// The result of a task or promise: nothing yet, a value, an exception, a cancellation. It stands first in the payload
// of the engine's slot. Written by the one who runs the task before it is finished, then the handle's owner's.
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>

#include "scheduler/core/task.hpp"

namespace fiber::detail {

// std::monostate for void, a pointer for a reference.
template <class T>
using stored_type =
    std::conditional_t<std::is_void_v<T>, std::monostate,
                       std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, std::remove_cv_t<T>>>;

// Where a result's value stands: in the slot, or on the heap if it is too large or too strictly aligned for one.
template <class V, bool InSlot = (sizeof(V) <= 512 && alignof(V) <= alignof(engine::task_slot))>
union value_cell {
    value_cell() noexcept {}
    ~value_cell() {}
    template <class... A>
    void construct(A&&... args) {
        ::new (static_cast<void*>(std::addressof(value))) V(std::forward<A>(args)...);
    }
    void destroy() noexcept { value.~V(); }
    V& get() noexcept { return value; }
    const V& get() const noexcept { return value; }

    V value;
};
template <class V>
union value_cell<V, false> {
    value_cell() noexcept {}
    ~value_cell() {}
    template <class... A>
    void construct(A&&... args) {
        value = new V(std::forward<A>(args)...);
    }
    void destroy() noexcept { delete value; }
    V& get() noexcept { return *value; }
    const V& get() const noexcept { return *value; }

    V* value;
};

class result_base {
 public:
    enum class kind : unsigned char { none, value, taken, exception, cancelled };

    result_base() noexcept {}
    result_base(const result_base&) = delete;
    result_base& operator=(const result_base&) = delete;
    ~result_base() {}

    kind what() const noexcept { return kind_; }
    bool has_exception() const noexcept { return kind_ == kind::exception || kind_ == kind::cancelled; }

    // Requires: has_exception().
    const std::exception_ptr& exception() const noexcept { return exception_; }

    // Stores the exception that is being handled; `cancelled` makes it a cancellation. Called inside catch.
    void capture(engine::task_slot& slot) noexcept;
    void set_exception(engine::task_slot& slot, std::exception_ptr error) noexcept;
    // A cancellation with the slot's message.
    void set_cancelled(engine::task_slot& slot) noexcept;

    static result_base& of(engine::task_slot& slot) noexcept { return *static_cast<result_base*>(slot.payload()); }

 protected:
    // Only one of value (in the derived class) and exception exists at a time, so that an exception costs no room of
    // its own in the common case; both are destroyed by hand.
    union {
        std::exception_ptr exception_;
    };
    kind kind_ = kind::none;
};

template <class T>
class result : public result_base {
    static_assert(!std::is_rvalue_reference_v<T>,
                  "fiber: a result cannot be an rvalue reference, for what it refers to may be gone: return a value");

 public:
    using stored = stored_type<T>;

    result() noexcept {}
    ~result() { reset(); }

    template <class... V>
    void emplace(V&&... value) {
        cell_.construct(std::forward<V>(value)...);
        kind_ = kind::value;
    }

    // Destroys what is there.
    void reset() noexcept {
        if (kind_ == kind::value || kind_ == kind::taken) {
            cell_.destroy();
        } else if (has_exception()) {
            exception_.~exception_ptr();
        }
        kind_ = kind::none;
    }

    // Requires: a value, not taken.
    stored& value() noexcept { return cell_.get(); }
    const stored& value() const noexcept { return cell_.get(); }

    // The value, moved out; a second call throws. Rethrows an exception as often as it is asked.
    // Throws std::future_error (future_already_retrieved).
    T take() {
        check_untaken();
        if constexpr (std::is_void_v<T>) {
            return;
        } else {
            kind_ = kind::taken;
            if constexpr (std::is_reference_v<T>) {
                return static_cast<T>(*cell_.get());
            } else {
                return std::move(cell_.get());
            }
        }
    }

    // The same for containers and tuples: std::monostate for void.
    stored take_stored() {
        check_untaken();
        if constexpr (!std::is_void_v<T>) kind_ = kind::taken;
        return std::move(cell_.get());
    }

 private:
    void check_untaken() {
        if (kind_ != kind::value) [[unlikely]]
            rethrow_or_complain();
    }
    [[noreturn]] void rethrow_or_complain() const;

    value_cell<stored> cell_;
};

[[noreturn]] void rethrow_result(const result_base& result);
template <class T>
void result<T>::rethrow_or_complain() const {
    rethrow_result(*this);
}

// Reports an exception nobody retrieved, before the result is destroyed.
void report_if_unretrieved(engine::task_slot& slot) noexcept;

}  // namespace fiber::detail
