// What a task's context variables are kept in: an immutable map that tasks share until one of them sets a variable.
#pragma once

#include <cstdint>
#include <memory>

#include "scheduler/core/ambient.hpp"

namespace fiber::detail {

using context_value = std::shared_ptr<const void>;

// Never used twice, so that a variable that was destroyed leaves nothing to be mistaken for another's.
std::uint64_t new_variable_id() noexcept;

// The value in the caller's context; nullptr if none. It stays as long as the caller's context is not changed.
const void* find_in_context(std::uint64_t variable) noexcept;

// Sets (nullptr: removes) a value in the caller's context and returns the one before. Throws std::bad_alloc; then
// nothing has changed.
context_value replace_in_context(std::uint64_t variable, context_value value);

[[noreturn]] void throw_no_value();
void check_token(bool used, bool same_variable, const engine::ambient_owner& owner);  // throws usage_error

}  // namespace fiber::detail
