// How one of several ended, as a value: what gather(return_exceptions, ...) gives for each. asyncio puts results and
// exceptions into one list; here the type says which it is.
#pragma once

#include <exception>
#include <optional>
#include <utility>

#include "fiber/detail/result.hpp"

namespace fiber {

// A value or an exception (a cancellation is the exception `cancelled`). Any T that a task may have, void included.
// Nothing here waits. Thread safety: that of a plain value.
template <class T>
class outcome {
 public:
    using value_type = T;

    // false: there is an exception.
    bool has_value() const noexcept { return error_ == nullptr; }
    explicit operator bool() const noexcept { return has_value(); }

    // The value; std::monostate for void, the object referred to for a reference. Throws what the task threw if there
    // is none.
    decltype(auto) value() & { return get(*this); }
    decltype(auto) value() const& { return get(*this); }
    decltype(auto) value() && {
        if constexpr (std::is_reference_v<T>) {
            return get(*this);
        } else {
            return std::move(get(*this));
        }
    }

    // nullptr if there is a value.
    const std::exception_ptr& exception() const noexcept { return error_; }

    // Made by the library, from a result that has come.
    explicit outcome(detail::result<T>& result, bool may_move) {
        if (result.has_exception()) {
            error_ = result.exception();
        } else if constexpr (std::is_copy_constructible_v<detail::stored_type<T>>) {
            may_move ? stored_.emplace(result.take_stored()) : stored_.emplace(result.value());
        } else {
            stored_.emplace(result.take_stored());
        }
    }

 private:
    template <class Self>
    static auto& get(Self& self) {
        if (self.error_ != nullptr) std::rethrow_exception(self.error_);
        if constexpr (std::is_reference_v<T>) {
            return **self.stored_;
        } else {
            return *self.stored_;
        }
    }

    std::optional<detail::stored_type<T>> stored_;
    std::exception_ptr error_;
};

}  // namespace fiber
