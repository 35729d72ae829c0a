// An exception in words, for messages: its type and what().
#pragma once

#include <exception>
#include <string>

namespace fiber::detail {

// "std::runtime_error: disk full"; the type alone for what is no std::exception. Requires: not nullptr.
std::string describe(const std::exception_ptr& error);

}  // namespace fiber::detail
