// Variables that follow the flow of control from task to task: Python's contextvars
// (https://docs.python.org/3/library/contextvars.html).
#pragma once

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "fiber/detail/context_map.hpp"

namespace fiber {

// A variable with a value of its own in each task. A task that is spawned starts with the values of the one that spawns
// it, as they are then; what either sets later, the other does not see. A call handed to a thread (to_thread,
// run_in_executor) sees a copy likewise, call_later() keeps one, and a plain thread has values of its own, from which
// the tasks start that it hands to a runtime.
//
// Usually a global. Any thread; a value is shared by the tasks that inherited it, hence const.
template <class T>
class context_var {
 public:
    using value_type = T;

    // To take back what a set() did. It keeps the value before alive.
    class token {
     public:
        token(token&& other) noexcept
            : variable_(other.variable_),
              before_(std::move(other.before_)),
              owner_(other.owner_),
              used_(std::exchange(other.used_, true)) {}
        token& operator=(token&&) = delete;

     private:
        friend class context_var;
        token(const context_var& variable, detail::context_value before)
            : variable_(&variable), before_(std::move(before)), owner_(engine::current_ambient_owner()) {}

        const context_var* variable_;
        detail::context_value before_;
        engine::ambient_owner owner_;
        bool used_ = false;
    };

    // Without a default get() throws as long as no value was set.
    context_var() = default;
    context_var(T default_value) : default_(std::move(default_value)) {}
    context_var(const context_var&) = delete;
    context_var& operator=(const context_var&) = delete;

    // None of what follows waits.

    // The value in the calling task or thread, or else the default. The reference is good until the caller sets or
    // resets this variable; longer while the token of that is kept. Throws usage_error if there is neither (Python:
    // LookupError).
    const T& get() const {
        if (const void* value = detail::find_in_context(id_)) return *static_cast<const T*>(value);
        if (!default_) detail::throw_no_value();
        return *default_;
    }
    // The same with a default of the caller's: never throws for want of a value. Python: get(default).
    T get_or(T fallback) const {
        if (const void* value = detail::find_in_context(id_)) return *static_cast<const T*>(value);
        return fallback;
    }

    // Sets the value in the calling task. The cost grows with the number of variables that are set in it.
    // Throws std::bad_alloc, and what moving the value throws; then nothing has changed.
    token set(T value) {
        return token(*this, detail::replace_in_context(id_, std::make_shared<const T>(std::move(value))));
    }

    // The value from before the set() that gave the token. Throws usage_error if the token was used, is another
    // variable's, or was made by another task (Python: RuntimeError, ValueError).
    void reset(token& last) {
        detail::check_token(last.used_, last.variable_ == this, last.owner_);
        (void)detail::replace_in_context(id_, last.before_);
        last.used_ = true;
    }
    void reset(token&& last) { reset(last); }

 private:
    const std::uint64_t id_ = detail::new_variable_id();
    const std::optional<T> default_;
};

}  // namespace fiber
