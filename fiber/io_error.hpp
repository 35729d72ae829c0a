// What goes wrong with descriptors and streams and has no number of the operating system's, as std::error_code. Plain
// values: any thread.
#pragma once

#include <string>
#include <system_error>
#include <utility>

namespace fiber::io {

enum class errc {
    closed = 1,     // close() was called while the operation was under way, or before
    end_of_stream,  // the other side has sent everything; the operation needed more
    limit_overrun,  // what was looked for does not come within the limit that was given
};
const std::error_category& category() noexcept;
inline std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), category()}; }

// The stream ended in the middle of what was asked for. asyncio's IncompleteReadError.
class incomplete_read : public std::system_error {
 public:
    incomplete_read(const std::string& what, std::string partial)
        : std::system_error(make_error_code(errc::end_of_stream), what), partial_(std::move(partial)) {}
    const std::string& partial() const noexcept { return partial_; }  // what did come

 private:
    std::string partial_;
};

// More came than the limit allows, or no delimiter within it. What the operation has not returned stays in the stream,
// and can be read. asyncio's LimitOverrunError.
class limit_overrun : public std::system_error {
 public:
    explicit limit_overrun(const std::string& what) : std::system_error(make_error_code(errc::limit_overrun), what) {}
};

}  // namespace fiber::io

template <>
struct std::is_error_code_enum<fiber::io::errc> : std::true_type {};
