#include "fiber/detail/blocking.hpp"

#include <system_error>

#include "fiber/duration.hpp"
#include "fiber/error.hpp"

namespace fiber::detail {

bool has_passed(engine::nanos deadline) noexcept { return deadline != engine::never && deadline <= current_time(); }

void throw_not_the_owner(const char* what) {
    throw std::system_error(std::make_error_code(std::errc::operation_not_permitted), what);
}

void throw_would_deadlock(const char* what) {
    throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur), what);
}

void throw_unavailable(const char* what) {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again), what);
}

void throw_invalid(const char* what) { throw invalid_option(what); }
void throw_misuse(const char* what) { throw usage_error(what); }

}  // namespace fiber::detail
