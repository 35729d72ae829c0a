// What goes wrong with descriptors and streams and has no number of the operating system's, as std::error_code. Plain
// values: any thread.
#pragma once

#include <system_error>

namespace fiber::io {

enum class errc {
    closed = 1,     // close() was called while the operation was under way, or before
    end_of_stream,  // the other side has sent everything; the operation needed more
    limit_overrun,  // what was looked for does not come within the limit that was given
};
const std::error_category& category() noexcept;
inline std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), category()}; }

}  // namespace fiber::io

template <>
struct std::is_error_code_enum<fiber::io::errc> : std::true_type {};
